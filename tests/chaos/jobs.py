"""Variants of the job that rounds run, drawn from a seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplejoin.job.model import JobModel
from tests.chaos.load import STREAMS, VALUE_FIELDS

FUNCTIONS = """
import select

hung = 0


def clean(record):
    global hung
    do = record.get("do")
    if not do:
        return record
    if do == "drop":
        return None
    if do == "raises":
        raise RuntimeError("poison")
    if do == "garbage":
        return 42
    if do == "hang" and hung < 2:  # what hangs every time for longer than the group waits can never be passed
        hung += 1
        select.select([], [], [], HANG_S)  # not time.sleep, which fails where libfaketime sets the clock
    return record
"""
HAS_STANDBYS = "standby_replicas" in JobModel.model_fields


@dataclass(frozen=True)
class Variant:
    """The job of a round, and the workers that run it."""

    repeat: str
    attribution: str
    late: str
    combine: bool
    keep_negatives: float
    ids: bool
    window_s: int
    before_s: int
    lateness_s: int
    idle: str
    inputs: tuple[int, int, int]
    partitions: int
    guarantee: str
    standbys: int
    workers: int
    static: bool
    hang_s: float

    @property
    def exactly_once(self) -> bool:
        """Whether every sample must be there once."""
        return self.guarantee == "exactly_once"


def draw(r: random.Random, brokers: int) -> Variant:
    """A variant. Where brokers go away producers do too, which an idle stream may not take for silence."""
    repeat = r.choice(("merge", "each"))
    return Variant(
        repeat=repeat,
        attribution=r.choice(("last", "first")) if repeat == "each" else "last",
        late=r.choice(("count", "topic", "correct")),
        combine=r.random() < 0.8,
        keep_negatives=r.choice((1.0, 1.0, 0.5)),
        ids=r.random() < 0.5,
        window_s=r.choice((10, 20, 30)),
        before_s=r.choice((0, 2, 5)),
        lateness_s=r.choice((5, 8)),
        idle="advance" if brokers == 1 and r.random() < 0.5 else "hold",
        inputs=(r.choice((1, 3, 4, 6)), r.choice((1, 2, 4)), r.choice((1, 2, 3))),
        partitions=r.choice((1, 2, 4, 4, 8)),
        guarantee="at_least_once" if r.random() < 0.15 else "exactly_once",
        standbys=r.choice((0, 1)) if HAS_STANDBYS else 0,
        workers=r.choice((1, 2, 2, 3, 4)) if brokers == 1 else r.choice((1, 2, 3)),
        static=r.random() < 0.4,
        hang_s=r.choice((1.5, 4.5)),
    )


def job_of(variant: Variant, name: str, bootstrap: str, replication: int) -> dict[str, Any]:
    """The job file's content."""
    stream: dict[str, Any] = {"clean": "functions:clean", "time": "ts", "idle": variant.idle}
    if variant.ids:
        stream["id"] = "eid"
    roles = ("anchor", "label", "label")
    outputs = {"orphan": f"{name}-orphan"}
    if variant.late != "count":
        outputs["late"] = f"{name}-late"
    job: dict[str, Any] = {
        "name": name,
        "brokers": bootstrap.split(","),
        "streams": {
            s: {"role": role, "topic": f"{name}-{s}", **stream} for s, role in zip(STREAMS, roles, strict=True)
        },
        "key": ["uid", "mid"],
        "window": f"{variant.window_s}s",
        "before": f"{variant.before_s}s",
        "lateness": f"{variant.lateness_s}s",
        "idle_after": "15s",
        "align": "2m",
        "repeat": variant.repeat,
        "attribution": variant.attribution,
        "late": variant.late,
        "combine": variant.combine,
        "keep_negatives": variant.keep_negatives,
        "guarantee": variant.guarantee,
        "partitions": variant.partitions,
        "replication_factor": replication,
        "commit_interval": "200ms",
        "label": "clicks > 0",
        "outputs": outputs,
        "sample": {
            VALUE_FIELDS[0]: "impression.pos",
            "shown": {"from": "impression", "agg": "count"},
            # the order in which the worker writes a stream's fields: first, last, then aggregates
            "last_dwell": {"from": "click.dwell", "agg": "last"},
            "clicks": {"from": "click", "agg": "count"},
            "dwell": {"from": "click.dwell", "agg": "sum"},
            "likes": {"from": "like", "agg": "count"},
            "scores": {"from": "like.score", "agg": "list(5)"},
        },
    }
    if variant.late == "correct":
        job["correction"] = "2m"
    if HAS_STANDBYS:
        job["standby_replicas"] = variant.standbys
    return job


def write(variant: Variant, name: str, bootstrap: str, replication: int, root: Path) -> Path:
    """Writes job file and functions into `root`; the job file's path."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "functions.py").write_text(f"HANG_S = {variant.hang_s}\n{FUNCTIONS}")
    path = root / "job.yaml"
    path.write_text(json.dumps(job_of(variant, name, bootstrap, replication), indent=1))  # JSON is YAML
    return path
