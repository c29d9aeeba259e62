"""`samplejoin verify` as a command: invalid options, jobs with nothing to compare, and exit codes."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from samplejoin.cli import main
from samplejoin.commands import verify as command
from samplejoin.verify.report import Report
from tests.job.helpers import write
from tests.verify.support import Topics, end, feed, job_of, verify, written


def run(tmp_path, *options):
    result = CliRunner().invoke(main, ["verify", str(write(tmp_path)), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize(
    "options",
    [
        ("--from", "2026-01-02", "--to", "2026-01-01"),
        ("--from", "2026-01-02", "--to", "2026-01-02"),
        ("--sample", "1/99999999999999999999999999"),
        ("--sample", "1/1000001"),
        ("--sample", f"1/{'9' * 5000}"),
        ("--sample", "1/0"),
    ],
)
def test_wrong_usage(tmp_path, options):
    code, output = run(tmp_path, *options)
    assert code == 2
    assert f"Invalid value for {options[-2]}" in output.replace("'", "")


def test_no_broker(tmp_path):
    code, output = run(tmp_path, "--set", "brokers=127.0.0.1:1")
    assert code == 2
    assert "no broker answers at 127.0.0.1:1: " in output
    assert "is it running" in output
    assert "AddressFamily" not in output


@pytest.mark.rule(6)
def test_nothing_to_compare_is_not_ok():
    job = job_of()
    report = verify(job, Topics())
    assert (report.ok, report.wrong, report.as_dict()["ok"]) == (False, {}, False)
    assert report.verdict.startswith("nothing was compared: the inputs give no window")
    assert verify(job, written(job, end(feed(3)))).ok


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (Report("j"), 2),
        (Report("j", windows=1, right=1), 0),
        (Report("j", windows=2, right=1, open=1), 0),
        (Report("j", windows=3, right=1, open=2), 3),
        (Report("j", windows=3, unexplained=1, open=2), 1),
        (Report("j", unexplained=1), 1),
    ],
)
def test_exit_codes(tmp_path, monkeypatch, report, code):
    async def made(*_):
        return report

    monkeypatch.setattr(command, "_run", made)
    assert run(tmp_path)[0] == code


def test_ctrl_c(tmp_path, monkeypatch):
    async def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_run", interrupted)
    code, output = run(tmp_path)
    assert code == 130
    assert "stopped" in output
