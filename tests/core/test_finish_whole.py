"""The fast path of keys with one window: it is taken, and gives the same result as the general path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplejoin.core.finish import Finisher
from tests.core.harness import World, everything, replay
from tests.core.play import Play, spec_of
from tests.core.strategies import cases, randoms


@pytest.mark.rule(1)
def test_it_is_taken_for_an_impression_and_its_clicks(monkeypatch):
    taken: list[bool] = []
    whole = Finisher.finish_whole

    def finish_whole(self: Finisher, *arguments: Any) -> bool:
        taken.append(whole(self, *arguments))
        return taken[-1]

    monkeypatch.setattr(Finisher, "finish_whole", finish_whole)
    assert Play(spec_of()).show(0).click(5).clock(20).labels == [1]
    assert Play(spec_of()).show(0).clock(20).labels == [0]
    assert taken == [True, True]


@pytest.mark.rule(1, 2, 3, 4, 12, 13, 14)
@given(cases(), randoms, st.booleans())
def test_it_gives_what_the_long_way_gives(case, random, combined):
    spec, records = case
    world = World(spec, records, 1, random, combined)
    (log,) = world.run()
    short = replay(spec, log)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finisher, "finish_whole", lambda self, *_: False)
        long = replay(spec, log)
    assert everything(short) == everything(long)
