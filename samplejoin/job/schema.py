"""The job file's JSON Schema, for completion and checks in editors."""

from __future__ import annotations

from samplejoin.core.values import Fields
from samplejoin.job.model import JobModel
from samplejoin.job.units import format_duration, format_size

_WRITTEN = {"duration": format_duration, "size": format_size}


def job_schema() -> Fields:
    """Returns the JSON Schema (draft 2020-12) of a job file."""
    schema = JobModel.model_json_schema(by_alias=True, mode="validation")
    _tidy(schema)
    for part in schema.get("$defs", {}).values():
        _tidy(part)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "samplejoin job"}


def _tidy(part: Fields) -> None:
    """Writes defaults with their unit; removes defaults of whole sections, and generated titles."""
    part.pop("title", None)
    for value in part.get("properties", {}).values():
        value.pop("title", None)
        unit = _unit(value)
        if unit and isinstance(value.get("default"), int):
            value["default"] = _WRITTEN[unit](value["default"])
        if isinstance(value.get("default"), dict):
            del value["default"]


def _unit(value: Fields) -> str | None:
    units = [v.get("x-unit") for v in (value, *value.get("anyOf", ()))]
    return next((unit for unit in units if unit), None)
