"""Names a user's function that blocks the worker for over a second (rule 12), from a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mode import Service

from samplejoin.core.spec import Spec
from samplejoin.job.field_types import FUNCTION

log = logging.getLogger(__name__)

LOOKS = 4


class Watchdog(Service):
    """Looks at the cleaner's `Watch` several times a second: a call seen five times in a row has run for a second."""

    def __init__(self, watch: Any, interval_s: float = 0.25, **kwargs: Any) -> None:
        self.watch, self.interval_s = watch, interval_s
        self.warned: list[str] = []
        self._ended = threading.Event()
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        threading.Thread(target=self._look, name="watchdog", daemon=True).start()

    async def on_stop(self) -> None:
        self._ended.set()

    def _look(self) -> None:
        seen, looks = -1, 0
        while not self._ended.wait(self.interval_s):
            function, calls = self.watch.function, self.watch.calls
            looks = looks + 1 if function and calls == seen else 0
            seen = calls
            if warns_after(looks):
                self.warned.append(function)
                log.warning("%s has blocked this worker for over %.1f s: nothing else runs meanwhile",
                            function, looks * self.interval_s)  # fmt: skip


def warns_after(looks: int) -> bool:
    """Whether a call that was seen in so many looks in a row is named: after 1, 2, 4, 8 … seconds."""
    seconds, rest = divmod(looks, LOOKS)
    return not rest and seconds.bit_count() == 1


def watched_spec(spec: Spec, watch: Any, label: str | None, format_: str) -> Spec:
    """The spec with its users' functions watched; expressions and built-in formats need no watching."""
    if label is not None and FUNCTION.fullmatch(label) and spec.label is not None:
        spec = replace(spec, label=_watched(watch, label, spec.label))
    if FUNCTION.fullmatch(format_):
        spec = replace(spec, format=_watched(watch, format_, spec.format))
    return spec


def _watched(watch: Any, name: str, function: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    def watched(sample: dict[str, Any]) -> Any:
        watch.function = name
        try:
            return function(sample)
        finally:
            watch.calls += 1
            watch.function = ""

    return watched
