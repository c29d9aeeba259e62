"""Keeps state in a dict: for tests, and for jobs that `samplejoin.testing` runs in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class MemoryStore:
    """A `Store` in memory, which is lost with the process."""

    def __init__(self) -> None:
        self._data: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self._data.get(key)

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        return [self._data.get(key) for key in keys]

    def write(self, puts: Iterable[tuple[bytes, bytes]], deletes: Iterable[bytes]) -> None:
        self._data.update(puts)
        for key in deletes:
            self._data.pop(key, None)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        yield from sorted((k, v) for k, v in self._data.items() if k.startswith(prefix))

    def expect_reads(self, reads: bool) -> None:
        pass

    def clear(self) -> None:
        self._data.clear()

    def close(self) -> None:
        pass
