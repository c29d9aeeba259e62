"""Reads Markdown for the tests of the documentation: code blocks, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\[\]]|`[^`]*`)*\]\(([^()\s]+)\)")
NAMED = re.compile(r"# ([\w.-]+\.(?:py|ya?ml))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block. A first line like `# functions.py` says that it is that file."""

    page: Page
    line: int
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that the block holds, None for other blocks."""
        match = NAMED.match(self.text)
        return match[1] if match else None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """A Markdown file of the project."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def prose(self) -> str:
        """The page without its code blocks."""
        return FENCE.sub("", self.text)

    def blocks(self, *languages: str) -> Iterator[Block]:
        """The code blocks in those languages, without their indentation."""
        for match in FENCE.finditer(self.text):
            if match[2] in languages:
                line = self.text.count("\n", 0, match.start()) + 1
                body = "".join(f"{each[len(match[1]) :]}\n" for each in match[3].splitlines())
                yield Block(self, line, match[2], body)

    def links(self) -> Iterator[str]:
        """The targets of all links and images."""
        for match in LINK.finditer(self.prose):
            yield match[1]

    def anchors(self) -> set[str]:
        """The names that headings give to links, as GitHub makes them."""
        found: set[str] = set()
        for title in re.findall(r"^#+ +(.+?) *$", self.prose, re.MULTILINE):
            slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            number = next(n for n in range(100) if (f"{slug}-{n}" if n else slug) not in found)
            found.add(f"{slug}-{number}" if number else slug)
        return found

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


TOP = [Page(ROOT / name) for name in ("README.md", "CHANGELOG.md", "SECURITY.md")]
DOCS = [Page(path) for path in sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = [Page(path) for path in sorted((ROOT / "examples").glob("*/README.md"))]
PAGES = [*TOP, *DOCS, *EXAMPLES]
