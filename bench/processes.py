"""Starts a system's processes, watches them through /proc with their children, and stops them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
STOP_S = 10.0


class SystemFailed(Exception):
    """A system's process has ended by itself; the message has the end of its log."""


class Command(NamedTuple):
    """How to start one process; its environment is added to that of the benchmark."""

    argv: Sequence[str]
    environment: Mapping[str, str]


def cpu_s(pid: int) -> float:
    """User and system seconds of a process, all threads."""
    fields = _stat(Path(f"/proc/{pid}"))
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Peak resident memory."""
    return _status_mb(Path(f"/proc/{pid}"), "VmHWM")


class Process:
    """One process in a session of its own: whatever it starts is counted, and ended, with it."""

    def __init__(self, command: Command, log: Path) -> None:
        self.command, self.log = command, log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command.argv, env={**os.environ, **command.environment}, stdin=subprocess.DEVNULL, stdout=out,
                stderr=out, start_new_session=True,
            )  # fmt: skip
        self.pid = self._process.pid
        #: (seconds since the epoch, CPU-seconds), rising
        self.seen: list[tuple[float, float]] = [(time.time(), 0.0)]
        self.peak_mb = 0.0

    def look(self) -> None:
        """Records current CPU and memory. Raises SystemFailed."""
        if (code := self._process.poll()) is not None:
            raise SystemFailed(f"process {self.log.stem} ended with status {code}:\n{self.log_tail()}")
        cpu, memory_mb = 0.0, 0.0
        for folder in self._folders():
            try:
                fields = _stat(folder)
                memory_mb += _status_mb(folder, "VmRSS")
            except (FileNotFoundError, ProcessLookupError):  # it has ended just now: its CPU goes to its parent
                continue
            cpu += sum(int(field) for field in fields[11:15]) / TICKS
        self.seen.append((time.time(), cpu))
        self.peak_mb = max(self.peak_mb, memory_mb)

    def cpu_s_at(self, at_s: float) -> float:
        """Returns CPU-seconds used up to a time, interpolated between readings; after the last one, its value."""
        after = bisect_left(self.seen, (at_s, 0.0))
        if after == len(self.seen):
            return self.seen[-1][1]
        if after == 0:
            return 0.0
        (t0, c0), (t1, c1) = self.seen[after - 1 : after + 1]
        return c0 + (c1 - c0) * (at_s - t0) / (t1 - t0)

    def finish(self) -> None:
        """Waits until it ends by itself. Raises SystemFailed if it ends with an error."""
        if code := self._process.wait(STOP_S):
            raise SystemFailed(f"process {self.log.stem} ended with status {code}:\n{self.log_tail()}")

    def stop(self) -> None:
        """Sends SIGTERM, then SIGKILL to the rest of the session."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for folder in self._folders():
            os.kill(int(folder.name), signal.SIGKILL)

    def log_tail(self, lines: int = 30) -> str:
        """Returns the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _folders(self) -> Iterator[Path]:
        """Yields the folders in /proc of the processes of this session."""
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                try:
                    fields = _stat(folder)
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if int(fields[3]) == self.pid and fields[0] != "Z":
                    yield folder


def _stat(folder: Path) -> list[str]:
    """The fields of `stat` from the state on: 3 is the session, 11 to 14 are ticks of itself and of ended children."""
    return (folder / "stat").read_text().rpartition(")")[2].split()


def _status_mb(folder: Path, name: str) -> float:
    for line in (folder / "status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    return 0.0
