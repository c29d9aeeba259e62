"""The messages that docs/troubleshooting.md explains are those of the code; `…` stands for variable parts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.docs.markdown import ROOT, Page

SECTION = Page(ROOT / "docs" / "troubleshooting.md").text.partition("\n## Messages\n")[2].partition("\n## ")[0]
EXPLAINED = [
    message for row in re.findall(r"^\| (`.+?) \| ", SECTION, re.MULTILINE) for message in re.findall(r"`([^`]+)`", row)
]


def texts_of(tree: ast.AST) -> Iterator[str]:
    """All strings of a module, with `…` for each value that is put in."""
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr(values=parts):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
            case ast.Constant(value=str(text)):
                yield re.sub(r"%(\.\d+)?[sdfr]", "…", text).replace("%%", "%")


@pytest.fixture(scope="module")
def said() -> str:
    files = [path for folder in ("samplejoin", "agents", "tables") for path in sorted((ROOT / folder).rglob("*.py"))]
    return "\n".join(text.replace("\n", " ") for path in files for text in texts_of(ast.parse(path.read_text())))


def test_there_are_messages():
    assert len(EXPLAINED) > 40


@pytest.mark.parametrize("message", EXPLAINED)
def test_a_message_that_is_explained_is_in_the_code(message, said):
    pieces = [re.escape(piece) for piece in message.split("…")]
    assert re.search(".*".join(pieces), said), f"docs/troubleshooting.md explains {message!r}: no message reads so"
