"""Kills a worker that has not ended soon after SIGTERM, Ctrl-C or its failure.

A user's function can block the event loop, and with it the graceful stop. So a separate thread receives the signals,
passes them on to the loop, and measures the time.
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
#: a call that never releases the GIL blocks this thread too, but not the thread of `faulthandler`
HARD_S = 9.5
STDERR = 2
FAILURE = b"\0"
"""The byte in the pipe that reports a failure; any other byte is the number of a signal."""
ASKING = {signal.SIGINT: "SIGINT", signal.SIGTERM: "SIGTERM", FAILURE[0]: "its failure"}


class Ending:
    """Waits for a signal to stop, then for the end of the process.

    `running` returns what a user's function is working on, or an empty text. `silent_s` returns the seconds since the
    brokers last answered.
    """

    def __init__(self, running: Callable[[], str], silent_s: Callable[[], float] = lambda: 0.0) -> None:
        self._running, self._silent_s = running, silent_s
        self._asked = ""
        self._until_s = 0.0
        self._here: int | None = None

    def listen(self) -> None:
        """Takes the signals from the event loop and passes them on to it. The loop's handlers must be set before.

        The interpreter writes the numbers of signals to this pipe at once, whatever code is running.
        """
        self._signals, self._here = os.pipe()
        os.set_blocking(self._here, False)
        self._loop = signal.set_wakeup_fd(self._here, warn_on_full_buffer=False)
        self._main = threading.get_ident()
        threading.Thread(target=self._listen, name="ending", daemon=True).start()

    def begin(self) -> None:
        """Starts the countdown without a signal, because the worker has failed."""
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
                    with suppress(OSError):  # the loop can be closed already
                        os.write(self._loop, bytes([number]))

    def _take_signal(self, number: int) -> None:
        if not self._asked:
            self._asked, self._until_s = ASKING[number], time.monotonic() + STOP_S
            faulthandler.dump_traceback_later(HARD_S, exit=True, file=STDERR)
        elif number == signal.SIGINT:
            self._end("was interrupted while it was stopping")

    def _cause(self) -> str:
        """Returns why the worker has not ended: the silent brokers that the loop waits for, or the running user's
        function and the place of the main thread, innermost frame first."""
        running, silent_s, place = self._running(), self._silent_s(), place_of(self._main)
        if not running and silent_s >= STOP_S / 2:
            return f"the brokers do not answer, for {silent_s:.0f} s now"
        return f"it is at {running}, in {place}" if running else f"it is in {place}"

    def _end(self, why: str) -> NoReturn:
        log.critical("the worker %s. It is ended hard: the next owner repeats what it has not committed", why)
        os._exit(1)
