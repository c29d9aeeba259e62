"""What a round does, drawn from seed and number alone: job, load, brokers, faults and when they come."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from samplejoin.engine.failpoints import PLACES
from tests.chaos import jobs
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.jobs import Variant
from tests.chaos.load import Load
from tests.chaos.stage import FAKETIME

VISITS = 600
EVENTS_PER_VISIT = 1.72
KIND_ROUNDS = 4
HOT_ROUNDS = 3
HOT = (("each", "correct"), ("merge", "correct"), ("each", "topic"), ("merge", "count"))
"""`repeat` and `late` of the rounds with a hot key and a held clock: a dozen rounds have them all."""
HOLD_CHUNKS = 90
"""Less than the jobs' `align`, by which workers would stop reading what waits for the stream that is held."""
FIRST_FAULT_S = 5.0


@dataclass(frozen=True)
class Script:
    """A round. `faults` are (seconds after the load starts, name); one comes when the one before it is over.

    Those that are left when the load has been produced are left out, unless `every_fault` is wanted.
    """

    seed: int
    number: int
    brokers: int
    variant: Variant
    load: Load
    events_per_second: int
    faults: tuple[tuple[float, str], ...]
    away_s: float
    every_fault: bool = False

    @property
    def name(self) -> str:
        """Of the job, and so of all topics."""
        return f"chaos-{self.seed}-{self.number}"

    @property
    def special(self) -> frozenset[str]:
        """What workers need for the faults to come."""
        return frozenset(FAULTS[fault].needs for _, fault in self.faults) - {""}

    def random(self, what: object) -> random.Random:
        """A source of chance of its own for each part, so that one that is cut short leaves the others as they are."""
        return random.Random(f"{self.seed}/{self.number}/{what}")

    def places(self) -> list[str]:
        """The failpoints of this round in their order; over a dozen rounds all come up, first ones too."""
        places = sorted(PLACES)
        random.Random(self.seed).shuffle(places)
        start = self.number * 3 % len(places)
        return places[start:] + places[:start]

    def as_dict(self) -> dict[str, Any]:
        """For a report and for the folder of a round that failed."""
        return asdict(self)


def draw(
    seed: int,
    number: int,
    *,
    events: int,
    faults: Sequence[str] = (),
    brokers: int | None = None,
    events_per_second: int = 18_000,
    away_s: float = 12.0,
) -> Script:
    """Round `number` of the run `seed`. `faults`: only these; `brokers`: 1 or 3 whatever the number."""
    r = random.Random(f"{seed}/{number}")
    count = brokers or (3 if number // KIND_ROUNDS % 3 == 2 else 1)
    variant, chunks = jobs.draw(r, count), max(20, round(events / VISITS / EVENTS_PER_VISIT))
    if hot := number % HOT_ROUNDS == 1:
        variant = _hot(variant, *HOT[number // HOT_ROUNDS % len(HOT)])
    load = Load(
        seed=f"{seed}/{number}/load",
        chunks=chunks,
        visits=VISITS,
        partitions=variant.inputs,
        window_ms=variant.window_s * 1000,
        before_ms=variant.before_s * 1000,
        lateness_ms=variant.lateness_s * 1000,
        ids=variant.ids,
        late=r.random() < 0.7,
        hot_share=r.choice((0.0, 0.02, 0.04)),
        poison_share=r.choice((0.0, 0.0005, 0.003)),
        hangs=r.choice((0, 0, 1, 2)),
        idle=r.random() < 0.4,
        hot_key=hot,
        hot_late=3 if hot and variant.late == "correct" else 0,
        hold=(chunks // 3, chunks // 3 + min(HOLD_CHUNKS, chunks // 3)) if hot else (0, 0),
    )
    script = _faults(r, faults, count, events / events_per_second)
    return Script(seed, number, count, variant, load, events_per_second, script, away_s)


def _hot(variant: Variant, repeat: str, late: str) -> Variant:
    """The clock stands for as long as the stream is held, whatever its silence."""
    return replace(
        variant, repeat=repeat, late=late, idle="hold", attribution=variant.attribution if repeat == "each" else "last"
    )  # fmt: skip


def playable() -> dict[str, Fault]:
    """The faults that this machine can play: a clock jumps only where libfaketime is."""
    return {name: fault for name, fault in FAULTS.items() if fault.needs != "faketime" or FAKETIME.exists()}


def _faults(r: random.Random, only: Sequence[str], brokers: int, load_s: float) -> tuple[tuple[float, str], ...]:
    """Faults for about as long as the load lasts."""
    usable = {
        name: fault.weight
        for name, fault in playable().items()
        if brokers in fault.brokers and (not only or name in only)
    }
    found: list[tuple[float, str]] = []
    at = FIRST_FAULT_S
    while usable and at < FIRST_FAULT_S + load_s:
        found.append((round(at, 2), r.choices(list(usable), list(usable.values()))[0]))
        at += r.uniform(0.5, 4.0)
    return tuple(found)
