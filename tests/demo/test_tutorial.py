"""The tutorial's steps 5 and 6 as a reader does them: broker, workers, an impression and a click, the sample."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from samplejoin.cli import main
from samplejoin.commands.init import project_files
from samplejoin.demo.process import free_port
from tests.docs.markdown import ROOT, Page

TUTORIAL = Page(ROOT / "docs" / "tutorial.md")
LIMIT_S = 60


class Terminals:
    """Shells in the project's folder; what is started in the background ends with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"9092": str(free_port()), "6066": str(free_port()), "6067": str(free_port())}
        self.environ = {
            **os.environ, "PYTHONPATH": str(ROOT), "SAMPLEJOIN_BROKERS": f"localhost:{self.ports['9092']}",
            "SAMPLEJOIN_WEB_PORT": self.ports["6066"],
        }  # fmt: skip
        self.running: list[subprocess.Popen[bytes]] = []

    def run(self, script: str) -> str:
        """Runs a block to its end; its output."""
        command = ["bash", "-e", "-c", self._script(script)]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, script: str) -> Path:
        """Runs a block in a terminal of its own; its log."""
        log = self.folder / f"terminal-{len(self.running)}.log"
        with log.open("wb") as file:
            command = ["bash", "-c", f"exec {self._script(script)}"]
            process = subprocess.Popen(command, cwd=self.folder, env=self.environ, stdout=file, stderr=file)
        self.running.append(process)
        return log

    def _script(self, text: str) -> str:
        for port, own in self.ports.items():
            text = text.replace(port, own)
        if text.startswith("samplejoin broker"):
            text = f"{text.strip()} --port {self.ports['9092']}"
        return re.sub(r"(^|\| )samplejoin\b", rf"\1{shlex.quote(sys.executable)} -m samplejoin.cli", text, flags=re.M)


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    for name, text in project_files("clickjoin").items():
        (tmp_path / name).write_text(text)
    made = Terminals(tmp_path)
    yield made
    for process in made.running:
        process.kill()
        process.wait(10)


def wait_for(condition: Callable[[], bool], *logs: Path) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "\n".join(log.read_text() for log in logs)
        time.sleep(0.3)


def is_ready(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_the_tutorial_comes_to_its_sample_without_kafka(terminals):
    blocks = [b.text for b in TUTORIAL.blocks("sh", "text") if b.text in TUTORIAL.text.partition("## 5.")[2]]
    broker, worker, send, read, sample, second, look = blocks
    terminals.environ["SAMPLEJOIN_STREAMS__CLICK__ID"] = "evnt"  # a slip, which changes nothing here but is said
    logs = [terminals.start(broker)]
    wait_for(lambda: "broker on localhost" in logs[0].read_text(), *logs)
    logs.append(terminals.start(worker))
    wait_for(lambda: is_ready(terminals.ports["6066"]), *logs)
    assert terminals.run(send) == "1 record sent to impressions\n1 record sent to clicks\n"
    wait_for(lambda: terminals.run(read) == sample, *logs)
    logs.append(terminals.start(second))
    wait_for(lambda: is_ready(terminals.ports["6067"]), *logs)
    assert "samplejoin_samples_total" in terminals.run(look)
    with_headers = terminals.run(read.replace("consume", "consume --headers"))
    assert with_headers.startswith('["u1",7] sample_id=')
    for process in reversed(terminals.running):
        process.terminate()
        assert process.wait(15) == 0
    said = logs[1].read_text()
    assert "job clickjoin: 2 streams, key (uid, item), window 10s, 4 join partitions" in said
    assert said.count("streams.click.id: the first row of stream click does not carry evnt; it carries uid, item") == 1


def test_a_topic_that_is_not_there_is_refused_and_those_there_are_named(terminals):
    log = terminals.start("samplejoin broker job.yaml")
    wait_for(lambda: "broker on localhost" in log.read_text(), log)
    brokers = ["--brokers", terminals.environ["SAMPLEJOIN_BROKERS"]]
    for command, given in (("consume", None), ("produce", "{}\n")):
        done = CliRunner().invoke(main, [command, "impresions", *brokers], input=given)
        assert done.exit_code == 1
        assert "topic impresions does not exist; there are: clickjoin-" in done.output
    taken = CliRunner().invoke(main, ["broker", str(terminals.folder / "job.yaml"), "--port", terminals.ports["9092"]])
    assert taken.exit_code == 1
    assert "cannot be opened" in taken.output


def test_no_answer_is_said_in_a_line():
    done = CliRunner().invoke(main, ["consume", "clicks", "--brokers", "127.0.0.1:1"])
    assert done.exit_code == 1
    assert done.output.startswith("Error: no broker answers at 127.0.0.1:1: broker 127.0.0.1:1 cannot be reached")
    assert len(done.output.splitlines()) == 1


@pytest.mark.parametrize("setting", ["partitions=8", "streams.click.pattern=x"])
def test_a_job_that_the_broker_cannot_hold_is_refused(terminals, setting):
    done = CliRunner().invoke(main, ["broker", str(terminals.folder / "job.yaml"), "--set", setting])
    assert done.exit_code in (1, 2)
    assert "partitions: 4" in done.output or "pattern" in done.output


def test_what_this_broker_cannot_do_is_said_in_a_line(terminals):
    """It names no controller: topics, groups and offsets are made and deleted by no request."""
    log = terminals.start("samplejoin broker job.yaml")
    wait_for(lambda: "broker on localhost" in log.read_text(), log)
    job = str(terminals.folder / "job.yaml")
    settings = ["--set", f"brokers={terminals.environ['SAMPLEJOIN_BROKERS']}", "--set", "guarantee=at_least_once"]
    for command in (
        ["reset", job, "--dry-run"], ["reset", job, "--yes"],
        ["migrate", job, "--from-generation", "1", "--yes", "--set", "generation=2"],
    ):  # fmt: skip
        done = CliRunner().invoke(main, [*command, *settings])
        assert done.exit_code == 1, done.output
        assert "names no controller" in done.output
        assert "start it with this job file" in done.output
        assert len(done.output.splitlines()) == 1
    terminals.run("echo '{}' | samplejoin produce clicks")
    skips = [["skip", job, f"clicks/{partition}/0", "--reason", "bad", "--yes"] for partition in range(4)]
    written = [done for skip in skips if not (done := CliRunner().invoke(main, [*skip, *settings])).exit_code]
    assert len(written) == 1
    assert "written: workers pass over them" in written[0].output


def test_verify_judges_what_was_joined_on_this_broker(terminals):
    blocks = [b.text for b in TUTORIAL.blocks("sh", "text") if b.text in TUTORIAL.text.partition("## 5.")[2]]
    broker, worker, send, read, sample, *_ = blocks
    logs = [terminals.start(broker)]
    wait_for(lambda: "broker on localhost" in logs[0].read_text(), *logs)
    logs.append(terminals.start(worker))
    wait_for(lambda: is_ready(terminals.ports["6066"]), *logs)
    terminals.run(send)
    wait_for(lambda: terminals.run(read) == sample, *logs)
    assert "ok: nothing is lost, doubled or wrong in 1 window" in terminals.run(worker.replace("worker", "verify"))


def test_a_worker_whose_topics_are_not_there_says_that_they_cannot_be_made(terminals):
    log = terminals.start("samplejoin broker job.yaml")
    wait_for(lambda: "broker on localhost" in log.read_text(), log)
    log = terminals.start("samplejoin worker job.yaml --set guarantee=at_least_once --set name=other")
    assert terminals.running[-1].wait(LIMIT_S) == 1
    assert "names no controller" in log.read_text()
    assert "Traceback" not in log.read_text()
