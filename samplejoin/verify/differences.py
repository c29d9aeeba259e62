"""How a sample that was found differs from the one expected."""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson

from samplejoin.core.outcomes import Sample
from samplejoin.job.model import JobModel
from samplejoin.verify.spill_rows import PAYLOAD, WEIGHT

BYTES = "(bytes)"
"""Stands for a field where the payload cannot be taken apart, or only its form differs."""
_MISSING = "(not there)"


class Differences:
    """Takes payloads apart, by the job's format, and names what differs."""

    def __init__(self, model: JobModel) -> None:
        self._columns: tuple[str, ...] | None = None
        if model.format == "csv":
            weight = ("weight",) if model.keep_negatives < 1 else ()
            self._columns = (*model.key_names, *model.sample, "label", *weight)

    def of(self, want: Sample, found: list[Any]) -> tuple[str | None, list[str]]:
        """The class (`wrong_label`, `wrong_field`, `wrong_weight`; None: the same) and the fields that differ."""
        same_weight = _same_number(found[WEIGHT], want.weight)
        if found[PAYLOAD] == want.payload:
            return (None, []) if same_weight else ("wrong_weight", ["weight"])
        a, b = self.fields(want.payload), self.fields(found[PAYLOAD])
        if not isinstance(a, dict) or not isinstance(b, dict):
            return "wrong_field", [BYTES]
        names = [
            name
            for name in (*a, *(n for n in b if n not in a))
            if not _same(a.get(name, _MISSING), b.get(name, _MISSING))
        ]
        if "label" in names:
            return "wrong_label", names
        if names == ["weight"]:
            return "wrong_weight", names
        return "wrong_field", names or [BYTES]

    def fields(self, payload: bytes) -> Any:
        """The payload's fields, or its text where it has none."""
        try:
            if self._columns is None:
                return orjson.loads(payload)
            values = next(csv.reader(io.StringIO(payload.decode())))
            if len(values) == len(self._columns):
                return dict(zip(self._columns, values, strict=True))
        except (ValueError, StopIteration, csv.Error):
            pass
        return payload[:500].decode("utf-8", "backslashreplace")


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and bool(a == b)


def _same_number(text: str, number: float) -> bool:
    try:
        return float(text) == number
    except ValueError:
        return False
