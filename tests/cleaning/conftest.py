"""A folder with the functions of the tests' jobs."""

from __future__ import annotations

import pytest

from tests.cleaning.cleaners import FUNCTIONS


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    return tmp_path
