"""Keys with many cells: in leaves they join as small ones do, at a cost that grows with their rows and no faster."""

from __future__ import annotations

from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplejoin.core import leaves
from tests.core.harness import World, everything, replay
from tests.core.strategies import cases, randoms, with_options


@contextmanager
def leaves_of(entries: int, size: int = 64 << 10):
    """Keys with more cells than that are large, and no leaf has more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaves, "LEAF_ENTRIES", entries)
        patch.setattr(leaves, "LEAF_BYTES", size)
        yield


sizes = st.sampled_from([(1, 64 << 10), (2, 64 << 10), (5, 64 << 10), (64, 300), (10, 1)])


@pytest.mark.rule(2, 3, 4, 5, 6, 7, 16)
@given(
    cases(late=True), randoms, sizes, st.sampled_from(["count", "topic", "correct"]), st.sampled_from([2, 9, 1000])
)  # fmt: skip
@settings(max_examples=200)
def test_large_or_small_is_all_the_same(case, random, size, late, correction):
    """Whatever is late, corrected, repeated, crashed: no outcome tells how a key is kept."""
    spec, records = case
    spec = with_options(spec, late=late, correction_ms=correction * spec.resolution_ms)
    for log in World(spec, records, 1, random, restarts=0.05).run():
        with leaves_of(10_000):
            small = everything(replay(spec, log))
        with leaves_of(*size):
            assert everything(replay(spec, log)) == small
            assert everything(replay(spec, log, Random(random.random()))) == small
