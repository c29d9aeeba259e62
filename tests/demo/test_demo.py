"""`samplejoin demo` in a process of its own: its samples are the oracle's, and nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from samplejoin.core.keys import encode_key
from samplejoin.core.spec import Spec
from samplejoin.demo.broker import PARTITIONS
from samplejoin.demo.data import EXAMPLES, Dataset
from samplejoin.job.compile import Job, compile_job
from samplejoin.job.load import load_job
from tests.core.oracle import Row, join

COMMAND = [sys.executable, "-m", "samplejoin.commands.demo"]
LIMIT_S = 100


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The demo's environment; it puts its temporary files where the test can look."""
    return {**os.environ, "TMPDIR": str(tmp_path), "SAMPLEJOIN_WINDOW": "1s"}  # the user's own settings do not reach it


def demo(environ: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *args], env=environ, capture_output=True, text=True, timeout=LIMIT_S)


def left_behind(tmp_path: Path) -> list[str]:
    """Temporary folders of the demo, and processes that were given one."""
    folders = [str(path) for path in tmp_path.glob("samplejoin-demo-*")]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(tmp_path) in command and "samplejoin.demo.worker" in command:
            folders.append(command)
    return folders


def rows_of(example: Dataset, job: Job) -> list[Row]:
    """The example's events as the job's cleaned rows. Offsets count events only: ids do not depend on heartbeats."""
    inputs = {each.plan.stream.name: each for each in job.inputs}
    offsets: defaultdict[tuple[str, int], int] = defaultdict(int)
    rows = []
    for event in example.events():
        each, partition = inputs[event.stream], event.partition(PARTITIONS)
        record = json.loads(event.value)
        row = each.clean(record)
        key = encode_key(row[name] for name in job.spec.key_fields)
        topic, offset = each.plan.stream.topics[0], offsets[event.stream, partition]
        offsets[event.stream, partition] += 1
        rows.append(Row(event.stream, key, each.read_time(record[each.time_field]), (topic, partition, offset, 0), row))
    return rows


def oracle(spec: Spec, rows: list[Row]) -> tuple[dict[str, str], int]:
    """Payloads by sample id, and the number of orphans. Keys have nothing to do with one another: one at a time."""
    by_key: defaultdict[bytes, list[Row]] = defaultdict(list)
    for row in rows:
        by_key[row.key].append(row)
    samples: dict[str, str] = {}
    orphans = 0
    for mine in by_key.values():
        joined, left = join(spec, mine)
        samples |= {name: payload.decode() for name, (_, payload, _) in joined.items()}
        orphans += len(left)
    return samples, orphans


def check_samples(example: Dataset, lines: list[dict[str, Any]], said: str) -> None:
    """The lines of `--samples` that belong to the example are the oracle's samples, each once, byte for byte."""
    job = compile_job(load_job(example.folder / "job.yaml", environ={}), example.folder)
    mine = [line for line in lines if line["job"].split("-demo-")[0] == job.spec.name]
    (name,) = {line["job"] for line in mine}  # on a real Kafka, a name of its own per run
    expected, orphans = oracle(replace(job.spec, name=name), rows_of(example, job))
    assert {line["sample_id"]: line["payload"] for line in mine} == expected
    assert len(mine) == len(expected)
    assert re.search(rf"{example.name}: done, .* {orphans} orphans", said)
    assert {(line["revision"], line["weight"]) for line in mine} == {(0, 1.0)}


@pytest.mark.rule(1, 6, 8, 13)
@pytest.mark.parametrize("where", ["embedded", pytest.param("real", marks=pytest.mark.kafka)])
def test_its_samples_are_the_oracles(where, request, environ, tmp_path):
    brokers = request.getfixturevalue("kafka").bootstrap if where == "real" else None
    out = tmp_path / "samples.jsonl"
    done = demo(environ, "--seconds", "6", "--samples", str(out), *(["--brokers", brokers] if brokers else []))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    for example in EXAMPLES.values():
        check_samples(example, lines, done.stdout)
    assert len(lines) == 618 + 20_000
    assert "0 late rows, 0 dead letters" in done.stdout
    assert "The data have no click times: they are drawn here" in done.stdout
    assert "samplejoin init" in done.stdout
    assert done.stderr == ""
    assert not left_behind(tmp_path)
    if brokers:
        topics = AdminClient({"bootstrap.servers": brokers}).list_topics(timeout=10).topics
        assert not [topic for topic in topics if "-demo-" in topic]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing_behind(sent, environ, tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "--job", "otto"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's `&` has it ignored
    )  # fmt: skip
    assert process.stdout is not None
    with process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "events sent" in line:
                break
        time.sleep(2)
        assert left_behind(tmp_path)
        process.send_signal(sent)
        rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert rest.endswith("stopped; nothing is left running\n")
    assert "Traceback" not in rest
    assert not left_behind(tmp_path)


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["--brokers", "127.0.0.1:1"], 1, "no Kafka answers at 127.0.0.1:1"),
        (["--brokers", "somewhere"], 1, "'somewhere' is not a valid broker"),
        (["--samples", "/no/such/folder/samples"], 1, "cannot be written"),
        (["--seconds", "0"], 2, "--seconds"),
        (["--seconds", "nan"], 2, "--seconds"),
    ],
)
def test_what_cannot_be_done_is_said(args, status, message, environ, tmp_path):
    done = demo(environ, *args)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not left_behind(tmp_path)


def test_confluent_kafka_is_asked_for(environ):
    code = "import sys; sys.modules['confluent_kafka'] = None; from samplejoin.commands.demo import demo; demo([])"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 1
    assert "or `make demo` in a clone" in done.stderr
    assert "Traceback" not in done.stderr
