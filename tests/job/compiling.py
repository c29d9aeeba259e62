"""A small job with functions, compiled."""

from __future__ import annotations

import pytest

from samplejoin.job.compile import compile_job
from samplejoin.job.errors import JobError
from tests.job.helpers import model

FUNCTIONS = """
class Product:
    def zero(self): return 1
    def add(self, partial, value): return partial * value
    def merge(self, a, b): return a * b
    def result(self, partial): return partial

class NoMerge:
    def zero(self): return 1
    def add(self, partial, value): return partial
    def result(self, partial): return partial

class BadZero(Product):
    def zero(self): return {1, 2}

class NeedsMore(Product):
    def __init__(self, x): pass

product = Product()

def clean(record): return {**record, "cleaned": True}
def two(a, b): return a
async def later(record): return record
def label(sample): return sample["clicks"]
def no_label(sample): return sample.get("nothing")
def nan_label(sample): return float("nan")
def decode(record): return {"v": record.value}
def decode_badly(record): return [1]
def give(sample): return sample["give"]
"""


def compiled(folder, **changes):
    return compile_job(model(**changes), folder)


def problems(folder, **changes):
    with pytest.raises(JobError) as caught:
        compiled(folder, **changes)
    return caught.value.problems
