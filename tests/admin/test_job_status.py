"""The sentence that `samplejoin status` begins with, and what it takes from a strange address."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from samplejoin.admin import job_status
from samplejoin.admin.job_status import WorkerStatus, judge
from samplejoin.admin.kafka_status import DeadLetters, KafkaStatus, TopicLag


def kafka(**other: Any) -> KafkaStatus:
    made: dict[str, Any] = {
        "members": ("one at 127.0.0.1",), "inputs": (TopicLag("shows", 4, 7),), "missing": (), "join_lag": 0,
        "clock_ms": None, "last_sample_ms": None, "dead": DeadLetters({}, {}), "edited": None,
    }  # fmt: skip
    return KafkaStatus(**(made | other))


def worker(**other: Any) -> WorkerStatus:
    page = {"job": "job", "problems": [], "warnings": [], "sources": [], "joins": [{"partition": 0}], "lag": 7, "clock": "0.5 s behind"}  # fmt: skip  # noqa: E501
    return WorkerStatus("one", "127.0.0.1:6066", page | other)


@pytest.mark.parametrize(
    ("workers", "facts", "unowned", "sentence"),
    [
        ([], kafka(members=()), (), "no worker runs; 7 records wait to be read"),
        ([], kafka(members=(), inputs=()), (), "no worker runs; everything is read"),
        ([], kafka(missing=("shows",)), (), "input topics do not exist: shows"),
        ([], kafka(), (), "1 member in the group, and none has published a web address in the last 5 s"),
        ([WorkerStatus("one", "h:1", None, "refused")], kafka(), (), "no web port answers (h:1: refused)"),
        ([worker(problems=["no answer from the brokers for 6 s"], warnings=["w"])], kafka(), (), "no answer from the"),
        (
            [worker(warnings=["a null field", "no window closes: the clock is held by x"])],
            kafka(),
            (),
            "no window closes",
        ),
        ([worker(warnings=["a null field"])], kafka(), (1,), "a null field"),
        ([worker()], kafka(), (1, 2), "no worker that answers has join partitions 1, 2"),
        ([worker()], kafka(edited="window was edited"), (), "the job file is another than the one that runs: window"),
    ],
)
def test_what_is_wrong_comes_first(workers, facts, unowned, sentence):
    well, verdict = judge(workers, facts, unowned)
    assert not well
    assert sentence in verdict


def test_a_job_that_is_well_says_how_late_it_is():
    assert judge([worker()], kafka(), ()) == (True, "well: 1 worker, lag 7, slowest clock 0.5 s behind")


class Strange(http.server.BaseHTTPRequestHandler):
    """Answers with what the test wants, at `/status.json`; `/elsewhere` is where a redirect leads."""

    body: bytes = b""
    status: int = 200
    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        self.send_response(self.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def strange() -> Iterator[tuple[type[Strange], str]]:
    handler = type("Handler", (Strange,), {"asked": []})
    server = http.server.HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield handler, f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "why_not"),
    [
        (302, b"", "302"),
        (404, b"", "404"),
        (200, b"<html>", "Expecting value"),
        (200, b"[1]", "no worker of samplejoin answers there"),
        (200, b"{}", "no worker of samplejoin answers there"),
        (200, b'{"job": "job", "problems": [], "warnings": [], "sources": [1], "joins": []}',
         "no worker of samplejoin answers there"),
        (200, json.dumps({"job": "other", "problems": [],
                     "warnings": [], "sources": [], "joins": [], "lag": 0, "open_keys": 0,
                     "clock": ""}).encode(),
         "a worker of job other is there"),
    ],
)  # fmt: skip
async def test_an_address_where_no_worker_is(strange, status, body, why_not):
    handler, web = strange
    handler.status, handler.body = status, body
    found = await job_status._asked("one", web, "job")
    assert found.page is None
    assert why_not in found.why_not
    assert handler.asked == ["/status.json"], "redirects are not followed"


@pytest.mark.parametrize("web", ["user@host:80", "host:80/path?", "host", "host:80#", "", "http://host:80"])
async def test_an_address_is_a_host_and_a_port(web):
    found = await job_status._asked("one", web, "job")
    assert found.why_not.endswith("not an address of the form HOST:PORT")
