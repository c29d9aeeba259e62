"""Names for data whose type is not known before a job is: users' fields of any kind."""

from __future__ import annotations

from typing import Any

Value = Any
"""JSON data; from a user's code anything, until `core.json_values` has looked at it."""

Fields = dict[str, Any]
"""A JSON object: a decoded record, a row, a sample."""

Partial = Any
"""What an aggregate has made of the rows so far: JSON data, lists and tuples mixed."""

Partials = list[Any]
"""The partials of a cell, in the order of its `StreamLayout`."""
