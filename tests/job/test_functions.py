"""Finding the users' functions, and errors of their modules."""

from __future__ import annotations

import sys

import pytest

from samplejoin.errors import RefusedError
from samplejoin.job.errors import JobError
from samplejoin.job.user_functions import find, find_function, import_module


@pytest.fixture(autouse=True)
def _own_imports():
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def put(folder, text, name="functions.py"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def refused(name, folder):
    with pytest.raises(RefusedError) as caught:
        find_function(name, folder)
    return str(caught.value), caught.value.hint or ""


def test_a_function_of_the_jobs_directory(tmp_path):
    put(tmp_path, "def clean(r): return r\nclass A:\n    @staticmethod\n    def f(r): return 1\n")
    assert find_function("functions:clean", tmp_path)(3) == 3
    assert find_function("functions:A.f", tmp_path)(3) == 1
    assert sys.path[0] == str(tmp_path)


def test_a_package_of_the_jobs_directory(tmp_path):
    put(tmp_path, "", "cleaning/__init__.py")
    put(tmp_path, "def clean(r): return 7", "cleaning/clicks.py")
    assert find_function("cleaning.clicks:clean", tmp_path)(0) == 7


def test_an_installed_module(tmp_path):
    assert find("json:loads", tmp_path)("1") == 1


def test_two_jobs_with_modules_of_one_name(tmp_path):
    for i in (1, 2, 1):
        put(tmp_path / str(i), f"def f(r): return {i}\n")
        assert find_function("functions:f", tmp_path / str(i))(0) == i


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("none:f", "there is no module 'none'", "looked in"),
        ("function:f", "there is no module 'function'", "did you mean 'functions'"),
        ("functions:clen", "functions.py has no 'clen'", "did you mean 'clean'"),
        ("functions:zzzzz", "functions.py has no 'zzzzz'", "define zzzzz in functions"),
        ("functions:NUMBER", "functions:NUMBER is not a function but int", ""),
    ],
)
def test_what_is_not_there(tmp_path, name, message, hint):
    put(tmp_path, "NUMBER = 5\ndef clean(r): return r\n")
    found = refused(name, tmp_path)
    assert message in found[0]
    assert hint in found[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = 1 / 0\n", "functions.py:2: ZeroDivisionError: division by zero"),
        ("import nothing_of_that_name\n", "functions.py:1: ModuleNotFoundError: No module named"),
        ("def f(:\n", "functions.py:1: SyntaxError"),
        ("raise SystemExit(3)\n", "functions.py:1: SystemExit: 3"),
        ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E\n", "functions.py:3: E"),
        ("from json import nothing\n", "functions.py:1: ImportError"),
        ("import json\njson.loads('x')\n", "functions.py:2: JSONDecodeError"),
    ],
)
def test_a_module_that_raises(tmp_path, text, message):
    put(tmp_path, text)
    assert message in refused("functions:f", tmp_path)[0]


def test_names_that_are_taken(tmp_path):
    put(tmp_path, "", "json.py")
    put(tmp_path, "", "pytest.py")
    assert "a module of Python's standard library" in refused("json:f", tmp_path)[0]
    assert "already imported" in refused("pytest:f", tmp_path)[0]


def test_a_module_that_was_imported_already(tmp_path):
    put(tmp_path, "def f(r): return r\n")
    sys.path.insert(0, str(tmp_path))
    import functions  # type: ignore[import-not-found]

    assert import_module("functions", tmp_path) is functions


def test_problems_of_functions_have_a_line(tmp_path):
    from samplejoin.job.compile import compile_job
    from samplejoin.job.load import load_job
    from tests.job.helpers import TEXT, write

    text = TEXT.replace("    role: label", "    clean: functions:no\n    role: label") + "format: functions:fromat\n"
    path = write(tmp_path, text, "def format(s): return s\n")
    with pytest.raises(JobError) as caught:
        compile_job(load_job(path, environ={}), tmp_path)
    assert [(p.path, p.line) for p in caught.value.problems] == [("streams.click.clean", 5), ("format", 14)]
    assert caught.value.problems[1].hint == "did you mean 'format'?"
