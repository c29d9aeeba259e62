"""Lack of memory is not the fault of a record or sample: it ends the worker, which says where (rule 12)."""

from __future__ import annotations

import pytest

from samplejoin.testing import JobTest

T = 1_735_689_600_000
FUNCTIONS = """
def full(_):
    raise MemoryError


def clean(record):
    if record["uid"] == "full":
        raise MemoryError("a tensor of 9 GB")
    return record


class Full:
    def zero(self):
        return 0

    def add(self, state, value):
        if value == "add":
            raise MemoryError
        return value

    def merge(self, a, b):
        if b == "merge":
            raise MemoryError
        return a

    def result(self, state):
        if state == "result":
            raise MemoryError
        return state
"""


def job(tmp_path, **keys):
    (tmp_path / "out_of_memory.py").write_text(FUNCTIONS)
    streams = {
        name: {"role": role, "topic": name, "time": "ts", "clean": "out_of_memory:clean"}
        for name, role in (("impression", "anchor"), ("click", "label"))
    }
    return JobTest(
        {
            "name": "j", "streams": streams, "key": ["uid"], "window": "10s",
            "sample": {"own": {"from": "click.x", "agg": "out_of_memory:Full"}},
            **keys,
        },
        base_dir=tmp_path,
    )  # fmt: skip


@pytest.mark.rule(12)
def test_in_cleaning(tmp_path):
    full = job(tmp_path)
    full.send("impression", {"uid": "full", "ts": T})
    with pytest.raises(MemoryError, match=r"clean of impression/0/0, out_of_memory:clean: a tensor of 9 GB"):
        full.finish()


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    ("method", "where"),
    [("add", "row of click/0/0, out_of_memory:clean: "), ("merge", ""), ("result", "aggregate of sample .*")],
)
def test_in_an_aggregate(tmp_path, method, where):
    full = job(tmp_path)
    full.send("impression", {"uid": "u", "ts": T})
    for x in (method, method):
        full.send("click", {"uid": "u", "ts": T, "x": x})
    with pytest.raises(MemoryError, match=rf"{where}field own: out_of_memory:Full\.{method}\(\)"):
        full.finish()


@pytest.mark.rule(12)
@pytest.mark.parametrize("step", ["label", "format"])
def test_at_a_sample(tmp_path, step):
    made = job(tmp_path)
    made.send("impression", {"uid": "u", "ts": T})
    assert len(made.finish()) == 1
    full = job(tmp_path, **{step: "out_of_memory:full"})
    full.send("impression", {"uid": "u", "ts": T})
    with pytest.raises(MemoryError, match=f"{step} of sample "):
        full.finish()
