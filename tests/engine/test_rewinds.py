"""Offsets that were moved back are reported; late entries of a paused owner are not."""

from __future__ import annotations

from collections import Counter

import pytest

from samplejoin.core.messages import Block
from samplejoin.engine.rewinds import Rewinds

pytestmark = pytest.mark.rule(7)


class Meters:
    """Counts."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def add(self, name: str, labels: tuple[str, ...] = (), by: float = 1) -> None:
        self.found[name] += int(by)


@pytest.mark.parametrize(("generation", "rewound"), [(4, 0), (5, 1), (6, 1)])
def test_only_the_present_owner_can_rewind(caplog, generation, rewound):
    meters = Meters()
    rewinds = Rewinds(100, meters)  # type: ignore[arg-type]
    rewinds.count(Block("imp 000000", 5, 1000, 1100, []), {"imp 000000": 1000})
    assert not meters.found
    rewinds.count(Block("imp 000000", generation, None, 50, []), {"imp 000000": 1100})
    assert meters.found["rewound_entries"] == rewound
    assert ("is read again from" in caplog.text) == bool(rewound)
