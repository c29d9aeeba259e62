"""Moves and renames change no byte: logs, changelogs, samples and side rows of fixed inputs are what they have been.

The digests were made by the version before the folders were moved (ADR 0037). A digest changes when a format does: then
the new one stands here, with the change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from samplejoin.testing import JobTest

NOON = 1_735_732_800_000
FINGERPRINT = "0123456789abcdef key=0000"
JOB: dict[str, Any] = {
    "name": "bytes",
    "streams": {
        "show": {"role": "anchor", "topic": "shows", "time": "ts", "id": "id"},
        "click": {"role": "label", "topic": "clicks", "time": "ts"},
        "like": {"role": "label", "topic": "likes", "time": "ts"},
    },
    "key": ["user", "item"],
    "window": "20s",
    "before": "2s",
    "lateness": "3s",
    "sample": {
        "position": "show.pos",
        "shown": {"from": "show", "agg": "count"},
        "clicks": {"from": "click", "agg": "count"},
        "dwell": {"from": "click.dwell", "agg": "sum"},
        "last": {"from": "click.dwell", "agg": "last"},
        "likes": {"from": "like.kind", "agg": "list(5)"},
    },
    "outputs": {"late": "bytes-late", "orphan": "bytes-orphan"},
    "late": "topic",
    "partitions": 2,
}
JOBS: dict[str, dict[str, Any]] = {
    "merge": {},
    "each": {"repeat": "each", "attribution": "first"},
    "corrected": {"late": "correct", "correction": "2m"},
    "sampled": {"keep_negatives": 0.25, "format": "csv"},
    "bounded": {"limits": {"rows": 40}, "repeat": "each"},
    "hold": {"streams": {**JOB["streams"], "like": {**JOB["streams"]["like"], "idle": "hold"}}, "combine": False},
}
DIGESTS = {
    "merge": ["b29e3411ea8c39e5", "8f6ef0bed23e3b2b", "5f94d18d6395c05b", "344 sent"],
    "each": ["b29e3411ea8c39e5", "a75766170e24b94e", "8ee3c561180f3023", "422 sent"],
    "corrected": ["b29e3411ea8c39e5", "4119eb494e973314", "5f94d18d6395c05b", "344 sent"],
    "sampled": ["b29e3411ea8c39e5", "8f6ef0bed23e3b2b", "7d9e7bbf822d97ba", "310 sent"],
    "bounded": ["b29e3411ea8c39e5", "8061ce1d85216a2d", "e43e5fdc3ae581de", "422 sent"],
    "hold": ["b29e3411ea8c39e5", "8f6ef0bed23e3b2b", "5f94d18d6395c05b", "344 sent"],
}
"""By job: repartition logs, changelogs, what was sent."""


def feed(job: JobTest) -> None:
    """Some thousand rows of fifty keys, one of them hot, with rows out of order, late, twice, and without a key."""
    random = Random(20261127)
    for n in range(1500):
        second = n / 10 + random.choice([0, 0, 0, -1.5, -2.5, -15])
        hot = random.random() < 0.2
        key = {"user": "hot" if hot else f"u{random.randrange(50)}", "item": 1 if hot else random.randrange(2)}
        row = {**key, "ts": NOON + int(second * 1000)}
        partition = n % 2
        if n % 3 == 0:
            job.send("show", {**row, "pos": random.randrange(20), "id": f"r{n - n % 9}"}, partition=partition)
        elif n % 3 == 1:
            job.send("click", {**row, "dwell": random.choice([0.5, 1, 2.25, None])}, partition=partition)
        else:
            job.send("like", {**row, "user": "" if n % 50 == 2 else row["user"], "kind": "é"}, partition=partition)
        if n % 40 == 0:
            job.commit()
        if n % 500 == 499:
            job.crash(lose_disk=n > 600)


def digest(parts: Iterable[bytes]) -> str:
    whole = hashlib.blake2b(digest_size=8)
    for part in parts:
        whole.update(len(part).to_bytes(4, "big") + part)
    return whole.hexdigest()


def digests(changes: dict[str, Any]) -> list[str]:
    """Of the repartition logs, the changelogs, and the records that were sent, whose order in a commit says nothing."""
    job = JobTest({**JOB, **changes}, now=NOON, topic_partitions=2)
    feed(job)
    job.finish()
    joins = job._joins
    sent = [record for join in joins for record in join.committed]
    return [
        digest(value + b"%d" % append_ms for join in joins for value, append_ms in join.log),
        digest(part for join in joins for part in join.changelog),
        digest(sorted(repr((s.topic, s.key, s.value, sorted(s.headers.items()))).encode() for s in sent)),
        f"{len(sent)} sent",
    ]


@pytest.fixture(autouse=True)
def _fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samplejoin.job.compile.fingerprint_of", lambda model: FINGERPRINT)
    monkeypatch.setattr("samplejoin.engine.changelog.os.urandom", bytes)  # a commit's id


@pytest.mark.rule(6)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", JOBS)
def test_the_bytes_are_what_they_have_been(name: str) -> None:
    assert digests(JOBS[name]) == DIGESTS[name]
