"""Commits, crashes and failures in the test kit (rules 7 and 16)."""

from __future__ import annotations

from typing import Any

import pytest

from samplejoin.core.partition import Partition
from samplejoin.engine import failpoints
from samplejoin.engine.transaction import CommitFailed
from tests.testing.jobs import JOINED, T, clicked, kit_of, shown


@pytest.mark.rule(7, 16)
@pytest.mark.parametrize("lose_disk", [False, True])
@pytest.mark.parametrize("sources", [False, True])
@pytest.mark.parametrize("joins", [False, True])
def test_a_crash_between_the_rows_of_a_sample(lose_disk, sources, joins):
    job = kit_of()
    shown(job)
    job.commit(sources=sources, joins=joins)
    clicked(job)
    job.crash(lose_disk=lose_disk)
    clicked(job, ts=T + 6000)
    assert job.finish() == [{**JOINED, "clicks": 2}]
    job.crash(lose_disk=lose_disk)
    assert job.finish() == [{**JOINED, "clicks": 2}]


@pytest.mark.rule(16)
def test_what_was_not_committed_was_never_there():
    job = kit_of()
    shown(job)
    job.commit()
    job.advance("25m")
    before = job.samples
    assert len(before) == 1
    for join in job._joins:
        join.log.clear()  # the log is Kafka's, and stays; without it nothing can be made again
    job.crash()
    assert job.samples == []


@pytest.fixture
def failpoint():
    yield failpoints.arm
    failpoints.disarm()


@pytest.mark.rule(16)
@pytest.mark.parametrize("place", ["commit-taken", "commit-storing"])
def test_nothing_is_committed_after_a_failure(failpoint, place):
    """What was taken for a commit that failed is not in the next one: that would be a position without its keys."""
    job = kit_of()
    for i in range(20):
        shown(job, f"u{i}")
    failpoint(f"{place}:raise")
    with pytest.raises(failpoints.FailpointError):
        job.commit()
    for _ in range(2):
        with pytest.raises(CommitFailed, match=r"has failed before; call crash\(\)"):
            job.commit()
    job.crash()
    assert len(job.finish()) == 20


@pytest.mark.rule(16)
def test_nothing_is_committed_after_a_step_that_failed(monkeypatch):
    """Part of a block may be merged, and its offsets count as covered."""
    job = kit_of()
    shown(job)

    def broken(*_):
        raise RuntimeError("in the middle of it")

    with monkeypatch.context() as patch:
        patch.setattr(Partition, "sweep", broken)
        with pytest.raises(RuntimeError):
            job.commit()
    with pytest.raises(CommitFailed):
        job.commit()
    job.crash()
    assert len(job.finish()) == 1


@pytest.mark.rule(6, 16)
def test_a_crash_makes_the_same_samples_again():
    job = kit_of()
    for i in range(20):
        shown(job, f"u{i}", ts=T + i * 500)
        clicked(job, f"u{i}")
    job.advance("25m")
    before = job.samples
    job.crash()
    assert job.samples == before
    job.commit()
    job.crash(lose_disk=True)
    assert job.samples == before
    assert len(job.finish()) == 20


@pytest.mark.rule(12)
def test_a_dead_letter_is_there_at_least_once():
    job = kit_of()
    job.send("click", b"{")
    assert len(job.dead_letters) == 1
    job.crash()
    assert [letter.source for letter in job.dead_letters] == ["clk/0/0", "clk/0/0"]
    job.commit()
    job.crash()
    assert len(job.dead_letters) == 2


@pytest.mark.rule(7, 11)
@pytest.mark.parametrize("in_flight", [1, 3, 50_000])
@pytest.mark.parametrize("combine", [False, True])
def test_combined_or_not(in_flight, combine):
    job = kit_of(max_in_flight=in_flight, combine=combine)
    shown(job)
    for i in range(50):
        clicked(job, ts=T + i * 10)
    assert job.finish() == [{**JOINED, "clicks": 50}]


def test_a_test_gives_the_same_every_time():
    def once() -> list[Any]:
        job = kit_of(repeat="each", kit={"topic_partitions": 2})
        for i in range(30):
            shown(job, f"u{i % 7}", ts=T + i * 700)
            clicked(job, f"u{i % 5}", ts=T + i * 900)
            if i % 10 == 0:
                job.crash()
        job.finish()
        return [job.samples, job.orphans, sorted(job.counts.items(), key=repr)]

    assert once() == once()
