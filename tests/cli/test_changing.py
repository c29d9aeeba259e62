"""`samplejoin reset` and `migrate`: wrong usage and missing brokers end clearly."""

from __future__ import annotations

import socket

import pytest
from click.testing import CliRunner

from samplejoin.admin.reset import _start_text, refuse_running_worker
from samplejoin.cli import main
from samplejoin.engine.config import WorkerError
from samplejoin.engine.state_dir import StateDir
from samplejoin.job.compile import compile_job
from samplejoin.job.event_times import read_iso
from samplejoin.worker.engine_config import engine_config
from samplejoin.worker.settings import WorkerSettings
from tests.job.helpers import TEXT, model, write


@pytest.fixture
def job(tmp_path):
    """A job whose broker does not answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return write(tmp_path, TEXT + f"brokers: 127.0.0.1:{port}\n")


def run(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


COMMANDS = (("reset",), ("migrate", "--from-generation", "1", "--set", "generation=2"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_no_broker(job, command):
    code, output = run(*command, job, "--yes")
    assert code == 1
    assert "no broker answers at 127.0.0.1:" in output
    assert "cannot be reached (connection refused): is it running" in output
    assert "AddressFamily" not in output


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_a_wrong_job(job, command):
    code, output = run(*command, job, "--set", "window=20")
    assert code == 2
    assert "20 has no unit" in output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("reset", "--to", "soon"), "'soon' is not a time in ISO 8601; or earliest, latest, committed"),
        (("migrate",), "--from-generation"),
        (("migrate", "--from-generation", "0"), "'--from-generation': 0 is not in the range 1<=x<=9999"),
        (("migrate", "--from-generation", "100000"), "'--from-generation': 100000 is not in the range 1<=x<=9999"),
        (("migrate", "--from-generation", "1"), "--from-generation: the job file says generation: 1 itself; set"),
        (("migrate", "--from-generation", "1"), "set generation: 2 in the job file"),
        (("migrate", "--from-generation", "1", "-o", "json"), "-o json does not ask: pass --yes, or --dry-run"),
        (("reset", "-o", "json"), "-o json does not ask: pass --yes, or --dry-run"),
    ],
)
def test_wrong_usage(job, arguments, said):
    code, output = run(*arguments, job)
    assert code == 2
    assert said in output


def test_a_reset_names_a_worker_that_uses_the_state_directory(tmp_path):
    worker = StateDir(tmp_path / "feed")
    worker.lock()
    with pytest.raises(WorkerError, match=r"a worker of the job runs on this machine, .*/feed: stop all workers"):
        refuse_running_worker(tmp_path / "feed")
    worker.unlock()
    refuse_running_worker(tmp_path / "feed")


def test_the_plan_of_a_reset_shows_its_time_as_it_is_written():
    config = engine_config(compile_job(model(), "."), WorkerSettings.model_construct(), {})
    said = "the first records whose Kafka timestamp is 2026-01-31T12:00:00.000Z or later"
    assert _start_text(config, read_iso("2026-01-31T12:00:00Z")) == said
