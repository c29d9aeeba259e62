"""What a module of users' functions may import: names for types, and the shape of an aggregate of their own.

Nothing here is needed to write plain functions:

    def clean(record: Record) -> Row | list[Row] | None: ...
    def format(sample: Sample) -> dict | bytes | str | None: ...

They must depend on nothing but their argument: records are read again after a crash and must give the same rows.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

Record = dict[str, Any]
"""A decoded record."""

Row = dict[str, Any]
"""What a cleaning function makes of a record: JSON data with the key fields and what the sample needs."""

Sample = dict[str, Any]
"""The key, the sample's fields, `label`, and `weight` if negatives are down-sampled."""


@runtime_checkable
class Aggregate(Protocol):
    """An aggregate of one's own, named in the job file as `agg: "module:Class"`; the class is called without arguments.

    Partials are JSON data. `merge` must be associative and commutative, `zero()` its identity, and adding values one
    by one must equal merging the partials of each: rows meet in any order. One object serves all keys, so it must
    keep nothing of its own, and must not change the partials it is given.
    """

    def zero(self) -> Any:
        """The partial of no rows."""

    def add(self, partial: Any, value: Any) -> Any:
        """The partial with one more value (never None; True if the field names the rows themselves)."""

    def merge(self, a: Any, b: Any) -> Any:
        """The partial of both sets of rows."""

    def result(self, partial: Any) -> Any:
        """What the sample carries."""
