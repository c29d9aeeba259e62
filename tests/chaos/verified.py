"""The second judge: `samplejoin verify`, as users run it. It must agree with the oracle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from samplejoin.cli import COMMANDS
from tests.chaos.judge import Verdict

TIMEOUT_S = 600
VERIFY = [sys.executable, "-c", "from samplejoin.cli import main; main()", "verify"]
WRONG = ("wrong_label", "wrong_field", "wrong_weight")


def verify(job_file: Path) -> dict[str, Any]:
    """What `samplejoin verify JOB -o json` says; empty where this version has no such command.

    Raises RuntimeError if it verified nothing.
    """
    if "verify" not in COMMANDS:
        return {}
    command = [*VERIFY, str(job_file), "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode not in (0, 1) or not done.stdout.startswith("{"):
        raise RuntimeError(f"samplejoin verify ended with status {done.returncode}: {done.stderr.strip()[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """What of it goes into the report of a round."""
    names = ("ok", "windows", "samples", "right", "lost", "doubled", *WRONG, "unexplained", "exempt", "open", "repeats")
    return {name: report[name] for name in names if name in report} | {"seconds": report["read"]["seconds"]}


def verdict_of(report: dict[str, Any]) -> Verdict:
    """Its opinion as a verdict, for a round that is too large for the oracle."""
    letters, orphans, late = report["letters"], report["orphans"] or {}, report["late"] or {}
    found = Verdict(
        expected=report["windows"],
        checked=report["samples"],
        lost=report["lost"] + report["open"],  # the round is over: nothing may be open
        doubled=report["doubled"],
        wrong=sum(report[name] for name in WRONG) + report["unexplained"],
        wrongly_late=late.get("unexplained", 0),
        orphans_wrong=orphans.get("missing", 0) + orphans.get("unexplained", 0),
        letters_missing=letters["missing"],
        letters_unexpected=letters["unexpected"] + letters["doubled"],
        repeats=report["repeats"],
        lenient_keys=report["exempt"],
    )
    found.examples = [json.dumps(error)[:1000] for error in report["errors"][:5]]
    return found


def disagreement(verdict: Verdict, report: dict[str, Any]) -> str:
    """Where the two judges differ, "" if they do not: in whether all is right, and if so in how many samples."""
    other = verdict_of(report)
    same = other.red == verdict.red == (not report["ok"])
    if same and (verdict.red or other.checked == verdict.checked):
        return ""
    return f"the oracle and samplejoin verify disagree: {verdict.as_dict()} and {figures(report)}, {report['verdict']}"
