"""A hard limit on a process's memory: a control group of its own, where they can be made; and its peak."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def memory_group(name: str, limit_bytes: int) -> Iterator[Path | None]:
    """A control group whose processes are killed beyond the limit; None where none can be made."""
    version_1 = (_GROUPS / "memory").is_dir()
    path = (_GROUPS / "memory" if version_1 else _GROUPS) / name
    try:
        path.mkdir()
        (path / ("memory.limit_in_bytes" if version_1 else "memory.max")).write_text(str(limit_bytes))
    except OSError:
        with contextlib.suppress(OSError):
            path.rmdir()
        yield None
        return
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):  # a process has not ended yet: an empty group costs nothing
            path.rmdir()


def enter(group: Path | None) -> None:
    """Puts this process into a group, before it becomes another program."""
    if group is not None:
        (group / "cgroup.procs").write_text(str(os.getpid()))


def peak_bytes(pid: int) -> int:
    """The most resident memory that a process has had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) << 10
