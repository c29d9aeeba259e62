"""What a worker looks at before it starts: the last commit of every changelog partition, wherever it stands."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from samplejoin.core.partition import Partition
from samplejoin.engine.changelog import PART_BYTES, Commit, parts_of
from samplejoin.engine.clients import admin, running
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.offsets import TAIL_RECORDS, last_commits, refuse_other_state
from samplejoin.engine.topics import INTERNAL
from samplejoin.engine.transaction import Outbox, Transactions
from samplejoin.engine.wire import pack_state
from samplejoin.job.compile import compile_job
from samplejoin.job.load import model_of
from samplejoin.worker.engine_config import engine_config
from samplejoin.worker.settings import WorkerSettings
from tests.job.helpers import job_data
from tests.support.kafka import create_topics, unique

pytestmark = pytest.mark.kafka

LARGE, ABORTED, TRIMMED, EMPTY = range(4)


@pytest.fixture
def config(kafka, tmp_path) -> EngineConfig:
    job = compile_job(model_of(job_data(name=unique("start")), environ={}), tmp_path)
    made = engine_config(job, WorkerSettings(), {"bootstrap_servers": kafka.bootstrap})
    create_topics(kafka.bootstrap, {made.topics.changelog: made.partitions}, INTERNAL)
    return made


def commit(config: EngineConfig, position: int, puts: int = 0) -> list[bytes]:
    """A commit's records: one, and one more for each of `puts`."""
    states = [(b"%d" % n, os.urandom(PART_BYTES + 1)) for n in range(puts)]
    return list(
        parts_of(Commit(0, position, states, [], pack_state(Partition(config.spec).dump()), config.fingerprint))
    )


async def write(config: EngineConfig) -> None:
    for partition in (LARGE, ABORTED, TRIMMED):
        transactions = Transactions(config, partition)
        await transactions.start()
        await transactions.commit(Outbox(transactions.kafka), commit(config, 1))
        if partition == LARGE:
            parts = commit(config, 2, TAIL_RECORDS + 2)
            assert len(parts) > TAIL_RECORDS
            await transactions.commit(Outbox(transactions.kafka), parts)
        if partition == ABORTED:
            for _ in range(TAIL_RECORDS * 2):
                await transactions.kafka.begin_transaction()
                (value,) = commit(config, 9)
                await transactions.kafka.send_and_wait(config.topics.changelog, value, partition=partition)
                await transactions.kafka.abort_transaction()
        await transactions.close()
    async with running(admin(config)) as client:
        tp = TopicPartition(config.topics.changelog, TRIMMED)
        await client.delete_records({tp: RecordsToDelete(before_offset=1)})  # only a marker is left


@pytest.mark.rule(7, 16)
def test_the_last_commit_is_found_wherever_it_stands(config):
    """Of more records than are looked at first; before aborted ones; none where it was trimmed, or never was."""

    async def found() -> dict[int, int]:
        await write(config)
        await refuse_other_state(config)
        return {partition: last.position for partition, last in (await last_commits(config)).items()}

    assert asyncio.run(found()) == {LARGE: 2, ABORTED: 1}


def test_state_of_the_former_form_is_told_apart(config):
    """A fingerprint that is a hash alone: of the same job it passes, of another it says so as well as it can."""

    async def write_old() -> None:
        transactions = Transactions(config, 0)
        await transactions.start()
        same = replace(config, fingerprint=config.fingerprint.partition(" ")[0])
        await transactions.commit(Outbox(transactions.kafka), commit(same, 1))
        await transactions.close()

    asyncio.run(write_old())
    asyncio.run(refuse_other_state(config))
    other = replace(config, fingerprint="0" * 16 + " window=0000")
    with pytest.raises(WorkerError, match="its streams, key, window, fields, label or partitions were edited since"):
        asyncio.run(refuse_other_state(other))
