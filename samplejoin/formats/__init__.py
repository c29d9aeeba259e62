"""Sample formats: one sample's fields to the bytes that go out, and back. One module each, by name in `FORMATS`.

A file that holds many samples (Parquet) is not a format in this sense: it would be written by a reader of the samples
topic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from samplejoin.core.values import Fields
from samplejoin.formats import csv, json

Encode = Callable[[Fields], bytes]
Decode = Callable[[bytes], object]


class Format(Protocol):
    """What a format's module offers. `columns`: the names of a sample's fields, in the order of the job file."""

    def encoder(self, columns: Sequence[str]) -> Encode:
        """A function that writes a sample's fields. It raises TypeError, ValueError or KeyError for what it cannot."""

    def decoder(self, columns: Sequence[str]) -> Decode:
        """A function that reads the bytes back, as a dict of the fields. It raises ValueError for other bytes."""


FORMATS: Mapping[str, Format] = {"json": json, "csv": csv}
"""By what `format` of the job file says."""
