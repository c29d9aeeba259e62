"""Short rounds of chaos, each a fixed script; the long run is `make chaos`.

`SAMPLEJOIN_TEST_LONG=1` adds a round for every fault alone, and drawn rounds on one broker and on three.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import replace

import pytest

from samplejoin.engine.failpoints import PLACES
from samplejoin.job.compile import compile_job
from samplejoin.job.load import load_job
from tests.chaos.faults import FAULTS
from tests.chaos.judge import judge, truth_of
from tests.chaos.round import Result, outputs_of, play
from tests.chaos.script import HOLD_CHUNKS, HOT, Script, draw, playable
from tests.support.kafka import unique

LONG = os.environ.get("SAMPLEJOIN_TEST_LONG") == "1"
EVENTS = 70_000
PER_SECOND = 7000

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]


def scripted(seed: int, brokers: int, *faults: str, every_s: float = 2.0, **changes: object) -> Script:
    """The round of a seed with these faults, one after the other."""
    script = draw(seed, 0, events=EVENTS, brokers=brokers, events_per_second=PER_SECOND, away_s=3.0)
    variant = replace(script.variant, **changes)  # type: ignore[arg-type]
    load = replace(script.load, hangs=1, poison_share=0.002, late=True, partitions=variant.inputs)
    return replace(
        script, variant=variant, load=load, every_fault=True,
        faults=tuple((5 + n * every_s, fault) for n, fault in enumerate(faults)),
    )  # fmt: skip


def is_right(result: Result) -> None:
    """Nothing lost, doubled or wrong, and every fault of the script was played."""
    assert not result.red, "\n".join([result.error, *result.verdict.examples])
    assert [fault["fault"] for fault in result.faults] == [name for _, name in result.script.faults]
    assert result.verdict.checked > EVENTS / 10


def test_scripts_are_drawn_from_seed_and_number_alone():
    """And over a run everything comes up: each fault, each failpoint, both sizes of cluster, both guarantees."""
    scripts = [draw(5, number, events=400_000) for number in range(40)]
    assert scripts == [draw(5, number, events=400_000) for number in range(40)]
    assert {name for script in scripts for _, name in script.faults} == set(playable())
    stops = ("failpoint", "freeze-point", "raise-point")
    used = [itertools.islice(s.places(), sum(name in stops for _, name in s.faults)) for s in scripts]
    assert {place for places in used for place in places} == set(PLACES)
    dozen = scripts[:12]
    assert "raise-point" in {name for script in dozen for _, name in script.faults}
    hot = [
        script for script in dozen if script.load.hot_key and script.load.hold[1] - script.load.hold[0] == HOLD_CHUNKS
    ]
    assert {(script.variant.repeat, script.variant.late) for script in hot} == set(HOT)
    assert {script.variant.idle for script in hot} == {"hold"}
    assert {script.brokers for script in scripts} == {1, 3}
    assert {script.variant.guarantee for script in scripts} == {"exactly_once", "at_least_once"}


@pytest.mark.rule(1, 2, 4, 5, 7, 9, 10, 12, 16)
@pytest.mark.parametrize("brokers", [1], indirect=True)
def test_worker_faults(brokers, tmp_path):
    """Then the same outputs with one sample taken away: the judge must see it."""
    script = scripted(
        1, 1, "failpoint", "older-disk", "zombie", "cut", "damaged-disk", "raise-point",
        workers=2, partitions=4, guarantee="exactly_once", late="topic", inputs=(4, 2, 1), idle="hold",
    )  # fmt: skip
    script = replace(script, load=replace(script.load, hot_key=True, hold=(20, 45)))
    is_right(play(script, brokers, tmp_path))
    spec = compile_job(load_job(tmp_path / "job.yaml", environ={}), tmp_path).spec
    outputs = outputs_of(brokers.bootstrap, script.name, spec)
    known = truth_of(script.load, script.name)
    assert not judge(spec, known, outputs, exactly_once=True).red
    removed = outputs.samples.pop(len(outputs.samples) // 2)
    assert judge(spec, known, outputs, exactly_once=True).lost == 1
    outputs.samples += [removed, removed]
    assert judge(spec, known, outputs, exactly_once=True).doubled == 1


@pytest.mark.rule(7, 8, 16)
@pytest.mark.parametrize("brokers", [3], indirect=True)
def test_broker_faults(brokers, tmp_path):
    script = scripted(
        2, 3, "broker-kill", "kill", "leader-change", "broker-freeze", workers=2, partitions=4, inputs=(4, 2, 2),
        guarantee="exactly_once",
    )  # fmt: skip
    is_right(play(script, brokers, tmp_path))


@pytest.mark.parametrize("brokers", [1], indirect=True)
def test_without_faults_every_counter_agrees(brokers, tmp_path):
    script = scripted(3, 1, workers=1, guarantee="exactly_once", late="topic")
    script = replace(script, load=replace(script.load, chunks=30))
    result = play(script, brokers, tmp_path)
    assert not result.red, "\n".join([result.error, *result.verdict.examples])
    assert result.verdict.checked > 5000


# ---- the long form ---------------------------------------------------------------------------------------------------

ALONE = [(name, fault.brokers[-1]) for name, fault in FAULTS.items()]


@pytest.mark.skipif(not LONG, reason="SAMPLEJOIN_TEST_LONG=1 only")
@pytest.mark.parametrize(("fault", "brokers"), ALONE, indirect=["brokers"], ids=[name for name, _ in ALONE])
def test_each_fault_alone(brokers, tmp_path, fault):
    script = replace(scripted(4, brokers.count, fault, fault, workers=3, partitions=4), away_s=60.0)
    result = play(script, brokers, tmp_path)
    assert not result.red, "\n".join([result.error, *result.verdict.examples])
    assert result.faults


@pytest.mark.skipif(not LONG, reason="SAMPLEJOIN_TEST_LONG=1 only")
@pytest.mark.parametrize("brokers", [1, 3], indirect=True)
@pytest.mark.parametrize("number", range(2))
def test_drawn_rounds(brokers, tmp_path, number):
    script = draw(int(unique("")[1:], 16), number, events=200_000, brokers=brokers.count)
    result = play(script, brokers, tmp_path)
    assert not result.red, "\n".join([f"seed {script.seed}", result.error, *result.verdict.examples])
