"""The test kit as users see it: a new project, warnings, light imports."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import pytest
from click.testing import CliRunner

from samplejoin.commands.init import init
from samplejoin.testing import DeadLettersWarning, JobTest
from tests.testing.jobs import T, clicked, kit_of, shown


def test_a_new_project_passes_its_own_tests(tmp_path):
    made = CliRunner().invoke(init, ["feed", "--into", str(tmp_path)])
    assert made.exit_code == 0, made.output
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    done = subprocess.run(command, cwd=tmp_path / "feed", capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_the_test_kit_loads_neither_faust_nor_rocksdb():
    code = "import samplejoin.testing, sys; print(sorted({'faust', 'rocksdict', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def typo_in_clean(record: dict[str, Any]) -> dict[str, Any]:
    return {"uid": record["uidd"]}


@pytest.mark.rule(12)
@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_sum_beyond_64_bits_is_exact(form):
    job = kit_of(sample={"total": {"from": "click.n", "agg": "sum"}}, label="total > 0", format=form)
    for uid, number in (("big", 18446744073709551615), ("fine", 7)):
        shown(job, uid)
        clicked(job, uid, n=number)
        clicked(job, uid, ts=T + 6000, n=number)
    job.finish()
    big, fine = sorted((sample.value for sample in job.samples), key=len, reverse=True)
    assert b"36893488147419103230" in big
    assert b"14" in fine
    assert not job.dead_letters


def test_finish_warns_once_of_dead_letters_that_nobody_has_looked_at():
    streams = {
        "impression": {"role": "anchor", "topic": "i", "time": "ts", "clean": f"{__name__}:typo_in_clean"},
        "click": {"role": "label", "topic": "c", "time": "ts"},
    }
    job = {"name": "typo", "streams": streams, "key": ["uid"], "window": "10s", "sample": {}}
    test = JobTest(job)
    for _ in range(2):
        test.send("impression", {"uid": "u1", "ts": T})
    with pytest.warns(DeadLettersWarning) as said:
        assert test.finish() == []
    assert len(said) == 1
    assert said[0].filename == __file__
    assert str(said[0].message) == (
        f"2 dead letters that the test has not looked at: 2 clean {__name__}:typo_in_clean; the last one says "
        "KeyError: 'uidd'. All are in `dead_letters`"
    )
    looked_at = JobTest(job)
    looked_at.send("impression", {"uid": "u1", "ts": T})
    assert len(looked_at.dead_letters) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert test.finish() == looked_at.finish() == []


def test_csv_samples_are_bytes_and_dicts_under_another_format():
    streams = {
        "impression": {"role": "anchor", "topic": "i", "time": "ts"},
        "click": {"role": "label", "topic": "c", "time": "ts"},
    }
    job = {"name": "csv", "streams": streams, "key": ["uid"], "window": "10s", "sample": {}, "format": "csv"}
    for sets, expected in (({}, b"u1,0"), ({"format": "json"}, {"uid": "u1", "label": 0})):
        test = JobTest(job, sets)
        test.send("impression", {"uid": "u1", "ts": T})
        assert test.finish() == [expected]
