"""Phrases that the style page asks not to use, in docs, docstrings, comments and messages. Meaning is for a reader."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import DOCS, ROOT

FORBIDDEN = {
    r"\banew\b": "again, or from the beginning",
    r"\bbeside\b": "next to, besides, apart from",
    r", say[.,;)]": "for example",
    r"(?<!there )\bis no (valid|topic|name|multiple|number|function)\b": "is not a",
}
SOURCES = [path for top in ("samplejoin", "agents", "tables") for path in sorted((ROOT / top).rglob("*.py"))]
PAGES = [page.path for page in DOCS if page.path.parent.name == "docs" and page.path.name != "contributing.md"]


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "SECURITY.md", *PAGES, *SOURCES], ids=lambda p: p.name)
def test_no_page_or_module_uses_them(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for phrase, better in FORBIDDEN.items():
        found = re.search(phrase, text)
        assert found is None, f"{path}: {found[0]!r} at {text[: found.start()].count(chr(10)) + 1}: write {better}"
