"""The last resort of a stop: a worker that has not ended soon after SIGTERM, Ctrl-C or its failure is ended hard.

A user's function can hold the event loop for as long as it likes, and then nothing of a graceful stop happens. So the
signals are heard by a thread of its own, which hands them on to the loop and keeps the time.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from samplejoin.worker.function_watchdog import place_of

log = logging.getLogger(__name__)

STOP_S = 9.0
#: a call that never gives the interpreter back stops this thread too, but not the one of `faulthandler`
HARD_S = 9.5
STDERR = 2
FAILURE = b"\0"
"""Stands in the pipe for a signal."""
ASKING = {signal.SIGINT: "SIGINT", signal.SIGTERM: "SIGTERM", FAILURE[0]: "its failure"}


class Ending:
    """Waits for a stop's signal, then for the end of the process. `running` says what a user's function works on, if
    one runs now; `silent_s`: for how long the brokers have not answered."""

    def __init__(self, running: Callable[[], str], silent_s: Callable[[], float] = lambda: 0.0) -> None:
        self._running, self._silent_s = running, silent_s
        self._asked = ""
        self._until_s = 0.0
        self._here: int | None = None

    def listen(self) -> None:
        """Takes the signals from the event loop, whose handlers must be there by now, and hands them on to it.

        The interpreter writes their numbers to this pipe at once, whatever it computes.
        """
        self._signals, self._here = os.pipe()
        os.set_blocking(self._here, False)
        self._loop = signal.set_wakeup_fd(self._here, warn_on_full_buffer=False)
        self._main = threading.get_ident()
        threading.Thread(target=self._listen, name="ending", daemon=True).start()

    def begin(self) -> None:
        """The worker stops without a signal: it has failed."""
        if self._here is not None:
            os.write(self._here, FAILURE)

    def _listen(self) -> None:
        while True:
            left_s = max(0.0, self._until_s - time.monotonic()) if self._asked else None
            if not select.select([self._signals], [], [], left_s)[0]:
                self._end(f"has not ended within {STOP_S:.0f} s of {self._asked}: {self._cause()}")
            for number in os.read(self._signals, 64):
                if number in ASKING:
                    self._take_signal(number)
                if number != FAILURE[0]:
                    with suppress(OSError):  # the loop is closed already
                        os.write(self._loop, bytes([number]))

    def _take_signal(self, number: int) -> None:
        if not self._asked:
            self._asked, self._until_s = ASKING[number], time.monotonic() + STOP_S
            faulthandler.dump_traceback_later(HARD_S, exit=True, file=STDERR)
        elif number == signal.SIGINT:
            self._end("was interrupted while it was stopping")

    def _cause(self) -> str:
        """The user's function that runs, if any, and where the main thread is, the innermost frame first; or that the
        brokers are silent, for which the loop only waits."""
        running, silent_s, place = self._running(), self._silent_s(), place_of(self._main)
        if not running and silent_s >= STOP_S / 2:
            return f"the brokers do not answer, for {silent_s:.0f} s now"
        return f"it is at {running}, in {place}" if running else f"it is in {place}"

    def _end(self, why: str) -> NoReturn:
        log.critical("the worker %s. It is ended hard: what it has not committed the next owner does again", why)
        os._exit(1)
