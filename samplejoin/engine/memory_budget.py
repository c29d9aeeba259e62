"""The memory budget of a worker and its shares; docs/operations.md has the formula.

Everything that grows with the load is bounded in bytes by its share. A worker's join partitions divide theirs equally.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

#: interpreter, libraries, connections
BASE_BYTES = 220_000_000
LEAST_BYTES = 512 << 20
#: shares of a container's limit, and of a machine's memory, which others use too
CONTAINER_SHARE, MACHINE_SHARE = 0.8, 0.25
#: bytes that a cached key takes in addition to key and state
KEY_BYTES = 200
_UNLIMITED = 1 << 60


@dataclass(slots=True)
class Memory:
    """The shares of `total` bytes. Data in flight exists several times: as rows, packed, and in the client."""

    total: int
    #: join partitions that the worker owns
    partitions: int = 1
    free: int = field(init=False)

    def __post_init__(self) -> None:
        self.free = max(self.total, LEAST_BYTES) - BASE_BYTES

    @property
    def block_cache(self) -> int:
        """RocksDB's block cache, all partitions together."""
        return min(64 << 20, self.free // 10)

    @property
    def write_buffers(self) -> int:
        """RocksDB's memtables, all partitions together."""
        return min(256 << 20, self.free // 10)

    @property
    def fetched(self) -> int:
        """Expanded bytes of one fetch. Twelve can wait: in two channels of four, at their ends, and while expanding."""
        return min(8 << 20, self.free // 96)

    @property
    def unacked(self) -> int:
        """Packed blocks that were sent to the repartition topic and are not acknowledged."""
        return min(32 << 20, self.free // 40)

    @property
    def uncommitted(self) -> int:
        """Bytes that one join partition changes and emits between two commits."""
        return self.free // 20 // max(1, self.partitions)

    @property
    def cached(self) -> int:
        """Open keys of one join partition that are cached in memory."""
        return self.free // 4 // max(1, self.partitions)


def available(root: Path = Path("/")) -> int:
    """Returns the bytes a worker may take: a share of its container's limit, or without one of the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = container_limit(root)
    if limit is not None and limit < machine:
        return int(limit * CONTAINER_SHARE)
    return int(machine * MACHINE_SHARE)


def container_limit(root: Path = Path("/")) -> int | None:
    """Returns the lowest limit, in bytes, of this process's control groups (version 2 or 1); None without a limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    groups = root / "sys/fs/cgroup"
    limits: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            limits += _limits(groups, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits(groups / "memory", path, "memory.limit_in_bytes")
    return min((limit for limit in limits if limit < _UNLIMITED), default=None)


def _limits(base: Path, path: str, name: str) -> list[int]:
    """Returns the limits of a group and of those above it. In a container the path may exist only outside."""
    found = []
    group = Path(path.lstrip("/"))
    for each in (group, *group.parents):
        try:
            text = (base / each / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            found.append(int(text))
    return found
