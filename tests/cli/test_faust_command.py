"""Faust's own command on a job: what it can do, and what it reports for the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import click
import pytest
from faust.cli.faust import cli as faust_command

import samplejoin
from samplejoin.worker.faust_command import NO_USE, REFUSED, REFUSED_BY_A_WORKER, refuse_relative_workdir
from tests.job.helpers import write


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMPLEJOIN_JOB", str(write(tmp_path)))
    yield
    vars(samplejoin.worker.faust_app).pop("app", None)


def refused(*arguments: str) -> str:
    with pytest.raises(click.ClickException) as caught:
        faust_command.main(["-A", "samplejoin", *arguments], standalone_mode=False)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(NO_USE))
def test_commands_with_nothing_to_work_on_say_what_to_use(job, name):
    arguments = {"send": ("@clean", "1"), "model": ("x",)}.get(name, ())
    assert refused(name, *arguments) == f"faust {name} has no use here: {NO_USE[name]}"


@pytest.mark.parametrize(
    ("option", "arguments"),
    [
        ("datadir", ("--datadir", "/tmp", "worker")),
        ("datadir", ("-D", "/tmp", "agents")),
        ("quiet", ("-q", "worker")),
        ("json", ("--json", "worker")),
        ("debug", ("--debug", "worker")),
        ("loop", ("--loop", "aio", "worker")),
        ("blocking_timeout", ("worker", "--blocking-timeout", "3")),
        ("console_port", ("--console-port", "7000", "worker")),
        ("web_host", ("worker", "-h", "here")),
        ("web_transport", ("worker", "--web-transport", "unix:///x")),
    ],
)
def test_options_without_a_meaning_are_refused(job, option, arguments):
    why = (REFUSED | REFUSED_BY_A_WORKER)[option]
    assert refused(*arguments) == f"--{option.replace('_', '-')} has no meaning here: {why}"


def test_every_option_is_either_refused_or_known_to_be_honoured():
    """A new version of Faust with another option turns this red."""
    worker = faust_command.commands["worker"]
    there = {each.name for each in (*faust_command.params, *worker.params)}
    honoured = {"app", "workdir", "loglevel", "logfile", "with_web", "web_port", "web_bind", "version"}
    assert there == honoured | set(REFUSED) | set(REFUSED_BY_A_WORKER)
    assert set(faust_command.commands) == {"worker", "agents", "tables", "models", *NO_USE}


@pytest.mark.parametrize("arguments", [["faust", "-W", "sub"], ["faust", "--workdir=sub"]])
def test_a_relative_workdir_is_refused(arguments):
    with pytest.raises(click.ClickException, match=r"--workdir sub is relative, .* give an absolute path"):
        refuse_relative_workdir(arguments)
    refuse_relative_workdir(["faust", "-W", "/sub", "--workdir=/sub", "worker"])


def test_lists_show_what_is_there(tmp_path):
    environ = {**os.environ, "SAMPLEJOIN_JOB": str(write(tmp_path))}
    lists = {
        name: subprocess.Popen(
            [sys.executable, "-m", "faust", "-A", "samplejoin", "--json", name], env=environ, stdout=subprocess.PIPE
        )
        for name in ("agents", "tables")
    }
    shown = {name: json.loads(each.communicate(timeout=60)[0]) for name, each in lists.items()}
    assert [(each["name"], each["topic"]) for each in shown["agents"]] == [
        ("@clean", "clk, imp"),
        ("@join", "feed-repartition"),
    ]
    assert all("..." not in each["help"] and each["help"].endswith(".") for each in shown["agents"])
    (table,) = shown["tables"]
    assert table["name"] == "feed-partial-samples"
    assert table["help"].startswith("Open keys of 4 join partitions, in ")


def test_web_options_and_logfile_are_honoured(tmp_path):
    """Whoever waits for a broker can be asked already."""
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "faust", "-A", "samplejoin", "worker", "-b", "localhost", "-f", str(log)]
    environ = {**os.environ, "SAMPLEJOIN_JOB": str(write(tmp_path)), "SAMPLEJOIN_BROKERS": "127.0.0.1:1"}
    with subprocess.Popen([*command, "-p", "65123", "-l", "info"], env=environ, stderr=subprocess.PIPE) as worker:
        try:
            while not (log.exists() and "trying again" in log.read_text()):
                assert worker.poll() is None
        finally:
            worker.terminate()
            assert worker.stderr is not None
            assert worker.stderr.read() == b""
    assert "web port 65123 on localhost" in log.read_text()
