"""The state directory of a worker: made, tried and locked before anything else starts."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from samplejoin.engine.config import WorkerError


class StateDir:
    """The lock of one worker on its state directory, for as long as the process lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def lock(self) -> None:
        """Takes the lock. Raises WorkerError if another worker has it, or if nothing can be written here."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._file = (self.path / "lock").open("a+")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.truncate(0)
            self._file.write(f"{os.getpid()}\n")
            self._file.flush()
        except BlockingIOError:
            raise WorkerError(
                f"state directory {self.path}: another worker uses it: give each worker a state_dir of its own, or "
                "wait until that one has ended"
            ) from None
        except OSError as error:
            raise WorkerError(
                f"state directory {self.path}: cannot be written ({error}): make it writable for this user, free space "
                "on it, or set state_dir to another place"
            ) from error

    def unlock(self) -> None:
        """Gives the lock up."""
        if self._file is not None:
            self._file.close()
            self._file = None
