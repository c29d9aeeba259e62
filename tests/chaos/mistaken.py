"""A worker with one protection switched off: `python -m tests.chaos.mistaken MISTAKE -A samplejoin worker -l info`."""

from __future__ import annotations

import sys

from tests.chaos.mistakes import MISTAKES


def command(mistake: str) -> tuple[str, ...]:
    """The command that runs such a worker."""
    return (sys.executable, "-m", "tests.chaos.mistaken", mistake, "-A", "samplejoin", "worker", "-l", "info")


if __name__ == "__main__":
    from faust.cli.faust import cli

    MISTAKES[sys.argv.pop(1)]()
    cli(prog_name="faust")
