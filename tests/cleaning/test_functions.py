"""What a cleaning function or a decoder may raise and return (rules 12 and 13)."""

from __future__ import annotations

import orjson
import pytest

from samplejoin.cleaning.running_call import RunningCall
from tests.cleaning.cleaners import GOOD, cells_of, cleaned, cleaner, click, lands_as


@pytest.mark.rule(12)
@pytest.mark.parametrize(
    ("do", "raises"),
    [("1/0", True), ("record['nope']", True), ("sys.exit(0)", True), ("(lambda f: f(f))(lambda f: f(f))", True),
     ("5", False), ("'x'", False), ("(record,)", False), ("{1, 2}", False)],
)  # fmt: skip
def test_a_function_that_raises_or_returns_nonsense(folder, do, raises):
    """The traceback shows the user's code, and none of this package's."""
    letter = lands_as(cleaned(cleaner(folder), click(do=do), GOOD), "dead_clean")
    assert (letter.function, letter.stream) == ("functions:clean", "click")
    assert letter.error
    assert bool(letter.traceback) == raises
    assert "/samplejoin/cleaning/" not in letter.traceback


@pytest.mark.rule(12)
@pytest.mark.parametrize("raised", ["Mute()", "GeneratorExit()", "asyncio.CancelledError()", "SystemExit()"])
def test_whatever_a_function_raises_costs_its_record_only(folder, raised):
    letter = lands_as(cleaned(cleaner(folder), click(do=f"throw({raised})"), GOOD), "dead_clean")
    assert letter.error == raised.removeprefix("asyncio.").removesuffix("()")


@pytest.mark.rule(12)
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("do", [
    "throw(Abort())", "throw(BaseExceptionGroup('g', [Abort()]))", "NoLength([record])", "NoItems([record])",
    "NoClass()", "throw(NoClassError())", "throw(NoNameError())", "throw(MemoryError.mro()[1](NoClass()))",
])  # fmt: skip
def test_whatever_a_function_raises_or_returns_costs_its_record_only(folder, fast, do):
    cleaner_ = cleaner(folder)
    if not fast:
        cleaner_.fast.clear()
    assert lands_as(cleaned(cleaner_, click(do=do), GOOD), "dead_clean").function == "functions:clean"


@pytest.mark.rule(12)
def test_a_list_of_the_users_own_type_is_a_list(folder):
    out = cleaned(cleaner(folder), click(do="Rows([record, record])"), click(do="Rows()"))
    assert out.counts == {("click", "ok"): 2, ("click", "filtered"): 1}


@pytest.mark.rule(12)
@pytest.mark.parametrize("value", [b"NoFields(ts=1)", b"throw(Abort())", b"NoClass()", b"throw(NoClassError())"])
def test_whatever_a_decoder_raises_or_returns_costs_its_record_only(folder, value):
    good = repr(orjson.loads(GOOD)).encode()
    out = cleaned(cleaner(folder, streams__click__decode="functions:decode"), value, good)
    lands_as(out, "dead_time" if b"Fields" in value else "dead_decode")


@pytest.mark.rule(12)
@pytest.mark.parametrize("fast", [True, False])
def test_ctrl_c_is_no_mistake_of_a_function(folder, fast):
    cleaner_ = cleaner(folder)
    if not fast:
        cleaner_.fast.clear()
    with pytest.raises(KeyboardInterrupt):
        cleaned(cleaner_, click(do="throw(KeyboardInterrupt())"))


@pytest.mark.rule(12)
@pytest.mark.parametrize("do", ["[5]", "[None]", "[{**record, 'ts': None}]", "[{**record, 'uid': 1.5}]"])
def test_a_row_that_is_none(folder, do):
    assert lands_as(cleaned(cleaner(folder), click(do=do), GOOD), "dead_row").function == "functions:clean"


@pytest.mark.rule(12)
def test_many_bad_rows_of_a_record_are_one_dead_letter(folder):
    out = cleaned(cleaner(folder), click(do="[5, record, 6, 7]"), click(do="[8, 9]"))
    assert out.counts == {("click", "dead_row"): 5, ("click", "ok"): 1}
    assert [letter.offset for letter in out.dead] == [0, 1]


@pytest.mark.rule(13)
def test_none_one_or_several_rows(folder):
    out = cleaned(
        cleaner(folder), click(do="None"), click(do="[]"), click(do="[{**record, 'mid': i} for i in range(3)]"), click()
    )
    assert out.counts == {("click", "filtered"): 2, ("click", "ok"): 4}
    keys = sorted((cell[0], cell[3]) for cell in cells_of(out))
    assert keys == [(b'["u",0]', 2), (b'["u",1]', 2), (b'["u",1]', 3), (b'["u",2]', 2)]


def test_a_dict_of_another_class_is_a_dict(folder):
    out = cleaned(cleaner(folder), click(do="__import__('collections').OrderedDict(record)"))
    assert out.counts == {("click", "ok"): 1}


@pytest.mark.rule(12)
@pytest.mark.parametrize("fast", [True, False])
def test_it_is_known_which_function_runs_on_which_record(folder, fast):
    each = cleaner(folder)
    if not fast:
        each.fast = {}
    each.job.inputs[1].clean.__globals__["running"] = each.running
    out = cleaned(each, click(do="{**record, 'uid': str(running)}"), click(do="1/0"))
    assert cells_of(out)[0][0] == b'["functions:clean at clk/0/0",1]'
    assert str(each.running) == ""


@pytest.mark.rule(12)
def test_it_is_known_which_function_of_a_sample_runs():
    running = RunningCall()
    assert running.watching("functions:label", lambda sample: str(running))({}) == "functions:label"
    assert str(running) == ""


def test_several_streams_on_one_topic(folder):
    both = cleaner(folder, streams__impression__topic="clk", streams__impression__clean="functions:clean")
    out = cleaned(both, click(do="None"), click(), b"")
    assert out.counts == {
        (stream, outcome): 1 for stream in ("impression", "click") for outcome in ("filtered", "ok", "dead_decode")
    }
    assert sorted(cell[1] for cell in cells_of(out)) == [0, 1]
    assert {letter.stream for letter in out.dead} == {"impression", "click"}
