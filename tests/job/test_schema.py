"""The JSON Schema, and the page made of it."""

from __future__ import annotations

from pathlib import Path

from samplejoin.job.model import JobModel
from samplejoin.job.reference import job_reference
from samplejoin.job.schema import job_schema

PAGE = Path(__file__).parents[2] / "docs" / "job-file.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == job_reference(), "run `make docs`"


def test_every_key_is_described():
    schema = job_schema()
    for name, part in {"job": schema, **schema["$defs"]}.items():
        assert part["description"], name
        for key, value in part["properties"].items():
            assert value.get("description"), f"{name}.{key}"


def test_the_schema_speaks_as_the_file_does():
    schema = job_schema()
    properties = schema["properties"]
    assert set(schema["required"]) == {"name", "streams", "key", "window", "sample"}
    assert schema["additionalProperties"] is False
    assert not any(key.endswith("_ms") for key in properties)
    assert properties["lateness"]["default"] == "30s"
    assert schema["$defs"]["StreamSection"]["properties"]["lateness"]["default"] is None
    assert schema["$defs"]["Limits"]["properties"]["row"]["default"] == "512KiB"
    assert set(properties) == {field.alias or name for name, field in JobModel.model_fields.items()}
