"""Watches for outside events: silent brokers, topics that grow or are deleted, source partitions that nobody reads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from aiokafka.errors import KafkaError

from samplejoin.core.identity import source_id
from samplejoin.engine import topics
from samplejoin.engine.aiokafka_private import network_client
from samplejoin.engine.config import EngineConfig, WorkerError
from samplejoin.engine.group import Group
from samplejoin.engine.progress import ProgressBoard
from samplejoin.engine.sources import Sources
from samplejoin.engine.topic_ids import topic_ids

log = logging.getLogger(__name__)

AWAY_AFTER_S = 5.0
#: how often the wait between requests to rejoin is doubled at most (exponential backoff)
MOST_ASKED = 6


class BrokerWatch:
    """Watches whether the brokers answer, by their acknowledgements of the progress sent once a second."""

    def __init__(self, brokers: str, progress: ProgressBoard) -> None:
        self._brokers, self._progress = brokers, progress
        self.away_since: float | None = None

    def update(self) -> None:
        """Logs once when the brokers stop answering, and once when they answer again."""
        silent_s = self._progress.silent_s()
        if silent_s > AWAY_AFTER_S and self.away_since is None:
            self.away_since = time.monotonic() - silent_s
            log.warning(
                "no answer from the brokers %s for %.0f s: waiting for them; nothing is lost", self._brokers, silent_s
            )
        elif silent_s <= AWAY_AFTER_S and self.away_since is not None:
            log.warning("the brokers %s answer again after %.0f s", self._brokers, time.monotonic() - self.away_since)
            self.away_since = None

    def problem(self) -> str | None:
        """Returns what is wrong, in words, or None."""
        if self.away_since is not None:
            return f"no answer from the brokers for {time.monotonic() - self.away_since:.0f} s"
        return self._progress.deafness()


class TopicWatch:
    """Watches for input topics that grow, and for topics of the job that are deleted while it runs."""

    def __init__(self, config: EngineConfig, sources: Sources, group: Group, fatal: Callable[[BaseException], None]):
        self._config, self._sources, self._group, self._fatal = config, sources, group, fatal
        self._gone: set[str] = set()

    def update_growth(self) -> None:
        """Enters new partitions of input topics, which hold the clock until their first tick."""
        for topic, known in self._sources.partitions.items():
            now = len(self._group.consumer.partitions_for_topic(topic) or ())
            if now > known:
                log.info("topic %s has grown from %d to %d partitions", topic, known, now)
                self._sources.partitions[topic] = now

    async def find_recreated(self) -> None:
        """Raises WorkerError if a topic of the job was deleted and created again."""
        names = [*self._config.spec.topics(), *self._config.topics.written]
        try:
            ids = await topic_ids(network_client(self._group.consumer), names)
        except KafkaError as error:
            log.debug("looking for topic ids: %r", error)
            return
        self._sources.learn_topic_ids(ids)

    async def find_deleted(self) -> None:
        """Ends the worker if a topic of the job is missing twice in a row; a broker that has just started knows few."""
        try:
            gone = await topics.gone(self._config, self._group.consumer)
        except KafkaError as error:
            log.debug("looking for topics: %r", error)
            return
        if missed := sorted(set(gone) & self._gone):
            self._fatal(
                WorkerError(
                    f"topics {', '.join(missed)} were deleted while the job ran. Restore them; else, for an internal "
                    "or output topic, start over by `samplejoin reset`, and take an input topic out of the job file"
                )
            )
        self._gone = set(gone)


class OwnerWatch:
    """Makes the group reassign partitions when no worker has reported a source partition for a session timeout.

    Only an elected leader watches topics for growth, and a static member that restarts as leader is not elected again.
    """

    def __init__(self, session_timeout_ms: int, progress: ProgressBoard, group: Group) -> None:
        self._session_s, self._progress, self._group = session_timeout_ms / 1000, progress, group
        #: source partition -> since when no worker has reported it; and how often in a row a rejoin was requested
        self._unheard: dict[str, float] = {}
        self._asked = 0

    def update(self, partitions: Mapping[str, int]) -> None:
        """Requests a rejoin if no worker has reported a source for too long. `partitions`: input topic -> count."""
        if not self._progress.is_listening():
            self._unheard.clear()
            return
        now, patience_s = time.monotonic(), self._session_s * 2**self._asked
        sources = (source_id(topic, number) for topic, count in partitions.items() for number in range(count))
        unheard = [source for source in sources if source not in self._progress.sources]
        if not unheard:
            self._asked = 0
        for source in unheard:
            if now - self._unheard.setdefault(source, now) > patience_s:
                log.info("no worker reads %s: asking the group to reassign partitions", source)
                self._unheard.clear()
                self._asked = min(self._asked + 1, MOST_ASKED)
                self._group.rejoin()
                return
