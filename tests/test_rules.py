"""Every rule of docs/semantics.md is held by tests that say so: `@pytest.mark.rule(2, 7)`."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
RULES = range(1, 17)
AT_LEAST = 2


def marked(node: ast.expr) -> set[int]:
    """The rules that a decorator, or a `pytestmark`, names."""
    match node:
        case ast.List(elts=marks) | ast.Tuple(elts=marks):
            return {rule for mark in marks for rule in marked(mark)}
        case ast.Call(func=ast.Attribute(attr="rule"), args=args):
            return {arg.value for arg in args if isinstance(arg, ast.Constant) and isinstance(arg.value, int)}
    return set()


def rules_of_tests(body: list[ast.stmt], inherited: frozenset[int] = frozenset()) -> Iterator[tuple[str, int]]:
    """(test, rule) for every marked test, with what its class and module add."""
    for node in body:
        match node:
            case ast.Assign(targets=[ast.Name(id="pytestmark")], value=value):
                inherited |= marked(value)
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test"):
                for rule in inherited.union(*map(marked, node.decorator_list)):
                    yield name, rule
            case ast.ClassDef(name=name) if name.startswith("Test"):
                yield from rules_of_tests(node.body, inherited.union(*map(marked, node.decorator_list)))


def test_every_rule_has_tests():
    tests = Counter(
        rule
        for path in sorted(TESTS.rglob("test_*.py"))
        for _, rule in rules_of_tests(ast.parse(path.read_text(), str(path)).body)
    )
    assert set(tests) <= set(RULES), f"marks of rules that do not exist: {sorted(set(tests) - set(RULES))}"
    short = {rule: tests[rule] for rule in RULES if tests[rule] < AT_LEAST}
    assert not short, f"rules with fewer than {AT_LEAST} tests (rule: tests): {short}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def test_a(): ...", []),
        ("@pytest.mark.rule(2, 7)\nasync def test_a(): ...", [("test_a", 2), ("test_a", 7)]),
        ("@mark.rule(1)\ndef helper(): ...", []),
        (
            "@pytest.mark.rule(1)\nclass TestA:\n  @pytest.mark.rule(3)\n  def test_b(self): ...",
            [("test_b", 1), ("test_b", 3)],
        ),
        ("def test_a(): ...\npytestmark = [pytest.mark.kafka, pytest.mark.rule(4)]", [("test_a", 4)]),
    ],
)
def test_marks_are_found(source, expected):
    assert sorted(rules_of_tests(ast.parse(source).body)) == expected
