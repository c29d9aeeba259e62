"""What Hypothesis draws: specs, and records of a few keys in source partitions."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import strategies as st

from samplejoin.core.aggregates import LIMITED, PLAIN
from samplejoin.core.keys import encode_key
from samplejoin.core.spec import Field, Spec, Stream
from tests.core.oracle import Row

Records = dict[tuple[str, int], list[tuple[int, list[Row]]]]

#: times begin now, or at the epoch: `before` then reaches below 0
ORIGINS = [1_700_000_000_000, 1_700_000_000_000, 0]
KEYS = [
    encode_key(key)
    for key in (
        [1, 1],
        ["1", 1],
        [True, 1],
        ["a|b", 7],
        ["a", "b|7"],
        [2**53 + 1, 1],
        [2**53, 1],
        ["u\0", 1],
        ["ü", ""],
    )
]
TEN_YEARS_MS = 10 * 365 * 86_400_000
ODD_FLOATS = [0.1, -0.0, 1e308, -1e308, 5e-324, 1e16, float("inf"), float("-inf"), float("nan"), 1.0]

numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**62, -(2**62), 2**63 - 1]),
    st.sampled_from(ODD_FLOATS),
    st.floats(-100, 100),
)
values = st.fixed_dictionaries({}, optional={"x": st.none() | numbers, "s": st.sampled_from(["a", "b", "ü"])})


def sorted_json(values: dict[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True).encode()


def aggregates() -> st.SearchStrategy[Any]:
    plain = st.sampled_from([(name, maker()) for name, maker in sorted(PLAIN.items())])
    limited = st.sampled_from([(name, maker(n)) for name, maker in sorted(LIMITED.items()) for n in (1, 3)])
    return plain | limited


@st.composite
def fields(draw, stream: str) -> list[Field]:
    made = []
    for i, (name, aggregate) in enumerate(draw(st.lists(aggregates(), min_size=1, max_size=4))):
        if name == "count":
            column = draw(st.sampled_from([None, "x", "s"]))
        else:
            column = "x" if name in ("sum", "mean", "any", "all") else draw(st.sampled_from(["x", "x", "s"]))
        made.append(Field(f"{stream}_{i}_{name}", stream, column, aggregate))
    return made


@st.composite
def specs(draw: st.DrawFn, /, **fixed: Any) -> Spec:
    """One or two anchor streams and one or two label streams, each with its lateness; two streams may share a topic,
    or all of them: then one record can be an anchor and a label."""
    shared, together = draw(st.booleans()), draw(st.sampled_from([False, False, True]))
    ids = st.sampled_from([None, None, "id"])
    streams = [Stream("show", "anchor", ("shows",), draw(ids)), Stream("click", "label", ("clicks",), draw(ids))]
    if draw(st.booleans()):
        streams.append(Stream("like", "label", ("clicks" if shared else "likes",), draw(ids)))
    if draw(st.booleans()):
        # without an id: two anchor streams with the same ids would give their samples the same names
        streams.append(Stream("view", "anchor", ("shows" if shared else "views",)))
    if together:
        streams = [replace(stream, topics=("events",)) for stream in streams]
    resolution = fixed.get("resolution_ms") or draw(st.sampled_from([1000, 500, 3000, 1]))
    options = {
        "window_ms": resolution * draw(st.integers(1, 8)) if draw(st.integers(0, 9)) else TEN_YEARS_MS,
        "before_ms": resolution * draw(st.integers(0, 4)),
        "resolution_ms": resolution,
        "repeat": draw(st.sampled_from(["merge", "each"])),
        "attribution": draw(st.sampled_from(["last", "first"])),
        "keep_negatives": draw(st.sampled_from([1.0, 1.0, 0.5])),
        "format": sorted_json,
    }
    return Spec(
        name="job",
        streams=tuple(
            replace(s, lateness_ms=draw(st.sampled_from([0, 700, 2000] if resolution > 1 else [0, 2, 5])))
            for s in streams
        ),
        key_fields=("user", "item"),
        fields=tuple(f for s in streams for f in draw(fields(s.name))),
        **{**options, **fixed},
    )


def lateness_of(spec: Spec, topic: str) -> int:
    """How much the events of a partition of this topic may be out of order: as much as any of its streams allows."""
    return max(s.lateness_ms for s in spec.streams if topic in s.topics)


@st.composite
def records(draw, spec: Spec, *, most: int = 30, apart: bool = True) -> Records:
    """Records by source partition, each within `lateness` of those before it in its partition. Their times go on by
    half slices, or stand; with `apart` a source can be far ahead of the others."""
    sources: Records = {(topic, p): [] for topic in spec.topics() for p in range(draw(st.sampled_from([1, 1, 2])))}
    by_topic = {topic: [s for s in spec.streams if topic in s.topics] for topic in spec.topics()}
    origin, steps = draw(st.sampled_from(ORIGINS)), draw(st.sampled_from([8, 8, 8, 0]))
    far = spec.resolution_ms * draw(st.sampled_from([0, 0, 10_000])) if apart else 0
    highest = {name: origin + (far if name[0] == spec.topics()[0] else 0) for name in sources}
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
    for _ in range(draw(st.integers(1, most))):
        topic, partition = name = draw(st.sampled_from(sorted(sources)))
        highest[name] += spec.resolution_ms * draw(st.integers(0, steps)) // 2
        time = max(0, highest[name] - draw(st.integers(0, lateness_of(spec, topic))))
        rows = []
        for index in range(draw(st.sampled_from([1, 1, 1, 1, 2, 0]))):
            stream = draw(st.sampled_from(by_topic[topic]))
            value = draw(values)
            if stream.id_field:
                value = {**value, "id": draw(st.sampled_from([None, 1, 2, "1", "", 0, float("nan")]))}
            key = draw(st.sampled_from(keys))
            rows.append(Row(stream.name, key, time, (topic, partition, len(sources[name]), index), value))
        sources[name].append((time, rows))
    return sources


def busy_records(spec: Spec, random: Random, *, late: bool = False) -> Records:
    """Many rows of two keys in all sources at once, so that windows close while others are still being filled."""
    sources: Records = {(topic, p): [] for topic in spec.topics() for p in range(random.choice([1, 1, 2]))}
    by_topic = {topic: [s for s in spec.streams if topic in s.topics] for topic in spec.topics()}
    beyond = spec.resolution_ms * (2 * spec.window + spec.before) if late else 0
    origin, keys = random.choice(ORIGINS), random.sample(KEYS, 2)
    for i in range(random.randint(20, 120)):
        topic, partition = name = random.choice(sorted(sources))
        time = origin + i * spec.resolution_ms // random.choice([1, 2])
        lateness_ms = lateness_of(spec, topic)
        time -= random.randint(0, lateness_ms + beyond) if random.random() < 0.3 else 0
        if not late:
            highest = max((t for t, _ in sources[name]), default=time)
            time = max(time, highest - lateness_ms)
        time = max(0, time)
        stream = random.choice(by_topic[topic])
        value = {"x": random.choice([None, 1, 2, 0.1, *ODD_FLOATS]), "s": random.choice("ab")}
        if stream.id_field:
            value["id"] = random.choice([None, "", *range(9)])
        key = random.choice(keys)
        sources[name].append((time, [Row(stream.name, key, time, (topic, partition, len(sources[name]), 0), value)]))
    return sources


def rows_of(sources: Records) -> list[Row]:
    return [row for log in sources.values() for _, rows in log for row in rows]


randoms = st.integers(0, 2**32 - 1).map(Random)


@st.composite
def cases(draw: st.DrawFn, /, *, late: bool = False, apart: bool = True, **fixed: Any) -> tuple[Spec, Records]:
    """A job and its records; `late`: some come after their windows have closed, `apart`: see `records`."""
    spec = draw(specs(**fixed))
    if late or draw(st.booleans()):
        return spec, busy_records(spec, draw(randoms), late=late)
    return spec, draw(records(spec, apart=apart))


def with_options(spec: Spec, **options: Any) -> Spec:
    return replace(spec, **options)
