"""Values that no sample can carry: verify agrees with the worker on every one, and ends with a report."""

from __future__ import annotations

from typing import Any

import pytest

from tests.verify.support import JOB, START_MS, Topics, end, job_of, verify, written


class Odd(float):
    """A float that is none by exact type, as numpy's are."""


class Most:
    """The largest; of larger ones a value that cannot be packed."""

    def zero(self) -> float:
        return 0.0

    def add(self, partial: float, value: float) -> float:
        return max(partial, value)

    def merge(self, a: float, b: float) -> float:
        return Odd(max(a, b)) if max(a, b) > 5 else max(a, b)

    def result(self, partial: float) -> float:
        return partial


ODD: dict[str, Any] = {
    "subclass": Odd(1), "half": "cut\ud83d", "deep": None, "large": 1 << 70, "set": {1}, "text": "1", "label": 2.0,
}  # fmt: skip
for _ in range(200):
    ODD["deep"] = [ODD["deep"]]


def clean(record: dict[str, Any]) -> dict[str, Any] | None:
    """Puts something odd where the record says."""
    if record.get("drop"):
        return None
    return {**record, **{field: ODD[name] for field, name in record.get("odd", {}).items()}}


def label(sample: dict[str, Any]) -> Any:
    """Another type for one user."""
    return Odd(1) if sample["user"] == "label" else sample["clicks"]


@pytest.mark.rule(6, 7, 12)
def test_odd_values_are_no_differences_and_no_traceback():
    name = "tests.verify.test_values"
    streams = {n: {**s, "clean": f"{name}:clean", "id": "id"} for n, s in JOB["streams"].items()}
    sample = {
        **JOB["sample"], "last": {"from": "click.x", "agg": "last"}, "max": {"from": "click.x", "agg": "max"},
        "most": {"from": "click.n", "agg": f"{name}:Most"},
    }  # fmt: skip
    job = job_of(streams=streams, sample=sample, label=f"{name}:label")
    topics = Topics()
    for number, odd in enumerate([*ODD, "fine", "merge"]):
        ts = START_MS + number * 100
        topics.send("shows", {"user": odd, "ts": ts, "pos": number})
        for field in ("x", "id", "n", "user"):
            topics.send(
                "clicks", {"user": odd, "ts": ts + 1, "x": 1, "n": 1, "odd": {field: odd} if odd in ODD else {}}
            )
        topics.send("clicks", {"user": odd, "ts": ts + 2000, "n": 9 if odd == "merge" else 2, "id": ""})
        topics.send("clicks", {"user": odd, "ts": ts + 2001, "n": 3, "id": 0})
    written(job, end(topics))
    report = verify(job, topics)
    assert report.errors == []
    assert len(topics.letters) > len(ODD)
    assert len(topics.samples) >= 4
