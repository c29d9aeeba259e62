"""Checks that the tests notice a missing protection: each is switched off in a worker, and its scene must fail.

The same scene passes with the unchanged worker, so the failure comes from the mistake.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from samplejoin.core.partition import Partition
from tests.chaos.mistake_play import Play
from tests.chaos.mistake_scenes import SCENES, Scene
from tests.chaos.mistaken import command
from tests.chaos.mistakes import MISTAKES, ticks_believed
from tests.integration.support import Worker, World
from tests.support.kafka import unique

TRIES = 3

pytestmark = [pytest.mark.kafka, pytest.mark.rule(1, 7, 8, 16)]


@pytest.fixture
def casts(kafka, tmp_path):
    """Makes a play whose workers are run by a command."""
    made = []

    def make(name, command):
        (tmp_path / name).mkdir()
        made.append(Play(World(kafka, unique(name), tmp_path / name, partitions=1), command))
        return made[-1]

    yield make
    for play in made:
        play.close()


def played(play: Play, scene: Scene) -> tuple[bool, str]:
    """Whether the protection was seen at work, and what the judge said: nothing if all was right."""
    needed = scene.play(play)
    try:
        play.judge()
    except AssertionError as error:
        return needed, str(error)
    return needed, ""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_only_the_worker_with_the_mistake_is_caught(casts, mistake):
    """Both casts play at the same time, each with a job of its own.

    The right one must be right; a mistake may have luck on a slow machine, but not again and again.
    """
    scene = SCENES[mistake]
    with ThreadPoolExecutor(2) as stages:
        right = stages.submit(played, casts("right", Worker.command), scene)
        said = [stages.submit(played, casts("mistaken", command(mistake)), scene).result()[1]]
        needed, wrong = right.result()
    assert not wrong
    assert needed, "the scene did not need what it is there for"
    while scene.caught not in said[-1] and len(said) < TRIES:
        said.append(played(casts(f"mistaken-{len(said)}", command(mistake)), scene)[1])
    assert scene.caught in said[-1], said


def test_a_mistake_that_no_longer_bites_is_refused(monkeypatch):
    monkeypatch.delattr(Partition, "_tick")
    with pytest.raises(RuntimeError, match="Partition has no _tick any more"):
        ticks_believed()
