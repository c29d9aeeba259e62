"""`samplejoin init NAME`: creates a small project that runs."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import click

from samplejoin.errors import RefusedError
from samplejoin.job.model import job_name
from samplejoin.job.schema import job_schema

SUFFIX = ".tmpl"


@click.command()
@click.argument("name")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="The folder for NAME/.")
def init(name: str, into: Path) -> None:
    """Make a project NAME/ with a job file, functions, a test, sample records and a Kafka to try it on."""
    try:
        job_name(name)
    except RefusedError as error:
        raise click.BadParameter(f"{error} ({error.hint})", param_hint="NAME") from None
    if not name[0].isalnum():
        raise click.BadParameter(f"{name!r} does not begin with a letter or digit", param_hint="NAME")
    target = into / name
    try:
        target.mkdir(parents=True)
        for file, text in project_files(name).items():
            (target / file).write_text(text, encoding="utf-8")
    except FileExistsError:
        raise click.ClickException(f"{target} exists already; nothing was written") from None
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror}") from error
    click.echo(f"{target}/ is ready. Next: cd {target} && samplejoin check job.yaml --records records.jsonl")


def project_files(name: str) -> dict[str, str]:
    """Returns file name -> content of a new project."""
    folder = files("samplejoin") / "templates" / "init"
    made = {
        template.name.removesuffix(SUFFIX): template.read_text(encoding="utf-8").replace("@NAME@", name)
        for template in folder.iterdir()
        if template.name.endswith(SUFFIX)
    }
    return {**made, "job.schema.json": json.dumps(job_schema(), indent=2) + "\n"}
