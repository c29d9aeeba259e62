"""`python -m tests.chaos --seed N --rounds M --events-per-round E`: the chaos run. Needs Java and Kafka's jars."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from tests.chaos import report
from tests.chaos.faults import FAULTS
from tests.chaos.run import run
from tests.chaos.script import Script, draw
from tests.integration.support import Worker
from tests.support.server import KafkaUnavailableError


def main() -> int:
    """0 if every round was right, 1 if one was not, 2 if there is no Kafka to run on."""
    options = _options()
    root = Path(options.out or f"build/chaos-{options.seed}")
    if options.lanes > 1:
        return _lanes(options.lanes, root)
    last = options.first + options.rounds
    numbers = [options.only] if options.only is not None else range(options.first + options.lane, last, options.step)
    faults = [name for name in options.faults.split(",") if name]
    scripts: list[Script] = [
        draw(
            options.seed, number, events=options.events_per_round, faults=faults, brokers=options.brokers,
            away_s=options.away, events_per_second=options.rate,
        )
        for number in numbers
    ]  # fmt: skip
    done = {(line["seed"], line["round"]) for line in report.rounds_of(root / "report.jsonl")}
    scripts = [script for script in scripts if (script.seed, script.number) not in done]
    red = 0
    try:
        for result in run(
            scripts,
            root,
            minutes=options.minutes,
            repeat=_repeat(options),
            command=shlex.split(options.worker),
            with_verify=not options.oracle_only,
        ):
            red += result.red
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    except KafkaUnavailableError as error:
        print(error, file=sys.stderr)
        return 2
    text = report.table(report.rounds_of(root / "report.jsonl"))
    (root / "summary.md").write_text(text)
    print(text)
    return 1 if red else 0


def _lanes(count: int, root: Path) -> int:
    """The rounds dealt to several processes, each with brokers of its own; one report of them all."""
    lanes = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.chaos",
                *sys.argv[1:],
                "--lanes=1",
                f"--step={count}",
                f"--lane={lane}",
                f"--out={root}/lane-{lane}",
            ]
        )
        for lane in range(count)
    ]
    try:
        codes = [lane.wait() for lane in lanes]
    except KeyboardInterrupt:
        codes = [lane.wait() for lane in lanes]
    text = report.table([line for path in sorted(root.glob("lane-*/report.jsonl")) for line in report.rounds_of(path)])
    (root / "summary.md").write_text(text)
    print(text)
    return max(codes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--lanes", type=int, default=1, help="processes that share the rounds, each with own brokers")
    parser.add_argument("--lane", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--step", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--only", type=int, help="this round and no other")
    parser.add_argument("--events-per-round", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=18_000, help="events per second")
    parser.add_argument("--faults", default="", help=f"only these, by commas: {', '.join(FAULTS)}; or none")
    parser.add_argument("--brokers", type=int, choices=(1, 3), help="in every round")
    parser.add_argument("--away", type=float, default=12.0, help="seconds that all brokers are away")
    parser.add_argument("--minutes", type=float, help="start no round after so long")
    parser.add_argument("--oracle-only", action="store_true", help="do not ask `samplejoin verify` too")
    parser.add_argument("--worker", default=shlex.join(Worker.command), help="the command that runs a worker")
    parser.add_argument("--out", help="folder of the report; one that is there is gone on with")
    return parser.parse_args()


def _repeat(options: argparse.Namespace) -> str:
    """The command that draws the same rounds again."""
    words = [
        f"python -m tests.chaos --seed {options.seed} --events-per-round {options.events_per_round}",
        f"--rate {options.rate} --away {options.away}",
    ]
    if options.faults:
        words.append(f"--faults {options.faults}")
    if options.brokers:
        words.append(f"--brokers {options.brokers}")
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
