"""`samplejoin check` shows the mistakes of a job file in one go, and none that only follows from another."""

from __future__ import annotations

import re
import textwrap

import pytest
from click.testing import CliRunner

from samplejoin.cli import main
from tests.job.helpers import TEXT, write

MANY = """\
name: feed
streams:
  show: {role: anchor, topic: shows, time: ts, clean: "functions:clean_shw"}
  click: {role: label, topic: a, topics: [b], time: ts}
  like: {role: label, time: ts, clean: "functions:clean_like"}
key: [uid]
window: 20
sample:
  score: shows.score
  clicks: {from: click, agg: cuont}
  likes: {from: like, agg: count}
label: clicks || likes
"""
FUNCTIONS = "def clean_show(record):\n    return record\n\ndef clean_like(record):\n    return record\n"


def problems(folder, text):
    (folder / "functions.py").write_text(FUNCTIONS)
    result = CliRunner().invoke(main, ["check", str(write(folder, text)), "--no-broker"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    *found, last = result.output.splitlines()
    assert last.endswith(f": {len(found)} problem{'s' if len(found) > 1 else ''}"), result.output
    return [re.sub(r"^\S+:(\d+): ", r"\1 ", line) for line in found]


def test_mistakes_of_every_kind_are_shown_at_once(tmp_path):
    shown = problems(tmp_path, MANY)
    expected = [
        "3 streams.show.clean: functions:clean_shw",
        "4 streams.click: has topic and topics",
        "5 streams.like: has no topic",
        "7 window: 20 has no unit",
        "9 sample.score.from: no stream is called 'shows'",
        "10 sample.clicks.agg: 'cuont' is not an aggregate",
        "12 label: 'clicks || likes' is not a valid expression",
    ]
    assert len(shown) == len(expected), shown
    assert all(line.startswith(start) for line, start in zip(shown, expected, strict=True)), shown


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("role: label", "role: lable"),
        ("topic: clk", "topicc: clk"),
        ("    time: ts", "    tiem: ts"),
        ("window: 20m", "windo: 20m"),
        ("key: [uid, mid]", "key: [uid, '.']\nlabel: mid == 1"),
        ("clicks: {from: click, agg: count}", "clicks: {from: click, agg: cuont}\nlabel: clicks > 0"),
        ("clicks: {from: click, agg: count}", "9clicks: {from: click, agg: count}"),
        ("sample:", "samples:"),
        ("name: feed", "name: feed\nlate: correct\ncorrecton: 1h"),
        ("topic: clk", "topic: clk\n    decode: cvs\n    columns: [uid, mid, ts]"),
        ("streams:", "stream:"),
    ],
)
def test_what_only_follows_from_a_mistake_is_not_shown(tmp_path, old, new):
    text = TEXT.replace(old, new)
    assert text != TEXT
    with_key_names = {"windo: 20m": 2, "samples:": 2, "stream:": 2}
    count = next((n for start, n in with_key_names.items() if start in textwrap.dedent(new)), 1)
    assert len(problems(tmp_path, text)) == count
