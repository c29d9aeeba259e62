"""A folder with the functions of the tests' jobs."""

from __future__ import annotations

import sys

import pytest

from tests.job.compiling import FUNCTIONS


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]
