"""What a worker works on by a user's function at this moment: read by other threads, when it takes too long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from samplejoin.core.values import Fields


@dataclass(slots=True)
class RunningCall:
    """Set by what calls the users' functions. As few stores as can be: one per record, in the loop of all records."""

    #: the function, or those that one record goes through
    function: str = ""
    #: `topic partition` of the record, empty where a sample is worked on
    source: str = ""
    #: the record or the sample; None: no function runs
    argument: object = None

    def __str__(self) -> str:
        """The function and its record, `functions:clean at TOPIC/PARTITION/OFFSET`; empty if none runs."""
        argument = self.argument
        if argument is None:
            return ""
        topic, _, partition = self.source.partition(" ")
        offset = getattr(argument, "offset", None)
        return f"{self.function} at {topic}/{int(partition)}/{offset}" if partition else self.function

    def watching(self, name: str, function: Callable[[Fields], object]) -> Callable[[Fields], Any]:
        """The function of a sample, which sets what runs."""

        def watched(sample: Fields) -> object:
            self.function, self.source, self.argument = name, "", sample
            try:
                return function(sample)
            finally:
                self.argument = None

        return watched
