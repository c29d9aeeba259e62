"""Commits of a join partition: samples, side outputs and the state change, in one Kafka transaction (rule 16).

Without transactions (`guarantee: at_least_once`) the samples are acknowledged first, then the state change is sent: a
crash in between repeats samples, with the same ids and bytes.
"""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata

from samplejoin.engine.access_rights import DENIALS, Denied
from samplejoin.engine.aiokafka_private import transaction_error
from samplejoin.engine.changelog import ChangelogReader
from samplejoin.engine.clients import close_producer, producer, was_cancelled
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.failpoints import reached
from samplejoin.engine.record_size import TOO_LARGE, TooLarge

#: longer than the transaction timeout, after which Kafka has aborted it
COMMIT_TIMEOUT_S = 60.0
FENCE_TIMEOUT_S = 45.0


class CommitFailed(Exception):
    """A commit failed, or its outcome is unknown: the partition's state must be dropped and recovered."""


class ChangelogMadeAgain(WorkerError):
    """The changelog was deleted and created again: it is not the one that the state was committed to."""


class Outbox:
    """Records for the next commit of one join partition, built into batches as they come.

    Their timestamp is the one that `refresh_timestamp` took last: a clock call for each would cost a tenth more.
    """

    def __init__(self, kafka: AIOKafkaProducer) -> None:
        self.kafka = kafka
        self.batches: dict[tuple[str, int], list[BatchBuilder]] = {}
        self.records = 0
        #: how many batches are full, of `BATCH_BYTES` each
        self.full = 0
        self.refresh_timestamp()

    def refresh_timestamp(self) -> None:
        """Takes the time that records added from now on are stamped with."""
        self._now_ms = int(time.time() * 1000)

    def add(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: list[tuple[str, bytes]]
    ) -> None:
        """Appends one record."""
        batches = self.batches.setdefault((topic, partition), [])
        self.records += 1
        if batches and batches[-1].append(timestamp=self._now_ms, key=key, value=value, headers=headers) is not None:
            return
        self.full += 1 if batches else 0
        batch = self.kafka.create_batch()
        batch.append(timestamp=self._now_ms, key=key, value=value, headers=headers)
        batches.append(batch)


class Transactions:
    """The producer of one join partition. Starting it fences every earlier owner, if it is transactional."""

    def __init__(self, config: EngineConfig, partition: int) -> None:
        self.config, self.partition = config, partition
        transactional_id = config.transactional_id(partition) if config.exactly_once else None
        self.kafka = producer(config, transactional_id, config.compression)
        #: the sends of the current commit, with their topics
        self._sent: list[tuple[str, asyncio.Future[RecordMetadata]]] = []

    async def start(self) -> None:
        """Starts the producer (InitProducerId); the client retries while an earlier transaction is still ending.

        Raises CommitFailed if that takes longer than any transaction may last; it can be tried again.
        """
        try:
            async with asyncio.timeout(FENCE_TIMEOUT_S):
                await self.kafka.start()
        except TimeoutError:
            raise CommitFailed(
                f"join partition {self.partition}: Kafka has not ended its last owner's transaction in "
                f"{FENCE_TIMEOUT_S:.0f} s (transactional id {self.config.transactional_id(self.partition)}; "
                "kafka-transactions.sh shows it)"
            ) from None

    async def close(self) -> None:
        """Stops the producer, at once if the brokers do not answer."""
        await close_producer(self.kafka, 0.5)

    async def commit(self, outbox: Outbox, changelog: list[bytes], known: int | None = None) -> tuple[int, int]:
        """Sends all records, then commits; returns the commit's first changelog offset and the offset after its last.

        `known` is the changelog offset after the last commit in the state that is committed now; None skips the check.

        Raises CommitFailed. If trying again cannot help, raises Denied, TooLarge or ChangelogMadeAgain.
        """
        try:
            # bounded, because a producer that is closed meanwhile may never answer those who wait for it
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                return await self._commit(outbox, changelog, known)
        except ChangelogMadeAgain:
            raise
        except asyncio.CancelledError:
            if was_cancelled():
                raise
            raise CommitFailed(f"commit of join partition {self.partition}: broken off by the Kafka client") from None
        except Exception as error:
            cause = self._cause(error)
            if refusing := next((name for name, sent in self._sent if _refused_size(sent)), None):
                raise TooLarge(refusing) from error
            if isinstance(cause, DENIALS):  # trying again would be denied again
                raise Denied(f"commit of join partition {self.partition}", cause) from error
            raise CommitFailed(f"commit of join partition {self.partition}: {cause!r}") from error

    def _cause(self, error: BaseException) -> BaseException:
        """Returns the error that broke the transaction; later sends only report that there is none."""
        return transaction_error(self.kafka) or error

    async def _commit(self, outbox: Outbox, changelog: list[bytes], known: int | None) -> tuple[int, int]:
        topic, partition = self.config.topics.changelog, self.partition
        if self.config.exactly_once:
            await self.kafka.begin_transaction()
        self._sent = sent = []
        for (name, target), batches in outbox.batches.items():
            for batch in batches:
                sent.append((name, _watched(await self.kafka.send_batch(batch, name, partition=target))))
        if not self.config.exactly_once:
            await _all([future for _, future in sent])
        reached("commit-samples")
        states = []
        for value in changelog:
            batch = self.kafka.create_batch()
            batch.append(timestamp=None, key=None, value=value)
            states.append(_watched(await self.kafka.send_batch(batch, topic, partition=partition)))
            sent.append((topic, states[-1]))
        await _all([future for _, future in sent])
        reached("commit-sent")
        first = (await states[0]).offset
        if known is not None and first < known:
            raise ChangelogMadeAgain(
                f"topic {topic} partition {partition}: its end has gone back from {known} to {first}: "
                "it was deleted and made again, and the state that it held is gone. Start over by `samplejoin reset`"
            )
        if self.config.exactly_once and known is not None and first > known + 1:  # one offset is the transaction marker
            await self._refuse_unread(known, first)
        if self.config.exactly_once:
            await self.kafka.commit_transaction()
        return states[0].result().offset, states[-1].result().offset + 1

    async def _refuse_unread(self, known: int, first: int) -> None:
        """Raises CommitFailed if the changelog holds a commit between the one that the state stands at and this one.

        A broker that no longer led the partition can have given the recovery an end that was too low.
        """
        async with ChangelogReader(self.config, self.partition) as changelog:
            unread = changelog.end < first
            async for _ in changelog.read(known):
                unread = True
        if unread:
            raise CommitFailed(f"the state was recovered without the commits at changelog offsets [{known}, {first})")


def _watched(future: asyncio.Future[RecordMetadata]) -> asyncio.Future[RecordMetadata]:
    """Marks the future's exception as retrieved: asyncio does not warn if an earlier failure ends the commit."""
    future.add_done_callback(lambda sent: sent.cancelled() or sent.exception())
    return future


def _refused_size(sent: asyncio.Future[RecordMetadata]) -> bool:
    return sent.done() and not sent.cancelled() and isinstance(sent.exception(), TOO_LARGE)


async def _all(futures: list[asyncio.Future[RecordMetadata]]) -> None:
    """Awaits every future; raises the first failure only when all have ended."""
    for outcome in await asyncio.gather(*futures, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
