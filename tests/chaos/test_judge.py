"""The judge passes a correct set of outputs, and fails the round for each single error in it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from samplejoin.core.spec import Spec
from samplejoin.job.compile import compile_job
from samplejoin.job.load import load_job
from tests.chaos import jobs
from tests.chaos.judge import Outputs, Truth, Verdict, judge, truth_of
from tests.chaos.load import Load
from tests.chaos.verified import WRONG, disagreement
from tests.core.oracle import join
from tests.support.kafka import Record

NAME = "judged"
LOAD = Load("judge", 40, 30, (3, 2, 1), 20_000, 2000, 5000, True, True, 0.02, 0.02, 1, False)


def outputs_for(spec: Spec, known: Truth) -> Outputs:
    """What a worker writes for which every row marked late was late: to the late topic, and in no sample."""
    found = Outputs([], [], [], [])
    for key in sorted(known.rows.keys() | known.late.keys()):
        samples, orphans = join(spec, known.rows.get(key, []))
        for id_, (_, payload, weight) in samples.items():
            headers = {"sample_id": id_, "revision": "0", "complete": "true", "truncated": "false", "weight": weight}
            found.samples.append(record(key, payload, headers))
        found.orphan += [side("orphan", row) for row in orphans]
    assert found.late is not None
    found.late += [side("late", row) for rows in known.late.values() for row in rows]
    for source, reason in sorted(known.dead):
        found.dead_letter.append(record(b"", b"", {"samplejoin.source": source, "samplejoin.reason": reason}))
    return found


def side(kind, row) -> Record:
    body = {"kind": kind, "stream": row.stream, "slice_ms": row.time // 1000 * 1000, "rows": 1, "at": row.place}
    return record(row.key, json.dumps(body).encode(), {})


def record(key: bytes, value: bytes, headers: dict[str, object]) -> Record:
    return Record("", 0, 0, 0, key, value, {name: str(text).encode() for name, text in headers.items()})


@pytest.fixture(scope="module", params=["merge", "each"])
def scene(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("judge")
    variant = replace(
        jobs.draw(random.Random(1), 1), repeat=request.param, attribution="last", late="topic", ids=True,
        inputs=(3, 2, 1), window_s=20, before_s=2, lateness_s=5, keep_negatives=0.5,
    )  # fmt: skip
    spec = compile_job(load_job(jobs.write(variant, NAME, "localhost:9092", 1, root), environ={}), root).spec
    known = truth_of(LOAD, NAME)
    assert known.late, "a judge of late rows needs some"
    return spec, known, outputs_for(spec, known)


def test_right_outputs_pass(scene):
    spec, known, outputs = scene
    verdict = judge(spec, known, outputs, exactly_once=True, calm=True)
    assert not verdict.red, verdict.examples
    assert verdict.expected == verdict.checked == len(outputs.samples) > 500


def with_header(record: Record, name: str, value: str) -> Record:
    return record._replace(headers={**record.headers, name: value.encode()})


def other_value(record: Record) -> Record:
    body = json.loads(record.value or b"")
    return record._replace(value=json.dumps({**body, "clicks": body["clicks"] + 1}, separators=(",", ":")).encode())


def late_of(outputs: Outputs) -> list[Record]:
    assert outputs.late is not None
    return outputs.late


Change = Callable[[Outputs], object]
PLANTED: dict[str, tuple[str, Change]] = {
    "a sample removed": ("lost", lambda o: o.samples.pop(7)),
    "a sample twice": ("doubled", lambda o: o.samples.append(o.samples[7])),
    "a click too many": ("wrong", lambda o: o.samples.append(other_value(o.samples.pop(7)))),
    "another weight": ("wrong", lambda o: o.samples.append(with_header(o.samples.pop(7), "weight", "7.0"))),
    "an incomplete sample": ("wrong", lambda o: o.samples.append(with_header(o.samples.pop(7), "complete", "false:x"))),
    "a revision of nothing": ("wrong", lambda o: o.samples.append(with_header(o.samples.pop(7), "revision", "1"))),
    "a sample of nobody": ("wrong", lambda o: o.samples.append(o.samples[7]._replace(key=b'["nobody",0]'))),
    "an orphan removed": ("orphans_wrong", lambda o: o.orphan.pop()),
    "an orphan twice": ("orphans_wrong", lambda o: o.orphan.append(o.orphan[0])),
    "late rows removed, and not in their samples": ("lost or wrong", lambda o: late_of(o).clear()),
    "a late row twice": ("doubled", lambda o: late_of(o).append(late_of(o)[0])),
    "a row called late that is not": ("wrongly_late", lambda o: late_of(o).append(o.orphan[0])),
    "a dead letter removed": ("letters_missing", lambda o: o.dead_letter.pop()),
    "a dead letter twice": ("doubled", lambda o: o.dead_letter.append(o.dead_letter[0])),
    "a dead letter of a good record": (
        "letters_unexpected",
        lambda o: o.dead_letter.append(with_header(o.dead_letter[0], "samplejoin.source", "judged-click/0/0")),
    ),
}


@pytest.mark.rule(16)
@pytest.mark.parametrize("planted", PLANTED)
def test_a_single_thing_wrong_turns_the_round_red(scene, planted):
    spec, known, right = scene
    kinds, change = PLANTED[planted]
    outputs = Outputs(list(right.samples), list(right.orphan), list(right.dead_letter), list(right.late))
    change(outputs)
    verdict = judge(spec, known, outputs, exactly_once=True, calm=True)
    assert verdict.red
    assert any(getattr(verdict, kind) for kind in kinds.split(" or ")), verdict


@pytest.mark.rule(6)
def test_at_least_once_may_repeat_but_not_differ(scene):
    spec, known, right = scene
    again = Outputs([*right.samples, right.samples[3]], [*right.orphan, right.orphan[0]], right.dead_letter, right.late)
    verdict = judge(spec, known, again, exactly_once=False)
    assert not verdict.red
    assert verdict.repeats == 2
    again.samples[-1] = other_value(again.samples[-1])
    assert judge(spec, known, again, exactly_once=False).wrong == 1


@pytest.mark.rule(5)
def test_without_a_late_topic_each_combination_of_late_rows_will_do_but_nothing_else(scene):
    spec, known, right = scene
    outputs = Outputs(right.samples, right.orphan, right.dead_letter, None)
    verdict = judge(spec, known, outputs, exactly_once=True)
    assert not verdict.red
    assert verdict.lenient_keys == len(known.late)
    place = next(n for n, sample in enumerate(outputs.samples) if sample.key in known.late)
    outputs.samples[place] = other_value(other_value(outputs.samples[place]))
    assert judge(spec, known, outputs, exactly_once=True).red


def report(**changes: object) -> dict[str, object]:
    """What `samplejoin verify` says of a right round of 100 samples, but for the changes."""
    names = ("lost", "doubled", *WRONG, "unexplained", "exempt", "open", "repeats")
    right = dict.fromkeys(names, 0) | {"windows": 100, "samples": 100, "right": 100, "ok": True, "verdict": "right"}
    letters = {"missing": 0, "unexpected": 0, "doubled": 0}
    return {**right, "letters": letters, "orphans": None, "late": None, "errors": [], "read": {"seconds": 1}, **changes}


@pytest.mark.rule(6)
@pytest.mark.parametrize(
    ("changes", "agree"),
    [
        ({}, True),
        ({"lost": 1, "ok": False}, False),
        ({"wrong_label": 1, "ok": False}, False),
        ({"open": 1}, False),  # after the round nothing may be open
        ({"ok": False}, False),
        ({"samples": 99}, False),
        ({"orphans": {"missing": 1, "unexplained": 0}, "ok": False}, False),
    ],
)
def test_both_judges_must_be_of_one_opinion(changes, agree):
    verdict = Verdict(expected=100, checked=100)
    assert (disagreement(verdict, report(**changes)) == "") is agree
    verdict.lost = 1
    assert (disagreement(verdict, report(lost=1, ok=False)) == "") is True
    assert disagreement(verdict, report()) != ""
