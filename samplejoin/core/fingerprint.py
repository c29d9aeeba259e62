"""The fingerprint of a job's meaning, a short text in every commit, and the difference between two fingerprints.

`96a94eba1b15fd5a key=1f0c label=97d2 ...`: first a hash of everything, which alone decides, then a short hash of each
part by the name of its job-file key, for people.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from samplejoin.core.values import Value

PART_BYTES = 2
"""Bytes of a part's hash. It only names the part that differs; the hash of everything decides whether any does."""


def compose(parts: Mapping[str, object], whole: object) -> str:
    """The fingerprint of `whole`, with a hash of each of its `parts` (JSON data, job-file key -> value)."""
    named = (f"{name}={_hash(value, PART_BYTES)}" for name, value in sorted(parts.items()))
    return " ".join((_hash(whole, 8), *named))


def short(fingerprint: str) -> str:
    """The hash of everything: 16 hex digits."""
    return fingerprint.partition(" ")[0]


def differences(old: str, new: str) -> list[str] | None:
    """The job-file keys by which two fingerprints differ: `[]` if they mean the same, None if they do not tell."""
    if short(old) == short(new):
        return []
    before, after = _parts(old), _parts(new)
    if not before or not after:  # an old fingerprint: one hash, without parts
        return None
    return [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)] or None


def edited(old: str, new: str) -> str | None:
    """Words the edit of a job whose state was made with `old`: "window and sample were edited"; None if nothing was."""
    keys = differences(old, new)
    if keys == []:
        return None
    if keys is None:
        return "its streams, key, window, fields, label or partitions were edited"
    return f"{', '.join(keys[:-1])} and {keys[-1]} were edited" if len(keys) > 1 else f"{keys[0]} was edited"


def _parts(fingerprint: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in fingerprint.split(" ")[1:])
    return {name: value for name, _, value in pairs}


def _hash(value: Value, size_bytes: int) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=size_bytes).hexdigest()
