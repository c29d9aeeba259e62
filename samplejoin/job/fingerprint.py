"""The job's fingerprint: all keys that change the join's meaning, without tuning and generation."""

from __future__ import annotations

from samplejoin.core.fingerprint import compose
from samplejoin.core.values import Fields
from samplejoin.job.model import JobModel

PLAIN = {
    "name",
    "key",
    "junk_keys",
    "window_ms",
    "before_ms",
    "resolution_ms",
    "repeat",
    "attribution",
    "late",
    "correction_ms",
    "clock",
    "label",
    "keep_negatives",
    "format",
    "partitions",
}


def fingerprint_of(model: JobModel) -> str:
    """Returns the fingerprint of a job with resolved patterns: about 300 bytes, the same on every machine."""
    data: Fields = model.model_dump(mode="json", include=PLAIN)
    data["rows"], data["key_bytes"] = model.limits.rows, model.limits.key_bytes
    data["streams"] = [
        [name, s.role, s.pattern or sorted(s.topic_names), s.decode, s.columns, s.time_field, s.time_unit, s.id]
        + ([s.delimiter] if s.delimiter != "," else [])
        for name, s in model.streams.items()
    ]
    data["sample"] = [[name, f.source, f.agg or "first"] for name, f in model.sample.items()]
    parts = {_job_key(name): value for name, value in data.items()}
    parts["streams"] = list(model.streams)
    parts |= {f"streams.{stream[0]}": stream for stream in data["streams"]}
    return compose(parts, data)


def _job_key(name: str) -> str:
    """Returns the key of the job file for a name of the model."""
    limits = {"rows": "limits.rows", "key_bytes": "limits.key"}
    return limits.get(name) or name.removesuffix("_ms")
