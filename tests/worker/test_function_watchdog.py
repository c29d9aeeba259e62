"""When a function that blocks the worker is named."""

from __future__ import annotations

import pytest

from samplejoin.worker.function_watchdog import LOOKS, warns_after


@pytest.mark.rule(12)
def test_it_warns_after_1_2_4_8_seconds():
    assert [looks / LOOKS for looks in range(20 * LOOKS) if warns_after(looks)] == [1, 2, 4, 8, 16]
