"""`samplejoin skip`: wrong usage and missing brokers end clearly."""

from __future__ import annotations

import pytest

from tests.cli.test_changing import job, run

__all__ = ["job"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("clicks/0/1",), "say why: --reason TEXT"),
        (("clicks/0/1", "--reason", " "), "say why: --reason TEXT"),
        (("clicks/0", "--reason", "x"), "write TOPIC/PARTITION/OFFSET or TOPIC/PARTITION/FIRST-LAST"),
        (("clicks/0/5-4", "--reason", "x"), "the last offset lies before the first"),
        (("clicks/0/5", "--reason", "x", "-o", "json"), "-o json does not ask: pass --yes"),
    ],
)
def test_wrong_usage(job, arguments, said):
    code, output = run("skip", job, *arguments)
    assert code == 2
    assert said in output


def test_no_broker(job):
    code, output = run("skip", job, "clicks/0/1", "--reason", "x", "--yes")
    assert code == 1
    assert "no broker answers at 127.0.0.1:" in output
