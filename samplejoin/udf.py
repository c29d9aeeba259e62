"""Types for modules of users' functions, and the interface of an aggregate of their own.

Plain functions need none of them:

    def clean(record: Record) -> Row | list[Row] | None: ...
    def format(sample: Sample) -> dict | bytes | str | None: ...

Functions must depend on nothing but their argument: records are read again after a crash and must give the same rows.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

Record = dict[str, Any]
"""A decoded record."""

Row = dict[str, Any]
"""A row that a cleaning function returns: JSON data with the key fields and the fields that the sample needs."""

Sample = dict[str, Any]
"""The key, the sample's fields, `label`, and `weight` if negatives are down-sampled."""


@runtime_checkable
class Aggregate(Protocol):
    """The interface of a user's aggregate (`agg: "module:Class"` in the job file). Its class takes no arguments.

    Partials are JSON data. Rows are combined in any order, so `merge` must be associative and commutative, `zero()`
    its identity, and adding values one by one must equal merging a partial of each. One object serves all keys, so it
    must not keep state, and must not change the partials that it is given.
    """

    def zero(self) -> Any:
        """Returns the partial of no rows."""

    def add(self, partial: Any, value: Any) -> Any:
        """Returns the partial with one more value (never None; True if `from` names only the stream)."""

    def merge(self, a: Any, b: Any) -> Any:
        """Returns the partial of both sets of rows."""

    def result(self, partial: Any) -> Any:
        """Returns the value of the sample's field."""
