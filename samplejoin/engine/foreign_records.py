"""Records in the job's own topics that no worker wrote: passed over and counted, and logged once a minute at most."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from samplejoin.engine.meters import Meters

log = logging.getLogger(__name__)

EVERY_S = 60.0


class RefusedRecords:
    """Counts and logs such records of one topic. `then` ends the log line, with what follows for the user."""

    def __init__(self, meters: Meters, then: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._meters, self._then, self._monotonic = meters, then, monotonic
        self._said_at = -EVERY_S
        self._unsaid = 0

    def add(self, topic: str, partition: int, offset: int, why: Exception) -> None:
        """Counts a record, and logs it if none was logged for a minute."""
        self._meters.add("refused_records", (topic,))
        self._unsaid += 1
        if self._monotonic() - self._said_at >= EVERY_S:
            log.error(
                "topic %s partition %d offset %d: not a record of this job, passed over (%d since the last such line): "
                "%s. Only the job's workers may write there: look at who else does, and at the access rights. %s",
                topic,
                partition,
                offset,
                self._unsaid,
                why,
                self._then,
            )
            self._said_at, self._unsaid = self._monotonic(), 0
