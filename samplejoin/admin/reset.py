"""Resets a job within its generation: deletes its offsets, internal topics and local state; outputs stay.

The state in Kafka is deleted last, but it is invalid after the first step: a worker that finds it without offsets, or
without the repartition log, refuses to start. An interrupted reset is therefore detected, and can be repeated.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from samplejoin.cleaning.time_hints import iso
from samplejoin.engine.clients import admin, running
from samplejoin.engine.cluster import delete_group, delete_topics, refuse_members
from samplejoin.engine.config import EngineConfig, Start, WorkerError
from samplejoin.engine.offsets import commit_offsets, start_offsets
from samplejoin.engine.state_dir import StateDir, StateDirInUse
from samplejoin.engine.topics import existing

To = Start | Literal["committed"]
"""Where the new run starts. `committed`: at the offsets up to which the old run has read."""
LOCK = "lock"
"""The file in a state directory next to the join partitions' folders."""


@dataclass(frozen=True)
class ResetPlan:
    """What a reset deletes, and where the next run starts."""

    job: str
    group: str
    topics: list[str]
    state_dir: str | None
    start: str


async def plan_reset(config: EngineConfig, to: To | None) -> ResetPlan:
    """Plans and changes nothing. Raises WorkerError while workers run, or if the state directory holds other files."""
    async with running(admin(config)) as client:
        await client.need_controller()
    await refuse_members(config, "before a reset")
    known = await existing(config)
    path = config.state_dir / config.topics.prefix
    if path.exists():
        _refuse_other_folder(path)
    if (path / LOCK).exists():
        refuse_running_worker(path)
    return ResetPlan(
        config.spec.name,
        config.group,
        [name for name in (*config.topics.internal, config.topics.skips) if name in known],
        str(path) if path.exists() else None,
        _start_text(config, to),
    )


async def reset_job(config: EngineConfig, plan: ResetPlan, to: To | None) -> None:
    """Carries out the plan. Can be repeated after an interruption. Raises WorkerError if Kafka refuses."""
    offsets = {} if to is None or to == "committed" else await _offsets(config, to)
    if to == "committed":
        await _forget_positions(config)
    else:
        await delete_group(config)
    log = config.topics.repartition
    await delete_topics(config, [log] if log in plan.topics else [])
    if offsets:  # otherwise the first worker looks up the job's `start`
        await commit_offsets(config, offsets)
    await delete_topics(config, [name for name in plan.topics if name != log])
    if plan.state_dir is not None:
        shutil.rmtree(plan.state_dir)


async def _offsets(config: EngineConfig, start: Start) -> dict[TopicPartition, OffsetAndMetadata]:
    known = await existing(config)
    tps = {TopicPartition(topic, p) for topic in config.spec.topics() for p in range(known.get(topic, 0))}
    return {tp: OffsetAndMetadata(offset, "") for tp, offset in (await start_offsets(config, tps, start)).items()}


async def _forget_positions(config: EngineConfig) -> None:
    """Sets the group's offsets of the repartition log to 0, where the new log begins."""
    log = config.topics.repartition
    count = (await existing(config)).get(log, 0)
    if count:
        await commit_offsets(config, {TopicPartition(log, p): OffsetAndMetadata(0, "") for p in range(count)})


def refuse_running_worker(path: Path) -> None:
    """Raises WorkerError if a worker uses the state directory. The group may not list it: it can lose its membership,
    and some brokers know no groups."""
    lock = StateDir(path)
    try:
        lock.lock()
    except StateDirInUse as error:
        raise WorkerError(
            f"a worker of the job runs on this machine, with the state directory {path.absolute()}: stop all workers "
            "of the job before a reset"
        ) from error
    lock.unlock()


def _refuse_other_folder(path: Path) -> None:
    """Raises WorkerError if the folder holds anything that no worker put there, because a reset deletes all of it."""
    others = sorted(
        each.name for each in path.iterdir() if each.name != LOCK and not (each.name.isdigit() and each.is_dir())
    )
    if others:
        more = ", …" if len(others) > 3 else ""
        raise WorkerError(
            f"{path.absolute()} is not a state directory of samplejoin: it holds {', '.join(others[:3])}{more}; "
            "nothing was done. Set state_dir to where the workers keep their state, or to a folder that does not exist"
        )


def _start_text(config: EngineConfig, to: To | None) -> str:
    if to == "committed":
        return "where the group has read to; windows that are open now never become samples"
    start = config.start if to is None else to
    if start == "earliest":
        text = "the earliest records of the inputs"
    elif start == "latest":
        text = "the ends of the inputs; unread records before them are never joined"
    else:
        text = f"the first records whose Kafka timestamp is {iso(int(start))} or later"
    return text if to is not None else f"{text} (the job's `start`)"
