"""Generates docs/job-file.md from the model, so that the two always agree."""

from __future__ import annotations

import json

from samplejoin.core.values import Fields
from samplejoin.job.schema import job_schema

_SECTIONS = (
    ("StreamSection", "streams.NAME"),
    ("SampleField", "sample.FIELD"),
    ("Outputs", "outputs"),
    ("Output", "outputs.NAME"),
    ("Security", "security"),
    ("Limits", "limits"),
)
_TYPES = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}

_INTRODUCTION = """# The job file

<!-- Generated from samplejoin/job/model.py by `make docs`; do not edit. -->

One YAML file describes a job. `samplejoin check job.yaml` finds mistakes in it, with line and hint;
`samplejoin schema` prints its JSON Schema for editors. Durations are written as `20m`, `1h30m` or `500ms` (units `d`,
`h`, `m`, `s`, `ms`), sizes as `512KiB` or `64MiB`. YAML is read as version 1.2: `yes`, `no`, `on` and `off` are text.

**Precedence.** Command line (`--set streams.click.topic=clicks`) over environment (`SAMPLEJOIN_STREAMS__CLICK__TOPIC`,
with `__` between levels) over file over default. A list is set as a whole: `--set 'key=[uid, mid]'`.

**References.** `${env:NAME}` and `${file:path}` stand for the value of an environment variable or the content of a
file (without its last line end; relative to the job file) anywhere in text; `$${` is a plain `${`. Inside `{...}` and
`[...]` they must be quoted: `{password: "${env:KAFKA_PASSWORD}"}`. A password must be a reference, or be set in the
environment (`SAMPLEJOIN_SECURITY__PASSWORD`). Values that are code or name a field cannot have references, because
errors of records quote them: `key`, `junk_keys`, `sample`, `label`, `format`, and a stream's `decode`, `columns`,
`delimiter`, `clean`, `time`, `time_unit` and `id`. Problems with a job show the reference, never its value. A value of
fewer than six characters is masked only in messages about its own key, because other messages may contain the same
word by chance. A running worker, and commands that work on topics, show the names of the job, its topics, brokers and
directories unmasked.

**Names of fields** in `key`, `id`, `time` and `from` are paths: `ctx.position` is `position` in the object `ctx`. A
backslash makes a dot, an `@` or a backslash part of the name, as in `'item\\.id'`.

**Functions** are named `module:function`. A module is looked up in the job file's directory first.

**Labels** are written as an expression over the key and the sample's fields, with constants, comparisons, `and`, `or`,
`not`, `+ - * / // %`, `in`, `a if b else c`, `len`, `min`, `max` and `abs`; true and false become 1 and 0. A field of a
label stream is null where no row joined (`count` is 0, `any` is false, `sum` is 0, `list` is empty).
"""


def job_reference() -> str:
    """Returns the page as Markdown."""
    schema = job_schema()
    parts = [_INTRODUCTION, "## Top level\n", schema["description"] + "\n", _table(schema)]
    for name, title in _SECTIONS:
        part = schema["$defs"][name]
        parts += [f"## `{title}`\n", part["description"] + "\n", _table(part)]
    return "\n".join(parts).rstrip() + "\n"


def _table(part: Fields) -> str:
    rows = ["| key | type | default | |", "|---|---|---|---|"]
    required = part.get("required", ())
    for key, value in part["properties"].items():
        default = "**required**" if key in required else _default(value)
        cells = (f"`{key}`", _type(value), default, value.get("description", ""))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(value: Fields) -> str:
    default = value.get("default")
    if default is None or default == {}:
        return ""
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


def _type(value: Fields) -> str:
    choices = value.get("anyOf") or value.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(_type(c) for c in choices if c.get("type") != "null"))
    if "$ref" in value:
        title = dict(_SECTIONS)[value["$ref"].rpartition("/")[2]]
        return f"[{title}](#{''.join(c for c in title.lower() if c.isalnum())})"
    if "enum" in value:
        return ", ".join(f"`{choice}`" for choice in value["enum"])
    if "x-unit" in value:
        return str(value["x-unit"])
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}"
    if value.get("type") == "object":
        return f"mapping of names to {_type(value['additionalProperties'])}"
    return _TYPES[value["type"]] + _bounds(value)


def _bounds(value: Fields) -> str:
    low = value.get("minimum", value.get("exclusiveMinimum"))
    high = value.get("maximum", value.get("exclusiveMaximum"))
    if value["type"] == "string" or low is None:
        return ""
    above = "over " if "exclusiveMinimum" in value else "from "
    return f", {above}{low}" + (f" to {high}" if high is not None else "")
