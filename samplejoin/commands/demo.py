"""`samplejoin demo`: joins real events into labelled samples and shows the progress."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from samplejoin.demo.data import EXAMPLES
from samplejoin.demo.errors import DemoError
from samplejoin.demo.run import run_demo

STOPPED = 130
WIDTH = 120


def _number(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if math.isnan(value):
        raise click.BadParameter("nan is not a number")  # FloatRange accepts it
    return value


@click.command()
@click.option("--brokers", metavar="HOST:PORT", help="A Kafka that runs already. Default: a broker inside the demo.")
@click.option("--job", type=click.Choice([*EXAMPLES, "all"]), default="all", help="Which example. Default: both.")
@click.option(
    "--seconds",
    type=click.FloatRange(3, 3600),
    callback=_number,
    default=30,
    help="How long the replay takes. Default: 30.",
)
@click.option(
    "--samples",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Also write all finished samples to this file, as JSON lines.",
)
def demo(brokers: str | None, job: str, seconds: float, samples: Path | None) -> None:
    """Join real events into labelled samples, with a real worker; ends by itself within a minute."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    examples = list(EXAMPLES.values()) if job == "all" else [EXAMPLES[job]]
    try:
        run_demo(examples, brokers, seconds, samples, _console())
    except DemoError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        click.echo("stopped; nothing is left running", err=True)
        raise SystemExit(STOPPED) from None


def _console() -> Console:
    """Returns a console on standard output, `WIDTH` wide for a file or pipe, which has no width of its own."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Ends the demo on SIGTERM and on a closed terminal as on Ctrl-C."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    demo(prog_name="samplejoin demo")
