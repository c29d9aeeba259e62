"""The stand-in for a record that was not read: it becomes a dead letter, and its offset is covered."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class RefusedRecord:
    """A record over `limits.record`. It has what cleaning asks of a record; instead of its value there is `head`."""

    offset: int
    timestamp: int
    timestamp_type: int
    #: bytes of the whole record, and the limit
    size_bytes: int
    limit_bytes: int
    #: bytes of its value; 0 if not known because the key is too large
    length: int = 0
    #: the first bytes of its value
    head: bytes = b""
    key: bytes | None = None
    #: always None: no decoder can take it for a record
    value: None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)

    def why(self) -> ValueError:
        """Returns the error that the dead letter carries."""
        return ValueError(f"record of {self.size_bytes} bytes is over limits.record ({self.limit_bytes} bytes)")
