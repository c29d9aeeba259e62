"""The command line: what is there, what is loaded, how it ends."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any

import click
import pytest
from aiokafka.errors import KafkaConnectionError
from click.testing import CliRunner

import samplejoin
from samplejoin import cli
from samplejoin.cli import COMMANDS, main
from samplejoin.engine.config import WorkerError
from samplejoin.worker.http_server import refuse_taken
from samplejoin.worker.logs import _is_news
from tests.job.helpers import TEXT, write


def run(*arguments: Any) -> Any:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def loaded(*arguments: Any) -> set[str]:
    """Which heavy modules a command loads."""
    code = (
        "import sys\nfrom samplejoin.cli import main\n"
        f"try:\n    main({[str(a) for a in arguments]!r})\n"
        "except SystemExit:\n    pass\n"
        "finally:\n    print('loaded', *({'faust', 'pydantic', 'aiokafka', 'rich', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


# ---- the group ------------------------------------------------------------------------------------------------------


def test_help_names_every_command():
    result = run("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"  {name} " in result.output
    assert run("-h").output == result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert f"Usage: main {name}" in result.output


def test_help_loads_nothing_heavy():
    assert loaded("--help") == set()
    assert loaded("version") == set()


def test_check_loads_no_faust(tmp_path):
    assert loaded("check", write(tmp_path), "--no-broker") == {"pydantic", "yaml"}
    assert "faust" not in loaded("worker", tmp_path / "none.yaml")


def test_an_unknown_command():
    result = run("chek")
    assert result.exit_code == 2
    assert "chek" in result.output


def test_version():
    assert run("--version").output == f"samplejoin {samplejoin.__version__}\n"
    output = run("version").output
    assert output.startswith(f"samplejoin {samplejoin.__version__}\nPython 3.")
    assert "faust-streaming 0.15" in output


def test_schema_and_check_and_init_run(tmp_path):
    assert json.loads(run("schema").output)["title"] == "samplejoin job"
    assert run("check", write(tmp_path), "--no-broker").exit_code == 0
    assert run("init", "feed", "--into", tmp_path).exit_code == 0


def test_a_missing_extra_is_named(monkeypatch):
    def fails(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'confluent_kafka'", name="confluent_kafka")

    monkeypatch.setattr(cli, "import_module", fails)
    result = run("demo")
    assert result.exit_code == 1
    assert "No module named 'confluent_kafka': run `make demo` in a clone" in result.output
    with pytest.raises(ModuleNotFoundError):
        CliRunner().invoke(main, ["check"], catch_exceptions=False)


def test_the_console_script():
    scripts = [e for e in entry_points(group="console_scripts") if e.name == "samplejoin"]
    if not scripts:
        pytest.skip("samplejoin is not installed here")
    assert scripts[0].value == "samplejoin.cli:main"


# ---- worker ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def started(monkeypatch):
    """What the worker would have been started with; `error` is raised instead of an app."""
    calls = SimpleNamespace(made=None, ran=None, error=None)

    def make_app(path: Any, settings: Any, sets: Any) -> str:
        calls.made = (path, settings, sets)
        if calls.error is not None:
            raise calls.error
        return "app"

    def run_app(app: Any, loglevel: str) -> None:
        calls.ran = (app, loglevel)

    import samplejoin.worker.faust_app

    monkeypatch.setattr(samplejoin.worker.faust_app, "make_app", make_app)
    monkeypatch.setattr(samplejoin.worker.faust_app, "run", run_app)
    return calls


def test_a_worker_is_started(tmp_path, started):
    path = write(tmp_path)
    result = run(
        "worker", path, "--set", "window=5m", "--set", "streams.click.topic=a=b", "-l", "DEBUG", "--web-port", 7000
    )
    assert result.exit_code == 0, result.output
    made_path, settings, sets = started.made
    assert made_path == settings.job == path
    assert sets == ("window=5m", "streams.click.topic=a=b", "web_port=7000")
    assert started.ran == ("app", "DEBUG")


def test_the_defaults_of_a_worker(tmp_path, started):
    assert run("worker", write(tmp_path)).exit_code == 0
    assert started.made[2] == ()
    assert started.ran == ("app", "INFO")


def test_a_wrong_job_ends_without_a_traceback(tmp_path):
    result = run("worker", write(tmp_path, TEXT.replace("20m", "20")))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "job.yaml:9: window: 20 has no unit" in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_options(tmp_path):
    path = write(tmp_path)
    assert run("worker", tmp_path / "none.yaml").exit_code == 2
    assert run("worker", path, "--set", "window").exit_code == 2
    assert run("worker", path, "--web-port", "0").exit_code == 2
    assert run("worker", path, "-l", "loud").exit_code == 2
    result = run("worker", path, "--set", "windo=5m")
    assert (result.exit_code, "did you mean 'window'?" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DRAIN", "maybe", "must be true or false"),
        ("SESSION_TIMEOUT_MS", "soon", "must be a whole number"),
        ("SESSION_TIMEOUT_MS", "5", "must be at least 1000"),
        ("SESSION_TIMEOUT_MS", "1800001", "must be at most 1800000"),
        ("LOG_FORMAT", "xml", "must be 'auto', 'text' or 'json'"),
        ("TEST_FAILPOINTS", "commit-sent:3", "it makes a worker die, freeze or fail on purpose"),
        ("TEST_FAILPOINTS", "rubbish", "failpoint 'rubbish': one of"),
        ("TEST_FAILPOINTS", "commit-sent:x", "failpoint 'commit-sent:x': one of"),
    ],
)
def test_a_wrong_environment(tmp_path, monkeypatch, name, value, said):
    """The same words and exit code 2, whoever reads it."""
    monkeypatch.setenv(f"SAMPLEJOIN_{name}", value)
    if "one of" in said:
        monkeypatch.setenv("SAMPLEJOIN_TEST_ALLOW_FAILPOINTS", "1")
    path = write(tmp_path)
    monkeypatch.setenv("SAMPLEJOIN_JOB", str(path))
    for command in (("worker",), ("reset", "--yes"), ("migrate", "--from-generation", 1)):
        result = run(*command, path)
        assert result.exit_code == 2, command
        assert f"environment SAMPLEJOIN_{name}: {said}" in result.stderr
    with pytest.raises(click.UsageError, match=f"environment SAMPLEJOIN_{name}: {said}"):
        _ = samplejoin.app


@pytest.mark.parametrize("error", [WorkerError("no broker"), KafkaConnectionError("no broker")])
def test_faust_shows_no_traceback_either(monkeypatch, tmp_path, error):
    import samplejoin.worker.faust_app

    def make_app(path: Any, settings: Any) -> None:
        raise error

    monkeypatch.setattr(samplejoin.worker.faust_app, "make_app", make_app)
    with pytest.raises(click.ClickException, match="no broker"):
        _ = samplejoin.app


# ---- the web port ---------------------------------------------------------------------------------------------------


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_web_port_ends_a_worker_with_a_word(tmp_path, taken):
    command = [sys.executable, "-m", "samplejoin.cli", "worker", str(write(tmp_path)), "--web-port", str(taken)]
    done = subprocess.run(
        [*command, "--set", "brokers=127.0.0.1:1"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"worker stops: web port {taken} on 127.0.0.1 cannot be opened (address already in use): set" in done.stderr
    assert "Traceback" not in done.stderr


def test_web_addresses_that_cannot_be_opened(taken):
    with pytest.raises(WorkerError, match=r"address already in use.*: set web_port, --web-port or SAMPLEJOIN_WEB_BIND"):
        refuse_taken("127.0.0.1", taken)
    with pytest.raises(WorkerError, match=r"on 192\.0\.2\.1 cannot be opened"):
        refuse_taken("192.0.2.1", 7000)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    refuse_taken("127.0.0.1", port)


def test_the_log_drops_the_framework_s_chatter_but_not_its_errors():
    def news(level: int, text: str) -> bool:
        return _is_news(logging.LogRecord("mode", level, "", 0, text, (), None))

    assert not news(logging.INFO, "[^Worker]: Starting...")
    assert news(logging.ERROR, "[^Worker]: Error: %r")
    assert news(logging.INFO, "samplejoin %s")
    assert not news(logging.ERROR, "Unable connect to %s")
    assert not news(logging.WARNING, "Timer %s is overlapping (interval=%r runtime=%r)")


@pytest.mark.parametrize("error", [KafkaConnectionError("no broker"), WorkerError("no broker"), OSError("no broker")])
def test_what_stops_a_worker_before_it_runs(tmp_path, started, error):
    started.error = error
    result = run("worker", write(tmp_path))
    assert result.exit_code == 1
    assert "no broker" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_group_is_a_click_group():
    assert isinstance(main, click.Group)
    with click.Context(main) as context:
        assert main.list_commands(context) == list(COMMANDS)
        assert all(main.get_command(context, name) is not None for name in COMMANDS)
