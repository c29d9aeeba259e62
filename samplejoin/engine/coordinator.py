"""Handles what the Kafka client's group coordinator leaves to its user: unknown errors, and errors of callbacks."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError, NodeNotReadyError

from samplejoin.core.user_errors import said
from samplejoin.engine.config import WorkerError

log = logging.getLogger(__name__)

#: how many joins of the group in a row may end with an error that the client does not know
MOST_FAILURES = 10


class CoordinatorFailed(NodeNotReadyError):  # type: ignore[misc]  # aiokafka ships no types
    """The group's coordinator failed; the next request may succeed."""


class Failures:
    """Judges errors from a broker that the client does not know, for example of an overloaded one.

    The client hands such an error to its user, and sends no heartbeats until it joins the group again."""

    def __init__(self, group: str, session_timeout_ms: int) -> None:
        self.group, self.session_timeout_ms = group, session_timeout_ms
        self._in_a_row = 0

    def over(self) -> None:
        """Counts failures from zero again, since the group has made an assignment."""
        self._in_a_row = 0

    def raise_known(self, error: BaseException) -> None:
        """Raises the error that `known` puts in place of `error`, if it is another one."""
        known = self.known(error)
        if known is not error:
            raise known from error

    def known(self, error: BaseException) -> BaseException:
        """Returns `error` or a clearer one: CoordinatorFailed is worth another try, WorkerError is final."""
        if isinstance(error, InvalidSessionTimeoutError):
            return WorkerError(
                f"group {self.group}: a session timeout of {self.session_timeout_ms} ms is outside what the brokers "
                "allow: set SAMPLEJOIN_SESSION_TIMEOUT_MS between their group.min.session.timeout.ms (6000 if nobody "
                "has set it) and group.max.session.timeout.ms (1800000)"
            )
        if type(error) is not KafkaError:  # the client raises it for an error code that it does not know
            return error
        self._in_a_row += 1
        if self._in_a_row > MOST_FAILURES:
            return WorkerError(
                f"group {self.group}: the broker that coordinates it has failed {MOST_FAILURES} times in a row "
                f"({said(error)}): look at its log, it may be overloaded. Then start the worker again; nothing is lost"
            )
        return CoordinatorFailed(f"the broker that coordinates the group failed: {said(error)}")


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Receives assignments. An error in a callback ends the worker, instead of only the client's own task."""

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
