"""Failpoints fire only if they are set, at the place and the time that were set."""

from __future__ import annotations

import asyncio
import signal

import pytest

from samplejoin.engine import failpoints

pytestmark = pytest.mark.rule(16)


@pytest.fixture
def signals(monkeypatch):
    sent: list[signal.Signals] = []
    monkeypatch.setattr(failpoints, "_armed", {})
    monkeypatch.setattr("os.kill", lambda pid, number: sent.append(number))
    return sent


def test_nothing_happens_unasked(signals):
    for place in failpoints.PLACES:
        failpoints.reached(place)
    assert signals == []


def test_a_place_kills_or_freezes_the_nth_time_and_once(signals):
    failpoints.arm("commit-sent:3, recovery-read,block-sent:2:stop")
    for _ in range(2):
        failpoints.reached("commit-sent")
    assert signals == []
    failpoints.reached("commit-sent")
    assert signals == [signal.SIGKILL]
    for _ in range(5):
        failpoints.reached("block-sent")
    assert signals == [signal.SIGKILL, signal.SIGSTOP]


def test_a_place_raises_the_nth_time_and_once(signals, caplog):
    failpoints.arm("commit-taken:2:raise,stop-begin:raise")
    assert failpoints.armed() == "commit-taken, stop-begin"
    failpoints.reached("commit-taken")
    for place in ("commit-taken", "stop-begin"):
        with pytest.raises(failpoints.FailpointError, match=place):
            failpoints.reached(place)
        failpoints.reached(place)
        assert f"failpoint {place} raises" in caplog.text
    assert (signals, failpoints.armed()) == ([], "")


async def test_a_task_is_held_the_nth_time_and_once(signals):
    failpoints.arm("block-begin:2:hold")
    await failpoints.passed("block-begin")
    held = asyncio.create_task(failpoints.passed("block-begin"))
    await asyncio.sleep(0)
    assert not held.done()
    await failpoints.passed("block-begin")
    held.cancel()
    assert signals == []


@pytest.mark.parametrize("text", ["nowhere", "commit-sent:x", "commit-sent:1:sleep", "commit-sent:1:hold"])
def test_a_slip_of_the_pen_is_named(signals, text):
    with pytest.raises(ValueError, match="one of commit-taken"):
        failpoints.arm(text)
