"""What users' code and producers give that no sample can carry: refused where it arises, the same everywhere."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from samplejoin.cleaning.cleaner import Cleaner
from samplejoin.engine.wire import pack_cell
from samplejoin.offline.run import InputRecord, run_offline
from samplejoin.testing import JobTest
from tests.job.helpers import job_data

T = 1_735_689_600_000

FUNCTIONS = """
import json
from enum import IntEnum

class Odd(float):
    # a float that is none by exact type, as numpy's are: its repr is not a number
    def __repr__(self): return f"Odd({float(self)})"

class Kind(IntEnum):
    A = 1

class Text(str):
    pass

def lenient(record):
    return json.loads(record.value)

def clean(record):
    odd = record.get("odd")
    return {**record, **{name: eval(text) for name, text in (odd or {}).items()}}

class Abort(BaseException):
    pass

class Silent:
    def __str__(self): raise Abort
    __repr__ = __str__

def label(sample):
    return eval(sample["how"])

def text(sample):
    return {**sample, "odd": Odd(1)}

class Most:
    def zero(self): return 0
    def add(self, partial, value): return max(partial, value)
    def merge(self, a, b): return Odd(max(a, b)) if max(a, b) == 9 else max(a, b)
    def result(self, partial): return [Odd(1)] if partial == 5 else partial

def throw(error):
    raise error

def doubled(levels, value=1):
    # a small value that is 2 ** levels times as large once it is written
    for _ in range(levels):
        value = [value, value]
    return value

class NoClassError(Exception):
    __class__ = property(lambda self: throw(RuntimeError("no class")))

class FiveText(str):
    def encode(self, *_): return 5

class Bytes(bytes):
    def __len__(self): throw(RuntimeError("no length"))
    __bytes__ = __len__

def written(sample):
    return eval(sample["how"])

class Doubling:
    def zero(self): return None
    def add(self, partial, value): return doubled(30) if value == "add" else value
    def merge(self, a, b): return a
    def result(self, partial): return doubled(30) if partial == "result" else partial

def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return tmp_path


def kit(folder: Any, **changes: Any) -> JobTest:
    return JobTest(job_data(**changes), base_dir=folder)


def shown(job: JobTest, ts: int = T, **values: Any) -> None:
    job.send("impression", json.dumps({"uid": "u", "mid": 1, "ts": ts, "pos": 3, **values}))


def clicked(job: JobTest, ts: int = T + 5000, **values: Any) -> None:
    job.send("click", json.dumps({"uid": "u", "mid": 1, "ts": ts, **values}))


def everywhere(job: JobTest, *, samples: int = 0) -> tuple[str, str, str]:
    """(reason, function, error) of the only dead letter: the same in test kit, offline pass and worker's cleaning."""
    assert len(job.finish()) == samples
    (letter,) = job.dead_letters
    logs = [
        (tp, InputRecord(tp.topic, 0, r.offset, r.timestamp, r.value)) for tp, log in job._logs.items() for r in log
    ]
    out, dead = run_offline(job.job, [record for _, record in logs])
    assert len(out.samples) == samples
    found = [(d.reason, d.function, d.error) for d in dead] + [(d.function, d.function, d.error) for d in out.dead]
    assert found == [(letter.reason, letter.function, letter.error)]
    worker = Cleaner(job.job, pack=pack_cell)
    packed = [d for tp, record in logs for d in worker.clean(tp.topic, 0, [record], T + 60_000).dead]
    assert [(d.reason, d.function, d.error) for d in packed] == [(d.reason, d.function, d.error) for d in dead]
    return letter.reason, letter.function, letter.error


def refused_dwell(folder: Any, agg: str, odd: str) -> tuple[str, str, str]:
    """What becomes of a click whose cleaning gives such a dwell, next to a good impression."""
    sample = {"pos": "impression.pos", "dwell": {"from": "click.dwell", "agg": agg}}
    job = kit(folder, streams__click__clean="functions:clean", sample=sample)
    shown(job)
    clicked(job, odd={"dwell": odd})
    return everywhere(job, samples=1)


# ---- exact types ----------------------------------------------------------------------------------------------------

ODD = ["Odd(1)", "[Odd(1)]", "Kind.A", "Text('x')", "{'a': Text('x')}", "{1, 2}", "b'x'", "{1: 2}", "'\\ud83d'"]
ODD += ["deep(101)"]
HOWS = ["first", "last", "min", "max", "list(3)", "top(3)", "sum", "mean", "any", "all", "distinct"]


@pytest.mark.rule(12)
@pytest.mark.parametrize(("agg", "odd"), [*zip(HOWS, itertools.cycle(ODD)), *(("list(3)", odd) for odd in ODD)])
def test_a_row_names_the_field_that_no_sample_can_carry(folder, agg, odd):
    reason, function, error = refused_dwell(folder, agg, odd)
    assert (reason, function) == ("row", "functions:clean")
    assert "field dwell (from click.dwell): " in error


@pytest.mark.rule(12)
@pytest.mark.parametrize("odd", ODD[::3])
def test_fields_of_an_impression_ids_and_keys_are_named_too(folder, odd):
    sample = {"pos": "impression.pos", "last": {"from": "impression.pos", "agg": "last"}}
    for field, named, options in (
        ("pos", "field pos (from impression.pos): ", {}),
        ("rid", "id rid: ", {"streams__impression__id": "rid"}),
        ("uid", "key field uid", {}),
    ):
        job = kit(folder, streams__impression__clean="functions:clean", sample=sample, **options)
        shown(job, odd={field: odd})
        reason, function, error = everywhere(job)
        assert (reason, function) == ("row", "functions:clean")
        assert named in error


@pytest.mark.rule(12)
def test_a_message_says_how_to_convert(folder):
    job = kit(folder, streams__click__clean="functions:clean", sample={"n": {"from": "click.n", "agg": "sum"}})
    clicked(job, odd={"n": "Odd(1)"})
    assert everywhere(job)[2].endswith("sum needs a number, got functions.Odd Odd(1.0): convert it with float()")


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    ("values", "error"), [((1, 9), "functions:Most.merge() returned"), ((5,), "functions:Most.result() returned")]
)
def test_an_aggregate_that_gives_what_cannot_be_packed_costs_its_sample(folder, values, error):
    """Not the commit, and not the worker."""
    job = kit(folder, sample={"most": {"from": "click.n", "agg": "functions:Most"}}, label="1")
    shown(job)
    shown(job, uid="other")
    clicked(job, uid="other", n=3)
    for n, value in enumerate(values):
        clicked(job, T + n, n=value)
        job.commit()
    reason, _, text = everywhere(job, samples=1)
    assert reason == "aggregate"
    assert "field most (from click.n): " in text
    assert error in text


@pytest.mark.rule(12)
@pytest.mark.parametrize(("odd", "form"), [*zip([*ODD, "None", "float('nan')"], itertools.cycle(["csv", "json"]))])
def test_a_label_of_another_type_is_blamed_on_the_label(folder, form, odd):
    how = {"how": "impression.how"}
    job = kit(folder, sample=how, label="functions:label", format=form)
    shown(job, how=odd)
    reason, _, error = everywhere(job)
    assert reason == "label"
    assert "functions:label returned" in error


@pytest.mark.rule(12)
def test_a_format_names_the_field(folder):
    job = kit(folder, format="functions:text")
    shown(job)
    reason, _, error = everywhere(job)
    assert reason == "format"
    assert "field odd: Type is not JSON serializable: Odd" in error


# ---- kinds of values ------------------------------------------------------------------------------------------------


@pytest.mark.rule(12)
@pytest.mark.parametrize("agg", ["min", "max", "top(2)"])
def test_numbers_and_text_have_no_order(folder, agg):
    job = kit(folder, sample={"dwell": {"from": "click.dwell", "agg": agg}}, label="1")
    shown(job)
    for n, dwell in enumerate((42.5, "3")):
        clicked(job, T + n * 2000, dwell=dwell)
    reason, _, error = everywhere(job)
    assert reason == "aggregate"
    assert "field dwell (from click.dwell): " in error
    assert "needs values of one kind" in error


@pytest.mark.rule(12)
def test_csv_has_the_types_that_the_job_file_gives_it(folder):
    """Else "0" was true, and "9.5" larger than "12.0"."""
    sample = {"bought": {"from": "click.bought", "agg": "any"}, "dwell": {"from": "click.dwell", "agg": "max"}}
    columns = {"uid": "str", "mid": "int", "ts": "int", "bought": "bool", "dwell": "float"}
    job = kit(folder, streams__click__decode="csv", streams__click__columns=columns, sample=sample, label="bought")
    shown(job)
    for n, line in enumerate(("0,9.5", "false,12.0", "1,x")):
        job.send("click", f"u,1,{T + n * 1000},{line}")
    assert job.finish() == [{"uid": "u", "mid": 1, "bought": False, "dwell": 12.0, "label": 0}]
    (letter,) = job.dead_letters
    assert (letter.reason, letter.error) == ("decode", "ValueError: column dwell: 'x' is not of type float")
    job = kit(folder, streams__click__decode="csv", streams__click__columns=[*columns], sample=sample, label="bought")
    job.send("click", f"u,1,{T},0,9.5")
    assert "any needs a boolean or a number, got str '0'" in everywhere(job)[2]


# ---- large integers -------------------------------------------------------------------------------------------------

LARGE = 2**64 + 1


@pytest.mark.rule(7)
def test_ids_beyond_64_bits_are_refused_and_never_rounded(folder):
    """As floats, ids next to each other were one."""
    job = kit(folder, streams__click__id="event", streams__click__clean="functions:clean")
    shown(job)
    clicked(job, event=LARGE)
    assert "id event: " in (error := everywhere(job, samples=1)[2])
    assert f"an integer does not fit into 64 bits: {LARGE}; send it as text" in error


@pytest.mark.rule(4)
def test_side_rows_are_json_whatever_they_carry(folder):
    """A sum beyond 64 bits next to a NaN."""
    sample = {agg: {"from": f"click.{agg}", "agg": agg} for agg in ("sum", "max", "last")}
    job = kit(folder, streams__click__decode="functions:lenient", sample=sample, label="1", key=["uid", "mid"])
    clicked(job, mid=LARGE, sum=LARGE, max=1.5, last=float("nan"))
    assert job.finish() == []
    (orphan,) = job.orphans
    assert (orphan["key"], orphan["fields"]) == (["u", LARGE], {"sum": LARGE, "max": 1.5, "last": None})


@pytest.mark.rule(2, 10)
def test_integers_are_exact_or_refused(folder):
    sample = {"total": {"from": "click.n", "agg": "sum"}, "n": {"from": "click.n", "agg": "max"}}
    job = kit(folder, key=["uid", "mid"], sample={"total": sample["total"]}, label="total")
    for n in range(2):
        clicked(job, T + n, mid=LARGE, n=LARGE + n)
    shown(job, mid=LARGE)
    (body,) = job.finish()
    assert body == {"uid": "u", "mid": LARGE, "total": 2 * LARGE + 1, "label": 2 * LARGE + 1}
    job = kit(folder, sample={"n": sample["n"]})
    clicked(job, n=LARGE)
    assert "field n (from click.n): an integer does not fit into 64 bits" in everywhere(job)[2]


# ---- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.rule(10)
def test_half_a_character_is_refused_at_the_row(folder):
    decoders = {f"streams__{name}__decode": "functions:lenient" for name in ("impression", "click")}
    sample = {"words": {"from": "click.words", "agg": "list(2)"}}
    job = kit(folder, **decoders, sample=sample, late="topic", outputs__late="l")
    shown(job, uid="cut\ud83d")
    clicked(job, uid="other\ud83d")
    clicked(job, words=[{"cut\ud83d": 1}])
    assert job.finish() == job.orphans == job.late == []
    errors = [letter.error for letter in job.dead_letters]
    assert [letter.reason for letter in job.dead_letters] == ["row"] * 3
    assert all("half a character" in error for error in errors)
    assert sum("key field uid" in error for error in errors) == 2
    assert sum("field words (from click.words)" in error for error in errors) == 1


# ---- order of fields ------------------------------------------------------------------------------------------------


def test_json_samples_have_their_fields_in_the_jobs_order(folder):
    """Whether or not a stream has joined, and however its fields are kept."""
    sample = {
        "tags": {"from": "click.tag", "agg": "list(2)"}, "pos": "impression.pos",
        "last": {"from": "click.n", "agg": "last"},
        "shows": {"from": "impression", "agg": "count"}, "most": {"from": "click.n", "agg": "functions:Most"},
        "end": {"from": "impression.pos", "agg": "last"}, "clicks": {"from": "click", "agg": "count"},
    }  # fmt: skip
    job = kit(folder, sample=sample)
    shown(job)
    shown(job, uid="v")
    clicked(job, n=1, tag="a")
    assert [list(body) for body in job.finish()] == [["uid", "mid", *sample, "label"]] * 2


# ---- ids ------------------------------------------------------------------------------------------------------------

NO_IDS = [None, "", 0, "0", float("nan"), -7]


@pytest.mark.rule(7)
@pytest.mark.parametrize("id_", NO_IDS)
def test_clicks_with_an_id_that_says_nothing_all_count(folder, id_):
    job = kit(folder, streams__click__id="event", streams__click__decode="functions:lenient", junk_keys=["", "0", -7])
    shown(job)
    for n in range(3):
        clicked(job, T + n * 1000, event=id_)
    assert [sample["clicks"] for sample in job.finish()] == [3]
    assert ("folded_rows", "click") not in job.counts


@pytest.mark.rule(7)
@pytest.mark.parametrize("id_", NO_IDS)
def test_impressions_with_an_id_that_says_nothing_are_a_sample_each(folder, id_):
    changes = {"streams__impression__id": "rid", "streams__impression__decode": "functions:lenient"}
    job = kit(folder, **changes, repeat="each", junk_keys=["", "0", -7])
    for n in range(3):
        shown(job, T + n * 1000, rid=id_)
    assert len(job.finish()) == 3


@pytest.mark.rule(7)
@pytest.mark.parametrize("id_", ["e", 7, 1.5, True, ["a", 1]])
def test_rows_folded_by_id_are_counted(folder, id_):
    job = kit(folder, streams__click__id="event", streams__impression__id="event", repeat="each")
    for n in range(2):
        shown(job, T + n, event=id_)
    for n in range(3):
        clicked(job, T + n * 1000, event=id_)
    assert [sample["clicks"] for sample in job.finish()] == [1]
    assert job.counts["folded_rows", "click"] == 2
    assert job.counts["folded_rows", "impression"] == 1


# ---- first and last -------------------------------------------------------------------------------------------------


@pytest.mark.rule(2)
@pytest.mark.parametrize("reverse", [False, True])
def test_first_and_last_of_a_label_stream_are_of_the_rows_that_have_the_field(folder, reverse):
    """An action without a dwell says nothing about the dwell; of an impression all fields stem from one row."""
    sample = {f"{agg}_{name}": {"from": f"click.{name}", "agg": agg} for agg in ("first", "last") for name in "ab"}
    sample |= {f"shown_{agg}": {"from": "impression.pos", "agg": agg} for agg in ("first", "last")}
    rows: list[dict[str, Any]] = [{"like": 1}, {"a": 12.5}, {"a": None, "b": ["x"]}, {"a": 9, "b": {"y": 1}}, {}]
    job = kit(folder, sample=sample, label="1")
    sent = [lambda n=n, row=row: clicked(job, T + n * 1000, **row) for n, row in enumerate(rows)]
    sent += [lambda n=n, pos=pos: shown(job, T + n, pos=pos) for n, pos in enumerate([None, 2, None])]
    for send in reversed(sent) if reverse else sent:
        send()
    (body,) = job.finish()
    assert (body["first_a"], body["last_a"]) == (12.5, 9)
    assert (body["first_b"], body["last_b"]) == (["x"], {"y": 1})
    assert (body["shown_first"], body["shown_last"]) == (None, None)


# ---- letters that cannot be written ---------------------------------------------------------------------------------


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    "left", ["sample", "10**5000", "deep(3000)", "Silent()", "{'in': [Silent()]}", "{sample['pos']: deep(990)}"]
)
@pytest.mark.parametrize("how", ["1", "throw(Abort())"])
def test_whatever_a_label_function_leaves_in_a_sample_its_letter_goes_out(folder, left, how):
    sample = {"pos": "impression.pos", "how": "impression.how"}
    job = kit(folder, sample=sample, label="functions:label")
    shown(job, how=f"sample.update(odd={left}) or {how}")
    reason, *_ = everywhere(job)
    fields = json.loads(job.dead_letters[0].value)
    assert reason == ("format" if how == "1" else "label")
    assert (fields["uid"], fields["pos"]) == ("u", 3)
    if type(fields["odd"]) is str:  # how deep data may be that can be written depends on the version of Python
        assert fields["odd"].startswith("(cannot be written as JSON: ")
    else:
        assert "deep(" in left


@pytest.mark.rule(12)
@pytest.mark.parametrize("method", ["add", "merge", "result"])
def test_the_letter_shows_where_an_aggregate_has_raised(tmp_path, method):
    source = "class Agg:\n" + "".join(
        f"    def {name}(self, {arguments}): {'return 1 // 0' if name == method else f'return {value}'}\n"
        for name, arguments, value in (("add", "a, b", "b"), ("merge", "a, b", "b"), ("result", "a", "a"))
    )
    (tmp_path / "raising.py").write_text(source + "    def zero(self): return 0\n")
    job = kit(tmp_path, sample={"x": {"from": "click.dwell", "agg": "raising:Agg"}})
    shown(job)
    for second in (1, 2):
        clicked(job, T + 1000 * second, dwell=1)
    job.finish()
    (letter, *_) = job.dead_letters
    assert "raising.py" in letter.traceback
    assert "return 1 // 0" in letter.traceback
    assert "samplejoin/core/" not in letter.traceback


# ---- values that are small until they are written ------------------------------------------------------------------

TOO_LARGE = "data has over 1,048,576 elements and characters"


@pytest.mark.rule(12, 13)
@pytest.mark.parametrize(
    ("agg", "odd"),
    [
        ("first", "{'a': doubled(40)}"), ("max", "doubled(30)"), ("list(3)", "['x' * 1000] * 10 ** 6"),
        ("top(3)", "doubled(22, 'x' * 99)"), ("distinct", "doubled(30)"),
    ],
)  # fmt: skip
def test_a_row_that_expands_without_end_is_refused_at_once(folder, agg, odd):
    reason, _, error = refused_dwell(folder, agg, odd)
    assert reason == "row"
    assert TOO_LARGE in error or "needs" in error


@pytest.mark.rule(12, 13)
def test_an_id_that_expands_without_end_is_refused_at_once(folder):
    job = kit(folder, streams__click__clean="functions:clean", streams__click__id="dwell")
    shown(job)
    clicked(job, odd={"dwell": "doubled(30)"})
    assert TOO_LARGE in everywhere(job, samples=1)[2]


@pytest.mark.rule(12, 13)
@pytest.mark.parametrize("step", ["add", "result"])
def test_an_aggregate_that_expands_without_end_is_refused_at_once(folder, step):
    sample = {"pos": "impression.pos", "most": {"from": "click.dwell", "agg": "functions:Doubling"}}
    job = kit(folder, sample=sample)
    shown(job)
    clicked(job, dwell=step)
    assert TOO_LARGE in everywhere(job, samples=int(step == "add"))[2]


@pytest.mark.rule(12, 13)
@pytest.mark.parametrize("step", ["label", "format"])
@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("doubled(30)", None), ("{'a': doubled(30)}", None), ("{'a': ['x' * 1000] * 10 ** 6}", None),
        ("{1, tuple(doubled(22))}", None), ("throw(NoClassError())", "NoClassError"),
    ],
)  # fmt: skip
def test_a_function_of_samples_that_gives_what_has_no_end_or_no_class(folder, step, how, error):
    functions = {"label": "functions:label"} if step == "label" else {"format": "functions:written"}
    job = kit(folder, sample={"how": "impression.how"}, **functions)
    shown(job, how=how)
    assert job.finish() == []
    (letter,) = job.dead_letters
    assert letter.reason == step
    assert error is None or error in letter.error


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    ("how", "value"),
    [("FiveText('abc')", b"abc"), ("Bytes(b'abc')", b"abc"), ("Text('abc')", b"abc"), ("{'a': FiveText('b')}", None)],
)
def test_text_and_bytes_of_the_users_own_types_go_out_as_they_are(folder, how, value):
    job = kit(folder, sample={"how": "impression.how"}, format="functions:written")
    shown(job, how=how)
    job.finish()
    assert [sample.value for sample in job.samples] == ([value] if value else [b'{"a":"b"}'])
