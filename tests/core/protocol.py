"""The covering rule as a randomised model around the real core: `SourceWriter`, `combine`, `Partition`.

Sources get rows, owners read them, die, pause and double; sends are late, fail, or are half acknowledged; commits lag
and get lost; join partitions crash. After the chaos comes a calm, and then every row must have been merged once, none
while the clock was past it, and no clock may stand still. Times are tenths of a second; everything hangs on the seed.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from samplejoin.core.identity import source_id
from samplejoin.core.messages import Source
from tests.core.protocol_actors import (
    IDLE_AFTER,
    KEYS,
    LATENESS,
    LONG_AGO,
    START,
    TOPICS,
    Event,
    Failure,
    Join,
    Options,
    Owner,
    spec_of,
)


@dataclass
class Sim:
    """One run of the model; raises `Failure` on the first row lost, doubled or wrongly late, and on a stuck clock."""

    seed: int
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        r = self.random = random.Random(self.seed)
        options = self.options
        # fine slices judge lateness sharply, coarse ones give cells of many rows
        self.resolution = r.choice([1, 20])
        self.spec, self.now, self.chaos = spec_of(options, self.resolution), START, True
        self.max_in_flight, self.combined = r.choice([3, 6, 12]), r.random() < 0.8
        self.failing = r.choice([0, 0.002, 0.01])
        self.slow_time = r.random() < 0.3
        #: rows as late as they may be or not at all, slow fetches, many doubles
        self.sharp = r.random() < 0.5
        self.counts = {"shows": r.choice([1, 2]), "clicks": r.choice([1, 1, 2])}
        if options.doubles:
            self.sharp, self.slow_time, self.counts = True, False, {"shows": 2, "clicks": 1}
        self.sources = [source_id(t, p) for t in TOPICS for p in range(self.counts[t])]
        #: events by offset; None where there is none (compacted away)
        self.logs: dict[Source, list[Any]] = {s: [] for s in self.sources}
        self.rate = {s: r.choice([0, 0, 0.3, 0.8]) for s in self.sources}
        self.written: dict[str, list[int]] = {t: [] for t in TOPICS}
        self.born = dict.fromkeys(self.sources, START)
        self.committed: dict[Source, tuple[int, int | None]] = {}
        self.lost: set[Source] = set()
        self.skipped: set[tuple[Source, int]] = set()
        self.generations: Counter[Source] = Counter()
        self.owners: dict[Source, Owner] = {}
        self.everyone: list[Owner] = []
        self.commits: list[tuple[Owner, int, int | None]] = []
        self.joins = [Join(self) for _ in range(r.choice([1, 2, 2, 3]))]
        if r.random() < 0.5:
            self.committed = dict.fromkeys(self.sources, (-1, None))

    def end(self, source: Source) -> int:
        return len(self.logs[source]) - 1

    # ---- what happens outside -----------------------------------------------------------------------------------

    def write(self, source: Source) -> None:
        r, log = self.random, self.logs[source]
        if self.options.gaps and r.random() < 0.05:  # compacted away, or the marks of transactions
            log += [None] * r.choice([1, 5, 40])
        wall = START + (self.now - START) // 3 if self.slow_time else self.now
        p = r.randrange(len(self.joins))
        key = r.choice(KEYS[len(self.joins)][p])
        delay = r.choice([0, LATENESS]) if self.sharp else r.randint(0, LATENESS)
        log.append(Event(wall - delay, p, key, self.now))
        self.written[source.partition(" ")[0]].append(self.now)

    def grow(self) -> None:
        topic = self.random.choice(TOPICS)
        source = source_id(topic, self.counts[topic])
        self.counts[topic] += 1
        self.sources.append(source)
        self.logs[source], self.rate[source], self.born[source] = [], 0.0, self.now

    def may_be_late(self, join: Join, source: Source, offset: int) -> bool:
        """`idle: advance` takes a long silence for the end; a row written just after it may come too late."""
        event, topic = self.logs[source][offset], source.partition(" ")[0]
        if self.born[source] > START and event.written < self.settled_at(source):
            return True  # a new partition, before the join heard of it
        if self.options.max_wait is not None and event.time < join.clock_without.get(source, LONG_AGO):
            return True
        if self.options.idle == "hold":
            return False
        writes = self.written[topic]
        if writes[0] - START >= IDLE_AFTER and event.time < join.clock_without.get(source, LONG_AGO):
            return True
        times = [START, *(w for w in writes if w <= event.written)]
        nothing = not any(w < event.written for w in writes)
        return (self.slow_time or nothing) and any(b - a >= IDLE_AFTER for a, b in itertools.pairwise(times))

    def settled_at(self, source: Source) -> int:
        """When every join partition had heard of a new source partition."""
        return self.now if any(source not in j.partition.clock.sources for j in self.joins) else self.heard[source]

    # ---- workers ------------------------------------------------------------------------------------------------

    def assign(self, source: Source) -> None:
        r = self.random
        if not (self.options.static_members and self.generations[source] and r.random() < self.options.static_members):
            self.generations[source] += 1
        if self.chaos and self.options.lost_commits and source in self.committed and r.random() < 0.15:
            acked = self.committed[source][0]
            self.committed[source] = (max(-1, acked - r.randint(1, 10)), None)
            self.lost.add(source)
        if self.chaos and self.options.moved_offsets and r.random() < 0.1:
            start = self.committed.get(source, (-1, None))[0]
            moved = r.randint(start, max(start, self.end(source)))
            self.skipped |= {(source, o) for o in range(start + 1, moved + 1)}
            self.committed[source] = (moved, None)
        owner = self.owners[source] = Owner(self, source, self.generations[source])
        self.everyone.append(owner)
        if not self.chaos:
            owner.speed, owner.fetching = 0.9, 0.7

    def commit(self) -> None:
        """Commits arrive late, in order per owner; some are lost, of some only the answer is."""
        r = self.random
        for item in list(self.commits):
            owner, acked, row_time = item
            earlier = self.commits[: self.commits.index(item)]
            if r.random() >= 0.3 or any(other[0] is owner for other in earlier):
                continue
            self.commits.remove(item)
            if self.chaos and r.random() < 0.2:
                continue
            if self.owners.get(owner.source) is owner:
                if acked >= self.committed.get(owner.source, (-1, None))[0]:
                    self.committed[owner.source] = (acked, row_time)
                if owner.state == "alive" and r.random() < 0.8:
                    owner.writer.confirm(acked)
            elif owner.state == "alive" and r.random() < 0.3:
                owner.die()

    def work(self) -> None:
        r = self.random
        for owner in list(self.everyone):
            chance = owner.speed if owner.state != "dead" else 0.1
            for p in range(len(self.joins)):
                if r.random() < chance and (owner.state != "paused" or r.random() < 0.1):
                    owner.deliver(p)
            if owner.state == "dead" and owner.idle():
                self.everyone.remove(owner)
            if owner.state != "alive":
                continue
            if r.random() < 0.7:
                for p in range(len(self.joins)):
                    owner.hear(p)
            if owner.dies_at is not None and self.now >= owner.dies_at:
                owner.die()
                continue
            owner.fetch_step()
            if self.now >= owner.next_tick:
                owner.tick()
            if r.random() < 0.15:
                self.commits.append((owner, owner.writer.acked, owner.writer.row_time))
        self.commit()

    def shake(self, source: Source) -> None:
        """What befalls an owner."""
        r, owner = self.random, self.owners.get(source)
        if owner is None or owner.state == "dead":
            if r.random() < 0.1:
                self.assign(source)
        elif owner.state == "paused":
            if r.random() < 0.06:
                self.assign(source)
        elif r.random() < self.shaking(source):
            kind = r.choice(["pause", "unaware"] if self.options.doubles else ["clean", "kill", "pause", "unaware"])
            if kind == "clean":
                if owner.writer.acked >= self.committed.get(source, (-1, None))[0]:
                    self.committed[source] = (owner.writer.acked, owner.writer.row_time)
                owner.die()
            elif kind == "kill":
                owner.die()
            elif kind == "pause":
                owner.state = "paused"
            if kind == "unaware" or r.random() < 0.3:
                self.assign(source)

    def shaking(self, source: Source) -> float:
        if self.options.doubles:
            return 0.06 if source == self.sources[1] else 0.0
        return 0.02 if self.sharp else 0.008

    def run(self) -> None:
        try:
            self.storm()
            self.calm()
            self.judge()
        finally:
            for failing in filter(None, (join.failing for join in self.joins)):
                failing.close()

    def storm(self) -> None:
        r = self.random
        self.heard: dict[Source, int] = {}
        for step in range(self.options.steps):
            self.step()
            if self.options.growth and step in (150, 300):
                self.grow()
            for source in self.sources:
                if self.options.doubles:
                    self.rate[source] = 0.1 if source == self.sources[1] else 0.9
                elif r.random() < 0.02:
                    self.rate[source] = r.choice([0, 0, 0, 0.1, 0.5, 0.9])
                if r.random() < self.rate[source]:
                    self.write(source)
                self.shake(source)
            for owner in self.everyone:
                if owner.state == "paused" and r.random() < 0.03:
                    owner.state = "alive"
                if r.random() < 0.01:
                    owner.speed = r.choice([0.9, 0.5, 0.1, 0.02])
            self.work()

    def step(self) -> None:
        self.now += self.random.randint(0, 3)
        for source in self.sources:
            if source not in self.heard and all(source in j.partition.clock.sources for j in self.joins):
                self.heard[source] = self.now

    def calm(self) -> None:
        self.chaos = False
        for owner in self.everyone:
            owner.fetching = 0.7
            owner.speed = 0.9 if self.owners.get(owner.source) is owner else 0.5
            owner.state = "alive" if owner.state == "paused" else owner.state
        for source in self.sources:
            if not self.logs[source] and self.random.random() < 0.5:
                self.write(source)
        left = 350
        for _ in range(9000):
            if all(self.done(source) for source in self.sources):
                left -= 1
            if left < 0 and (left < -1500 or not any(map(self.stands_behind, self.joins))):
                return  # a silence is not made up for faster than it lasts, so some clocks need longer
            self.step()
            for source in self.sources:
                if source not in self.owners or self.owners[source].state == "dead":
                    self.assign(source)
            self.work()
        raise Failure("stuck: an owner never came to the end of its source")

    def done(self, source: Source) -> bool:
        return source in self.owners and self.owners[source].writer.acked == self.end(source)

    # ---- judgement ----------------------------------------------------------------------------------------------

    @property
    def refused(self) -> bool:
        return any("refused" in name for j in self.joins for name, _ in j.out.counts)

    def judge(self) -> None:
        for source, log in self.logs.items():
            for offset, event in enumerate(log):
                if event is None:
                    continue
                n = self.joins[event.partition].merged[source, offset]
                if n > 1 or (n == 0 and (source, offset) not in self.skipped):
                    raise Failure(f"{'lost' if n == 0 else 'doubled'}: {source} {offset}, {n} times")
        for join in self.joins:
            behind = self.stands_behind(join)
            if behind:
                raise Failure(f"stuck: {behind}")
            if join.failing is not None:
                join.end()
                if wrong := join.failing.check(join.out):
                    raise Failure(f"committed: {wrong}")

    def stands_behind(self, join: Join) -> str:
        """How far a clock has to go, if it has not passed all that was written."""
        newest = {t: [e.time for s in self.sources if s.startswith(t) for e in self.logs[s] if e] for t in TOPICS}
        rows = [time for times in newest.values() for time in times]
        clock = join.partition.clock.value // 100
        if self.options.idle == "advance":
            return f"clock at {clock}, rows up to {max(rows)}" if rows and clock <= max(rows) else ""
        wanted = min((max(times, default=LONG_AGO) for times in newest.values()), default=0) - 2 * LATENESS
        return f"clock at {clock}, wanted {wanted}" if clock < wanted else ""


def first_failure(seeds: range, options: Options) -> tuple[int, str] | None:
    """The first seed that turns red, and why."""
    for seed in seeds:
        try:
            Sim(seed, options).run()
        except Failure as failure:
            return seed, str(failure)
    return None
