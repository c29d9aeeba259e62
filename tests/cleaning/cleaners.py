"""A small job's cleaner, records for it, and what they became."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from samplejoin.cleaning.cleaned import Cleaned
from samplejoin.cleaning.cleaner import Cleaner
from samplejoin.job.compile import compile_job
from samplejoin.job.load import model_of
from tests.job.helpers import job_data

NOW = 1_735_689_600_000
FUNCTIONS = """
import asyncio
import sys

watch = None

def clean(record):
    return eval(record.get("do", "record"), {**globals(), "record": record})

def decode(record):
    return eval(record.value)

def decode_or_none(record):
    import json
    data = json.loads(record.value)
    return None if data.get("most") is None else data

def throw(error):
    raise error

class Mute(Exception):
    def __str__(self): raise SystemExit(3)
    __repr__ = __str__

class Abort(BaseException):
    "As libraries have for timeouts, cancellation and panics."
    def __str__(self): raise Abort
    __notes__ = property(__str__)

class NoLength(list):
    def __len__(self): throw(Abort())

class NoItems(list):
    def __iter__(self): throw(RuntimeError("no items"))

class Rows(list):
    "One that works."

class NoClass:
    __class__ = property(lambda self: throw(RuntimeError("no class")))

class NoClassError(Exception):
    __class__ = property(lambda self: throw(RuntimeError("no class")))

class NoNames(type):
    __name__ = __module__ = property(lambda self: throw(RuntimeError("no names")))

class NoNameError(Exception, metaclass=NoNames):
    pass

class NoFields(dict):
    def get(self, *_): throw(RuntimeError("no fields"))
    __getitem__ = __iter__ = get

class Odd(float):
    "As the numbers of numpy are."

class Pairs:
    def zero(self): return []
    def add(self, partial, value): return [*partial, eval(value)]
    def merge(self, a, b): return a + b
    def result(self, partial): return len(partial)
"""


@dataclass
class Record:
    value: bytes | None
    offset: int = 0
    timestamp: int = NOW
    timestamp_type: int = 0
    key: bytes | None = None
    headers: Any = ()


def cleaner(folder: Path, start_ms: int | None = None, **changes: Any) -> Cleaner:
    changes = {"streams__click__clean": "functions:clean", **changes}
    return Cleaner(compile_job(model_of(job_data(**changes), environ={}), folder), start_ms=start_ms)


def click(**values: Any) -> bytes:
    return orjson.dumps({"uid": "u", "mid": 1, "ts": NOW, **values})


def cleaned(cleaner: Cleaner, *values: Any, topic: str = "clk", now_ms: int = NOW, **kwargs: Any) -> Cleaned:
    records = [v if isinstance(v, Record) else Record(v) for v in values]
    for offset, record in enumerate(records):
        record.offset = offset
    return cleaner.clean(topic, 0, records, now_ms, **kwargs)


def cells_of(out: Cleaned) -> list[Any]:
    return list(itertools.chain(*out.cells.values()))


GOOD = click(uid="good")


def lands_as(out: Cleaned, outcome: str) -> Any:
    """The first record came to `outcome`; the second, a good one, became a row all the same."""
    assert out.counts == {("click", outcome): 1, ("click", "ok"): 1}
    assert [cell[0] for cell in cells_of(out)] == [b'["good",1]']
    return out.dead[0] if out.dead else None
