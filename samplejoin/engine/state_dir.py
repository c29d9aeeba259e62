"""The state directory of a worker: created, tested and locked before anything else starts; closed to other users."""

from __future__ import annotations

import fcntl
import logging
import os
import stat
from pathlib import Path

from samplejoin.engine.config import WorkerError

log = logging.getLogger(__name__)


class StateDirInUse(WorkerError):
    """Another worker holds the lock of this state directory."""


class StateDir:
    """The lock of one worker on its state directory, held for as long as the process lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    def lock(self) -> None:
        """Takes the lock. Raises StateDirInUse if another worker has it; WorkerError if the directory is not writable,
        or if another user could have put files there.

        Sets the process's umask, so that only its own user can read its files: RocksDB takes no mode for them.
        """
        os.umask(0o077)
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._close_to_others()
            self._lock = _open_lock(self.path / "lock")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._lock, 0)
            os.write(self._lock, f"{os.getpid()}\n".encode())
        except BlockingIOError:
            raise StateDirInUse(
                f"state directory {self.path}: another worker uses it: give each worker a state_dir of its own, or "
                "wait until that one has ended"
            ) from None
        except OSError as error:
            raise WorkerError(
                f"state directory {self.path}: cannot be written ({error}): make it writable for this user, free space "
                "on it, or set state_dir to another place"
            ) from error

    def stocked(self) -> list[int]:
        """Returns the join partitions with state in the directory. If it was removed, creates it and returns none: open
        files stay open, and the changelog has all of the state."""
        try:
            return [int(path.name) for path in self.path.iterdir() if path.name.isdecimal()]
        except FileNotFoundError:
            log.error(
                "state directory %s has been removed while this worker runs: what it held is rebuilt from the "
                "changelog. Stop the worker before you remove its directory",
                self.path,
            )
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            return []

    def unlock(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _close_to_others(self) -> None:
        """Removes the access of other users to everything here, files of an earlier version included."""
        self._refuse_shared_parent()
        here = self.path.lstat()
        if not stat.S_ISDIR(here.st_mode) or here.st_uid != os.geteuid():
            what = "belongs to another user" if stat.S_ISDIR(here.st_mode) else "is a link"
            raise WorkerError(
                f"state directory {self.path} {what}: delete it, or set state_dir to another place; the worker "
                "rebuilds it from the changelog"
            )
        for folder, _, files in os.walk(self.path):
            os.chmod(folder, 0o700)
            for name in files:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    os.chmod(path, 0o600)

    def _refuse_shared_parent(self) -> None:
        """Raises WorkerError if others could replace the directory: they may write its parent, or the link to it.

        A link of this user or of root is allowed, since it is common (volumes, macOS). So is a directory of root that
        all users may write, as Kubernetes creates for an emptyDir.
        """
        parent, mine = self.path.parent, os.geteuid()
        for found in (parent.lstat(), parent.stat()):
            others_write = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
            if found.st_uid in (mine, 0) and (found.st_uid == 0 or stat.S_ISLNK(found.st_mode) or not others_write):
                continue
            what = "can be written by all users" if found.st_uid == mine else "belongs to another user"
            raise WorkerError(
                f"state_dir {parent} {what}, who could put state of theirs there: make it this user's and close it "
                "(chmod 700), or set state_dir to another place"
            )


def _open_lock(path: Path) -> int:
    """Opens the lock file. Raises WorkerError if it is a link or another user's, since locking empties the file."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    found = os.fstat(lock)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        os.close(lock)
        raise WorkerError(f"{path} is not a file of this worker alone: delete it")
    return lock
