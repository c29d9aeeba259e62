"""`samplejoin version`: prints the versions that run here."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

import samplejoin

PARTS = ("faust-streaming", "aiokafka", "rocksdict")


@click.command()
def version() -> None:
    """Print the version, and those of the main dependencies, for a bug report."""
    click.echo(f"samplejoin {samplejoin.__version__}")
    click.echo(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PARTS:
        click.echo(f"{name} {_version(name)}")


def _version(name: str) -> str:
    try:
        return version_of(name)
    except PackageNotFoundError:
        return "is not installed"
