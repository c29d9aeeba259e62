"""`check --records`: what the worker would make of the records, and what they say about the job."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from samplejoin.commands.check import check
from samplejoin.job.compile import compile_job
from samplejoin.job.load import model_of
from samplejoin.offline.asked_fields import AskedFields, plain
from samplejoin.offline.run import InputRecord, run_offline
from samplejoin.offline.trial import Trial
from samplejoin.testing import JobTest
from tests.job.helpers import job_data, write

NOW = 1_735_689_600_000
CLEAN, ASKING = "tests.cli.rows:clean", "tests.cli.rows:asking"


def trial_of(**changes: Any) -> Trial:
    return Trial(compile_job(model_of(job_data(**changes), environ={}), "."), now_ms=NOW)


def line(stream: str, record: Any, **more: Any) -> str:
    return json.dumps({"stream": stream, "record": record, **more})


def row(**values: Any) -> dict[str, Any]:
    return {"uid": "u", "mid": 1, "ts": NOW, "pos": 1, **values}


def checked(tmp_path: Any, job: dict[str, Any], *lines: str, strict: bool = False) -> tuple[int, str]:
    (tmp_path / "records.jsonl").write_text("\n".join(lines))
    path = write(tmp_path, json.dumps(job, indent=1))
    options = ["--no-broker", "--records", str(tmp_path / "records.jsonl"), *["--strict"] * strict]
    done = CliRunner().invoke(check, [str(path), *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


# ---- as the worker does it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "record", "says", "samples"),
    [
        ({"limits": {"row": "1KiB"}}, row(pos="x" * 5000), "over limits.row (1024 bytes)", 0),
        ({"limits": {"sample": "1KiB"}}, row(pos="x" * 5000), "over limits.sample (1024 bytes)", 0),
        ({"start": "2026-01-01T00:00:00Z"}, row(), "left out: before start", 0),
        ({"until": "2024-01-01T00:00:00Z"}, row(), "left out: after until", 0),
        ({}, row(), '"uid": "u"', 1),
    ],
)
def test_limits_start_and_until_are_the_workers(tmp_path, changes, record, says, samples):
    code, output = checked(tmp_path, job_data(**changes), line("impression", record, timestamp=NOW))
    assert says in output
    assert output.count("sample: {") == samples
    assert code == int("limits" in changes)


@pytest.mark.rule(12)
def test_samples_that_fail_alike_are_one_problem(tmp_path):
    records = [line("impression", row(uid=f"u{n}")) for n in range(20)]
    code, output = checked(tmp_path, job_data(label="uid + 1"), *records)
    assert code == 1
    assert 'label: fails for ["u0", 1] and 19 other samples: TypeError: uid + 1: arithmetic is for numbers' in output
    assert "Traceback" not in output


@pytest.mark.rule(14)
def test_negatives_that_are_not_kept_are_said(tmp_path):
    records = [line("impression", row(uid=f"u{n}")) for n in range(20)]
    code, output = checked(tmp_path, job_data(keep_negatives=0.01), *records)
    assert code == 0
    assert "note: 20 samples not shown: negatives that keep_negatives leaves out" in output


@pytest.mark.rule(12)
def test_of_a_function_that_fails_its_own_frames_are_shown(tmp_path):
    (tmp_path / "labels.py").write_text("def label(sample):\n    return sample['clicked']\n")
    code, output = checked(tmp_path, job_data(label="labels:label"), line("impression", row()))
    assert code == 1
    assert "return sample['clicked']" in output
    assert "samplejoin/core" not in output


RECORDS = st.lists(
    st.tuples(
        st.sampled_from(["impression", "click"]),
        st.fixed_dictionaries(
            {"uid": st.sampled_from(["u", "v", "", 1]), "mid": st.sampled_from([1, None])},
            optional={
                "ts": st.integers(NOW - 90_000, NOW + 90_000) | st.sampled_from([None, "x", NOW // 1000]),
                "pos": st.integers(0, 3) | st.text("ab", min_size=1, max_size=2),
                "do": st.sampled_from(["none", "empty", "twice", "late", "raise", "large", "text"]),
            },
        ),
        st.sampled_from([NOW, NOW - 1000, 0, -1]),
    ),
    max_size=8,
)
JOBS = st.fixed_dictionaries(
    {"streams__impression__clean": st.sampled_from([CLEAN, None]), "streams__click__clean": st.just(CLEAN)},
    optional={
        "streams__click__topic": st.sampled_from(["imp"]),
        "streams__click__id": st.just("pos"),
        "window": st.sampled_from(["1m", "20s"]),
        "before": st.sampled_from(["10s"]),
        "start": st.just("2024-12-31T23:59:00Z"),
        "until": st.just("2025-01-01T00:00:30Z"),
        "repeat": st.just("each"),
        "limits": st.sampled_from([{"row": "1KiB"}, {"sample": "64B"}]),
    },
)


@pytest.mark.rule(6, 9, 10, 12, 13)
@settings(max_examples=60, deadline=None)
@given(changes=JOBS, records=RECORDS)
def test_a_trial_is_the_workers_own_way(changes, records):
    """The same samples, orphans, dead letters and counts as a run of the job; and as the offline pass."""
    job = compile_job(model_of(job_data(**changes), environ={}), ".")
    trial, kit = Trial(job, now_ms=NOW), JobTest(job, now=NOW)
    inputs, ends = [], {"imp": 0, "clk": 0}
    tried = []
    for number, (stream, record, stamp) in enumerate(records):
        tried += trial.record(number, line(stream, record, timestamp=stamp))
        kit.send(stream, record, timestamp_ms=stamp)
        topic = job.model.streams[stream].topic_names[0]
        inputs.append(InputRecord(topic, 0, ends[topic], stamp, json.dumps(record).encode()))
        ends[topic] += 1
    assert trial.finish() == kit.finish()
    assert [s.value for s in trial.samples] == [s.value for s in kit.samples]
    assert trial.orphans == kit.orphans
    assert trial.counts == kit.counts
    assert [(d.reason, d.error) for d in trial.dead_letters] == [(d.reason, d.error) for d in kit.dead_letters]
    out, dead = run_offline(job, inputs, now_ms=NOW)
    assert sorted(s.payload for s in out.samples) == sorted(s.value for s in trial.samples)
    events = {key[1:]: count for key, count in trial.counts.items() if key[0] == "events"}
    ok = sum(not why for each in tried for why in each.dropped if each.error is None or not each.rows)
    assert ok <= sum(count for (_, outcome), count in events.items() if outcome in ("ok", "dead_row", "junk_key"))
    assert len(dead) == len({(d.stream, d.source) for d in trial.dead_letters if d.source})


def test_every_stream_of_a_topic_answers():
    tried = trial_of(streams__click__topic="imp").record(1, line("click", row()))
    assert [(each.stream, each.times) for each in tried] == [
        ("impression", ["2025-01-01T00:00:00.000Z"]),
        ("click", ["2025-01-01T00:00:00.000Z"]),
    ]


def test_the_time_shown_is_the_rows():
    trial = trial_of(streams__click__clean=CLEAN)
    (tried,) = trial.record(1, line("click", row(do="late")))
    assert tried.times == ["2024-12-31T23:59:30.000Z"]


@pytest.mark.rule(13)
@pytest.mark.parametrize("record", [row(do="none"), row(do="empty"), None])
def test_what_gives_no_row_is_filtered(record):
    (tried,) = trial_of(streams__click__clean=CLEAN).record(1, line("click", record))
    assert (tried.filtered, tried.rows, tried.error) == (True, [], None)


# ---- what the records say about the job -----------------------------------------------------------------------------


def test_a_field_that_no_row_carries_is_named_with_its_line(tmp_path):
    job = job_data(sample__pos="impression.positon", sample__x="impression.ctx.colour", sample__never="impression.zzz")
    record = row(position=3, ctx={"color": "red"})
    code, output = checked(tmp_path, job, line("impression", record))
    assert code == 1
    assert "job.yaml:21: sample.pos.from: no row of impression carries positon; they carry uid, mid" in output
    assert "(hint: did you mean 'position'?)" in output
    assert "sample.x.from: no row of impression carries ctx.colour" in output
    assert "(hint: did you mean 'ctx.color'?)" in output
    assert "warning: " in output
    assert "sample.never.from: no row of impression carries zzz" in output
    assert code == 1


def test_a_field_that_some_row_carries_or_none_could_is_no_matter(tmp_path):
    job = job_data(sample__dwell={"from": "click.dwell", "agg": "sum"})
    code, output = checked(tmp_path, job, line("impression", row()), line("impression", row(mid=2)))
    assert (code, "carries" in output) == (0, False)
    code, output = checked(tmp_path, job, line("impression", row()), line("click", row()), line("click", row(dwell=1)))
    assert (code, "carries" in output) == (0, False)


def test_an_id_that_no_row_carries_is_named(tmp_path):
    _, output = checked(tmp_path, job_data(streams__click__id="event"), line("click", row(event_id=1)))
    assert "streams.click.id: no row of click carries event; they carry" in output


@pytest.mark.rule(7)
def test_rows_without_a_key_are_dropped_and_only_a_stream_of_such_rows_is_a_mistake(tmp_path):
    code, output = checked(tmp_path, job_data(), line("impression", row()), line("impression", row(mid=None)))
    assert code == 0
    assert "left out: no key, uid='u', mid=None" in output
    code, output = checked(tmp_path, job_data(), line("impression", row(mid=None)))
    assert code == 1
    assert "key: no row of impression has a key: uid='u', mid=None; the row has uid, mid, ts, pos" in output


def test_a_stream_whose_records_are_all_filtered_is_named(tmp_path):
    job = job_data(streams__click__clean=CLEAN)
    code, output = checked(tmp_path, job, line("impression", row()), *[line("click", row(do="none"))] * 3)
    assert code == 0
    assert f"warning: all records of click (3) are filtered: {CLEAN} returns None or no rows for them." in output
    _, output = checked(tmp_path, job, line("click", row(do="none")), line("click", row()))
    assert "is filtered" not in output


def test_what_makes_a_check_fail_stands_among_its_problems_for_machines_too(tmp_path):
    (tmp_path / "records.jsonl").write_text(line("click", "{broken"))
    path = write(tmp_path, json.dumps(job_data()))
    arguments = [str(path), "--no-broker", "--records", str(tmp_path / "records.jsonl"), "-o", "json"]
    found = json.loads(CliRunner().invoke(check, arguments).output)
    assert not found["ok"]
    (problem,) = found["problems"]
    assert (problem["path"], problem["line"], "decode" in problem["message"]) == ("click", 1, True)


def test_an_orphan_with_the_key_of_another_type_is_a_mistake(tmp_path):
    code, output = checked(tmp_path, job_data(), line("impression", row(uid=12)), line("click", row(uid="12")))
    assert code == 1
    assert (
        'orphan: click ["12", 1] at 2025-01-01T00:00:00.000Z: no impression has this key, but the same key as a number'
        in output
    )


@pytest.mark.rule(4)
def test_other_orphans_are_shown(tmp_path):
    lines = line("impression", row()), line("click", row(ts=NOW - 5000)), line("click", row(uid="v"))
    code, output = checked(tmp_path, job_data(), *lines)
    assert code == 0
    assert (
        'orphan: click ["u", 1] at 2024-12-31T23:59:55.000Z is in no window; impression with this key: 2025-01'
        in output
    )
    assert 'orphan: click ["v", 1] at 2025-01-01T00:00:00.000Z: no impression has this key' in output


@pytest.mark.rule(9)
@pytest.mark.parametrize("record", [row(ts=NOW // 1000), row(do="seconds")])
def test_times_in_another_unit_are_a_problem(tmp_path, record):
    job = job_data(streams__impression__clean=CLEAN)
    code, output = checked(tmp_path, job, line("impression", record, timestamp=NOW))
    assert code == 1
    assert "streams.impression.time_unit: event times of impression are 54 years before their records: 1970" in output
    assert "did you mean time_unit: s, not ms?" in output


@pytest.mark.rule(9)
def test_times_decades_off_that_no_unit_explains_are_a_warning(tmp_path):
    records = line("impression", row(ts=NOW // 3), timestamp=NOW)
    code, output = checked(tmp_path, job_data(), records)
    assert code == 0
    assert "warning: event times of impression are 36 years before their records: 1988-05-" in output
    code, output = checked(tmp_path, job_data(), records, strict=True)
    assert code == 1
    assert output.endswith("job.yaml: 1 problem\n")


@pytest.mark.rule(12)
def test_fields_that_a_function_asks_for_in_vain_are_said(tmp_path):
    """A misspelt name in `get` raises nothing; it is a warning where a field has nearly that name."""
    job = job_data(streams__impression__clean=ASKING, label="tests.cli.rows:label", format="tests.cli.rows:written")
    code, output = checked(tmp_path, job, *(line("impression", row(uid=f"u{n}")) for n in range(3)))
    assert code == 0, output
    asks = "tests.cli.rows:asking asks for"
    assert f"warning: {asks} poss, which no record of impression has (did you mean 'pos'?)" in output
    assert f"note: {asks} channel, device, which no record of impression has; it may be optional" in output
    assert "warning: tests.cli.rows:label asks for click, which no sample has (did you mean 'clicks'?)" in output
    assert "note: tests.cli.rows:written asks for nothing_like_it, which no sample has; it may be optional" in output
    assert output.count("sample: {") == 3


@settings(max_examples=200)
@given(st.recursive(st.integers() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)))
def test_what_notes_is_taken_out_wherever_a_function_puts_it(value):
    asked = AskedFields("f", "record")
    assert asked.given(5) == 5
    noting = asked.given({"value": value})
    given_back = plain({"whole": noting, "list": [noting, {"again": noting}]})
    assert given_back == {"whole": {"value": value}, "list": [{"value": value}, {"again": {"value": value}}]}
    for each in (given_back["whole"], given_back["list"][0], given_back["list"][1]["again"]):
        assert type(each) is dict


def test_a_field_with_the_name_of_the_records_own_time_is_told(tmp_path):
    job = job_data(streams__impression__time="@timestamp")
    _, output = checked(tmp_path, job, line("impression", row(**{"@timestamp": "2025-01-01"}), timestamp=NOW))
    assert (
        "streams.impression.time: is the Kafka record's timestamp; the rows of impression have a field @timestamp"
        in output
    )


def many(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**record, "mid": item} for item in range(record["items"])]


def test_of_many_rows_a_few_are_shown_and_of_many_samples_those_with_labels_first(tmp_path):
    job = job_data(streams__impression__clean=f"{__name__}:many")
    lines = (line("impression", row(items=40)), line("click", row(mid=37)), line("impression", row(uid="v", items=5)))
    code, output = checked(tmp_path, job, *lines)
    assert code == 0
    assert output.count("record 1 impression: 2025-") == 5
    assert "record 1 impression: ... 35 more rows\n" in output
    assert output.count("record 3 impression: 2025-") == 5
    assert "record 3 impression: ..." not in output
    first = next(text for text in output.splitlines() if text.startswith("sample: "))
    assert json.loads(first.removeprefix("sample: ")) == {"uid": "u", "mid": 37, "pos": 1, "clicks": 1, "label": 1}
    assert "... 45 samples in all" in output


@pytest.mark.rule(5, 14)
@pytest.mark.parametrize(("changes", "said"), [({"keep_negatives": 0.5}, True), ({}, False)])
def test_corrections_that_may_not_be_sent_are_said(tmp_path, changes, said):
    job = job_data(late="correct", correction="10m", **changes)
    _, output = checked(tmp_path, job, line("impression", row()))
    assert ("note: late: correct with keep_negatives" in output) == said


# ---- hostile content ------------------------------------------------------------------------------------------------


@pytest.mark.rule(12)
@pytest.mark.parametrize("step", ["clean", "label"])
def test_errors_with_control_characters_neither_move_the_cursor_nor_fake_a_line(tmp_path, step):
    job = job_data(streams__impression__clean=CLEAN, **({"label": "tests.cli.rows:loud"} if step == "label" else {}))
    record = row(pos="\x1b]0;pwned\x07\nsamples: all fine\u202e", **({"do": "say"} if step == "clean" else {}))
    code, output = checked(tmp_path, job, line("impression", record))
    assert code == 1
    assert "\\x1b]0;pwned\\x07" in output
    assert not {"\x1b", "\x07", "\u202e"} & set(output)
    assert not [shown for shown in output.splitlines() if shown.startswith("samples: all fine")]


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"headers": [1]}, "headers must be the Kafka record's"), ({"key": 5}, "key must be the Kafka record's"),
        ({"timestamp": 2**70}, "timestamp must be the Kafka record's"), ({"timestamp": "now"}, "timestamp must be"),
        ({"heders": {}}, "unknown keys: heders; a line may have stream, topic, record, key, headers, timestamp"),
    ],
)  # fmt: skip
def test_what_a_line_has_besides_its_record_must_be_right(tmp_path, more, error):
    code, output = checked(tmp_path, job_data(), line("impression", row(), **more))
    assert code == 1
    assert error in output
