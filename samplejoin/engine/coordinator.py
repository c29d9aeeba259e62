"""What the Kafka client's group coordinator leaves to its user: errors that it does not know, errors of callbacks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError, NodeNotReadyError

from samplejoin.core.user_errors import said
from samplejoin.engine.config import WorkerError

log = logging.getLogger(__name__)

#: joins of a group in a row that may end with an error which the client does not know
MOST_FAILURES = 10


class CoordinatorFailed(NodeNotReadyError):  # type: ignore[misc]  # aiokafka ships no types
    """It may well answer the next time."""


class Failures:
    """Errors from a broker that the client does not know, an overloaded one's say: it gives them to its user, waits
    until they are taken note of, and sends no heartbeats until it joins again."""

    def __init__(self, group: str, session_timeout_ms: int) -> None:
        self.group, self.session_timeout_ms = group, session_timeout_ms
        self._in_a_row = 0

    def over(self) -> None:
        """The group has dealt."""
        self._in_a_row = 0

    def raise_known(self, error: BaseException) -> None:
        """Raises what an error is to be taken for, if that is another."""
        known = self.known(error)
        if known is not error:
            raise known from error

    def known(self, error: BaseException) -> BaseException:
        """The error, or what to take it for: worth another try, until it has come too often in a row."""
        if isinstance(error, InvalidSessionTimeoutError):
            return WorkerError(
                f"group {self.group}: a session timeout of {self.session_timeout_ms} ms is outside what the brokers "
                "allow: set SAMPLEJOIN_SESSION_TIMEOUT_MS between their group.min.session.timeout.ms (6000 if nobody "
                "has set it) and group.max.session.timeout.ms (1800000)"
            )
        if type(error) is not KafkaError:  # the client makes it of what it does not know
            return error
        self._in_a_row += 1
        if self._in_a_row > MOST_FAILURES:
            return WorkerError(
                f"group {self.group}: the broker that coordinates it has failed {MOST_FAILURES} times in a row "
                f"({said(error)}): look at its log, it may be overloaded. Then start the worker again; nothing is lost"
            )
        return CoordinatorFailed(f"the broker that coordinates the group failed: {said(error)}")


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Hears of assignments; what its callbacks raise ends the worker, and not the client's own task."""

    def __init__(
        self,
        revoked: Callable[[], Awaitable[None]],
        assigned: Callable[[set[TopicPartition]], None],
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._revoked, self._assigned, self._fatal = revoked, assigned, fatal

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        try:
            if revoked:
                await self._revoked()
        except Exception as error:
            self._fatal(error)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        log.info("assigned %s", ", ".join(f"{tp.topic}-{tp.partition}" for tp in sorted(assigned)) or "nothing")
        try:
            self._assigned(set(assigned))
        except Exception as error:
            self._fatal(error)
