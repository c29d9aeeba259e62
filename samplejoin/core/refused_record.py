"""A record that was not read: what stands in its place, so that it becomes a dead letter and its offset is covered."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class RefusedRecord:
    """A record over `limits.record`. It has what cleaning asks of a record; instead of its value there is `head`."""

    offset: int
    timestamp: int
    timestamp_type: int
    #: of the whole record, and the most that is read
    size_bytes: int
    limit_bytes: int
    #: of its value, 0 if that is not known, since its key is too large
    length: int = 0
    #: the beginning of its value
    head: bytes = b""
    key: bytes | None = None
    #: nothing that decodes a record can take it for one
    value: None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)

    def why(self) -> ValueError:
        """What the dead letter says."""
        return ValueError(f"record of {self.size_bytes} bytes is over limits.record ({self.limit_bytes} bytes)")
