"""Names what blocks the worker for a second or longer, while it does so (rule 12), from a separate thread."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mode import Service

from samplejoin.cleaning.running_call import RunningCall
from samplejoin.core.spec import Spec
from samplejoin.job.field_types import FUNCTION

log = logging.getLogger(__name__)

#: looks per second
LOOKS = 4
#: innermost stack frames shown for a thread
FRAMES = 4


class Watchdog(Service):
    """Checks four times a second whether the event loop has advanced, and warns when it has not for a second.

    `beats` returns a number that grows while the loop runs. `running` says what a user's function is working on.
    """

    def __init__(self, running: RunningCall, beats: Callable[[], int], interval_s: float = 0.25, **kwargs: Any) -> None:
        self.running, self.beats, self.interval_s = running, beats, interval_s
        self._ended = threading.Event()
        super().__init__(**kwargs)

    async def on_start(self) -> None:
        self._main = threading.get_ident()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    async def on_stop(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        seen, looks = -1, 0
        while not self._ended.wait(self.interval_s):
            beats = self.beats()
            looks = looks + 1 if beats == seen else 0
            seen = beats
            if warns_after(looks):
                log.warning(
                    "%s has blocked this worker for over %.1f s: nothing else can run. It is in %s",
                    str(self.running) or "one step",
                    looks * self.interval_s,
                    place_of(self._main),
                )


def warns_after(looks: int) -> bool:
    """Returns whether to warn after this many looks in a row without progress: after 1, 2, 4, 8 … seconds."""
    seconds, rest = divmod(looks, LOOKS)
    return not rest and seconds.bit_count() == 1


def place_of(thread: int) -> str:
    """Returns where a thread is, as `file.py:line in file.py:line in …`, the innermost frame first."""
    frames = reversed(traceback.extract_stack(sys._current_frames()[thread])[-FRAMES:])
    return " in ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)


def watched_spec(spec: Spec, running: RunningCall, label: str | None, format_: str) -> Spec:
    """Returns the spec with its users' functions watched; expressions and built-in formats need no watching."""
    if label is not None and FUNCTION.fullmatch(label) and spec.label is not None:
        spec = replace(spec, label=running.watching(label, spec.label))
    if FUNCTION.fullmatch(format_):
        spec = replace(spec, format=running.watching(format_, spec.format))
    return spec
