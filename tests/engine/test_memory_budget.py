"""How a worker's memory is divided, and what it takes for its limit."""

from __future__ import annotations

import pytest

from samplejoin.engine.memory_budget import BASE_BYTES, Memory, available, container_limit

GIB = 1 << 30


@pytest.mark.parametrize("total", [GIB // 2, GIB, 8 * GIB, 200 * GIB])
@pytest.mark.parametrize("partitions", [1, 4, 64])
def test_the_shares_fit(total, partitions):
    """The formula of docs/operations.md: a commit's bytes are there four times, a fetch's twelve, a block's twice."""
    memory = Memory(total, partitions)
    joins = partitions * (memory.cached + 4 * memory.uncommitted)
    rest = memory.block_cache + memory.write_buffers + 12 * memory.fetched + 2 * memory.unacked
    assert BASE_BYTES + joins + rest <= total
    assert min(memory.fetched, memory.unacked, memory.cached, memory.uncommitted) > 100_000


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "1073741824\n"}, GIB),  # in a container, version 2
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "1073741824\n"}, GIB),  # of a group above
        ("4:memory:/docker/x\n", {"memory/memory.limit_in_bytes": "1073741824\n"}, GIB),  # version 1
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, None),  # no limit
        ("0::/\n", {}, None),
    ],
)
def test_the_containers_limit(tmp_path, cgroup, files, limit):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for path, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert container_limit(tmp_path) == limit
    if limit is not None:
        assert available(tmp_path) == int(limit * 0.8)


def test_without_a_container_a_part_of_the_machine(tmp_path):
    assert 0 < available(tmp_path) < 1 << 50
