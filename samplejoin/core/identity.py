"""Identities that every replay reproduces: the sample's id, and decisions drawn from it (rules 6 and 14)."""

from __future__ import annotations

import hashlib
from typing import Any


def source_id(topic: str, partition: int) -> str:
    """Returns a source partition as one text that sorts like (topic, partition).

    A space sorts below every character a topic name may have, and the number is padded.
    """
    return f"{topic} {partition:06d}"


def place(source: str, offset: int) -> str:
    """Returns source id and offset as `topic/partition/offset`, the form that people and dead letters use."""
    topic, _, partition = source.rpartition(" ")
    if not (partition.isascii() and partition.isdigit() and topic):  # not a source id that a worker wrote
        return f"{source}/{offset}"
    return f"{topic}/{int(partition)}/{offset}"


def sample_id(job: str, key: bytes, slice_: int, stream: str, anchor: list[Any]) -> str:
    """Returns 32 hex digits, a hash of job, key, and the first anchor's slice, stream and id, or source without one.

    `anchor` is the first partial `[order, payload, id]`.
    """
    (_, source, offset, index), _, id_ = anchor
    if id_ is None:
        text = f"{slice_}\0{stream}\0{source}\0{offset}\0{index}\0{job}\0"
    else:
        text = f"{slice_}\0{stream}\0id\0{id_!r}\0{job}\0"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass") + key, digest_size=16).hexdigest()


def keep(sample: str, rate: float) -> bool:
    """Whether down-sampling keeps a negative: the same answer in every replay, online and offline."""
    return rate >= 1.0 or int(sample[:13], 16) < rate * (1 << 52)
