"""Encodes values as a producer would, as a stream's `decode` reads them. For sample records and tests."""

from __future__ import annotations

import csv
import io

from samplejoin.core.values import Value
from samplejoin.formats.json import dumps
from samplejoin.job.sections import StreamSection


def encode(stream: StreamSection, value: Value) -> bytes | None:
    """Encodes a dict as a line of the stream's CSV, else as JSON; leaves bytes, text and None as they are."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, dict) and stream.decode == "csv":
        line = io.StringIO()
        row = [value.get(name, "") for name in stream.columns or ()]
        csv.writer(line, delimiter=stream.delimiter, lineterminator="").writerow(row)
        value = line.getvalue()
    return value.encode() if isinstance(value, str) else dumps(value)
