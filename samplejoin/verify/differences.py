"""Names the differences between the expected sample and the one found."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from samplejoin.core.outcomes import Sample
from samplejoin.formats import FORMATS, json
from samplejoin.job.model import JobModel
from samplejoin.verify.spill_rows import PAYLOAD, WEIGHT

BYTES = "(bytes)"
"""Stands in place of field names if the payload cannot be decoded, or only its encoding differs."""
_MISSING = "(not there)"


class Differences:
    """Decodes payloads in the job's format, and names the fields that differ."""

    def __init__(self, model: JobModel) -> None:
        self._decode = FORMATS.get(model.format, json).decoder(model.columns)

    def of(self, want: Sample, found: list[Any]) -> tuple[str | None, list[str]]:
        """Returns (class, fields that differ); class: wrong_label, wrong_field, wrong_weight, or None if equal."""
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
        """Returns the payload's fields, or its text if it cannot be decoded."""
        with suppress(ValueError):
            return self._decode(payload)
        return payload[:500].decode("utf-8", "backslashreplace")


def _same(a: object, b: object) -> bool:
    return type(a) is type(b) and bool(a == b)


def _same_number(text: str, number: float) -> bool:
    try:
        return float(text) == number
    except ValueError:
        return False
