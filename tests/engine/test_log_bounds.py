"""How long a position must be outside its log, on an injected clock; integration/test_failover.py asks real brokers."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition

from samplejoin.engine.log_bounds import OUTSIDE_S, OutsideLog

TP = TopicPartition("topic", 1)


@pytest.mark.rule(7)
def test_a_position_is_outside_for_good_after_some_seconds_in_a_row():
    outside = OutsideLog()
    assert [outside._lasts(TP, second) for second in (100.0, 102.0, 104.0, 100.0 + OUTSIDE_S)] == [False] * 3 + [True]


@pytest.mark.rule(7)
def test_two_moments_far_apart_are_not_one():
    """The first is long over, and nobody has told: the fetches after it just went through."""
    outside = OutsideLog()
    assert [outside._lasts(TP, second) for second in (100.0, 101.0, 900.0, 901.0)] == [False] * 4
    assert outside._lasts(TP, 900.0 + OUTSIDE_S)
