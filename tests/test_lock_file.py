"""requirements-dev.lock holds what pyproject.toml asks for development, at versions that its bounds allow."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; (.*?))? \\$", re.MULTILINE)


def test_the_lock_file_is_current():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["demo"], *extras["test"], *extras["lint"]]
    locked = {name: version for name, version, _ in PINNED.findall((ROOT / "requirements-dev.lock").read_text())}
    for requirement in map(Requirement, wanted):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in locked, f"{name} is not in requirements-dev.lock: run `make lock`"
        assert requirement.specifier.contains(locked[name]), f"{name} {locked[name]}: run `make lock`"


def test_every_package_has_its_hashes():
    entries = re.split(r"\n(?=[a-z])", (ROOT / "requirements-dev.lock").read_text())
    assert [entry.partition(" ")[0] for entry in entries if PINNED.match(entry) and "--hash=sha256:" not in entry] == []
    assert sum(bool(PINNED.match(entry)) for entry in entries) > 40
