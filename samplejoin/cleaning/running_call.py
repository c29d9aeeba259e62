"""The user's function that a worker is calling at this moment, for threads that report a call that takes too long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from samplejoin.core.values import Fields


@dataclass(slots=True)
class RunningCall:
    """The running function and its argument. Callers set as little as they can: one attribute per record."""

    #: the function, or all those that a record goes through
    function: str = ""
    #: `topic partition` of the record; empty if the argument is a sample
    source: str = ""
    #: the record or the sample; None: no function runs
    argument: object = None

    def __str__(self) -> str:
        """Returns `functions:clean at TOPIC/PARTITION/OFFSET`; the function alone for a sample; empty if none runs."""
        argument = self.argument
        if argument is None:
            return ""
        topic, _, partition = self.source.partition(" ")
        offset = getattr(argument, "offset", None)
        return f"{self.function} at {topic}/{int(partition)}/{offset}" if partition else self.function

    def watching(self, name: str, function: Callable[[Fields], object]) -> Callable[[Fields], Any]:
        """Wraps a function of samples to set what runs."""

        def watched(sample: Fields) -> object:
            self.function, self.source, self.argument = name, "", sample
            try:
                return function(sample)
            finally:
                self.argument = None

        return watched
