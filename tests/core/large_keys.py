"""Keys with many rows: how they are drawn and played."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import strategies as st

from samplejoin.core import leaves


@contextmanager
def leaves_of(entries: int, size: int = 64 << 10) -> Iterator[None]:
    """Keys with more cells than that are large, and no leaf has more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaves, "LEAF_ENTRIES", entries)
        patch.setattr(leaves, "LEAF_BYTES", size)
        yield


sizes = st.sampled_from([(1, 64 << 10), (2, 64 << 10), (5, 64 << 10), (64, 300), (10, 1)])
