"""Formats of samples: encoding of a sample's fields, and decoding. Each is a module; `FORMATS` has them by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from samplejoin.core.values import Fields
from samplejoin.formats import csv, json

Encode = Callable[[Fields], bytes]
Decode = Callable[[bytes], object]


class Format(Protocol):
    """The interface of a format's module. `columns` are the names of a sample's fields, in the job file's order."""

    def encoder(self, columns: Sequence[str]) -> Encode:
        """Returns a function that encodes a sample's fields. It may raise TypeError, ValueError or KeyError."""

    def decoder(self, columns: Sequence[str]) -> Decode:
        """Returns a function that decodes the bytes to a dict of the fields. It raises ValueError for other bytes."""


FORMATS: Mapping[str, Format] = {"json": json, "csv": csv}
"""The formats by their name in the job file."""
