"""A commit stands where the state it follows from was recovered to, on a real Kafka."""

from __future__ import annotations

import asyncio

import pytest

from samplejoin.core.partition import Partition
from samplejoin.engine.changelog import ChangelogReader, Commit, parts_of
from samplejoin.engine.clients import producer
from samplejoin.engine.config import EngineConfig
from samplejoin.engine.topics import INTERNAL
from samplejoin.engine.transaction import ChangelogMadeAgain, CommitFailed, Outbox, Transactions
from samplejoin.engine.wire import pack_state
from samplejoin.job.compile import compile_job
from samplejoin.job.load import model_of
from samplejoin.worker.engine_config import engine_config
from samplejoin.worker.settings import WorkerSettings
from tests.job.helpers import job_data
from tests.support.kafka import create_topics, unique


@pytest.fixture
def config(kafka, tmp_path) -> EngineConfig:
    job = compile_job(model_of(job_data(name=unique("commit")), environ={}), tmp_path)
    made = engine_config(job, WorkerSettings(), {"bootstrap_servers": kafka.bootstrap})
    create_topics(kafka.bootstrap, {made.topics.changelog: 1}, INTERNAL)
    return made


async def committed(config: EngineConfig, start: int, position: int, known: int) -> tuple[int, int]:
    """A commit of an owner who has just fenced the one before."""
    state = pack_state(Partition(config.spec).dump())
    transactions = Transactions(config, 0)
    await transactions.start()
    try:
        parts = list(parts_of(Commit(start, position, [], [], state, config.fingerprint)))
        return await transactions.commit(Outbox(transactions.kafka), parts, known)
    finally:
        await transactions.close()


async def positions(config: EngineConfig) -> list[int]:
    async with ChangelogReader(config, 0) as changelog:
        return [commit.position async for commit in changelog.read(changelog.begin)]


@pytest.mark.rule(16)
def test_a_commit_over_one_that_was_not_recovered_is_refused(config):
    """A broker that led the changelog before can have told a recovery an end that was too low."""

    async def play() -> None:
        _, end = await committed(config, 0, 10, known=0)
        await committed(config, 10, 20, known=end)
        with pytest.raises(CommitFailed, match=r"without the commits at changelog offsets \[2, 4\)"):
            await committed(config, 10, 25, known=end + 1)
        assert await positions(config) == [10, 20], "what was refused was aborted"
        async with ChangelogReader(config, 0) as changelog:
            recovered = changelog.end
        await committed(config, 20, 30, known=recovered)
        assert await positions(config) == [10, 20, 30]

    asyncio.run(play())


@pytest.mark.rule(16)
def test_records_of_others_in_between_are_passed_over(config):
    async def play() -> None:
        _, end = await committed(config, 0, 10, known=0)
        stranger = producer(config)
        await stranger.start()
        for _ in range(3):
            await stranger.send_and_wait(config.topics.changelog, b"not of this job", partition=0)
        await stranger.stop()
        await committed(config, 10, 20, known=end)
        assert await positions(config) == [10, 20]

    asyncio.run(play())


@pytest.mark.rule(16)
def test_a_changelog_that_was_made_again_is_told_by_its_end(config):
    async def play() -> None:
        with pytest.raises(ChangelogMadeAgain, match="its end has gone back from 7 to 0"):
            await committed(config, 0, 10, known=7)
        assert await positions(config) == []

    asyncio.run(play())
