"""`samplejoin schema`: prints the JSON Schema of job files."""

from __future__ import annotations

import json

import click

from samplejoin.job.schema import job_schema


@click.command()
def schema() -> None:
    """Print the JSON Schema of job files, for editors: samplejoin schema > job.schema.json"""
    click.echo(json.dumps(job_schema(), indent=2))
