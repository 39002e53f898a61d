"""Density is not brevity: no line, call or signature holds more than a reader takes in at once."""

import ast
from pathlib import Path

import pytest

from tests.density import FOLDERS, ROOT, dense_lines, dense_nodes, measure, report, tokens_per_line


def test_no_folder_has_findings() -> None:
    measured = {folder: measure(ROOT, folder) for folder in FOLDERS}
    print(report(measured))
    assert [folder for folder, density in measured.items() if density.findings] == []


def violations(source: str) -> list[str]:
    """The rules that a source breaks, once for each occurrence."""
    findings = [*dense_lines(tokens_per_line(source)), *dense_nodes(ast.parse(source))]
    return [finding.rule for finding in findings]


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        ("tokens", f"total = {' + '.join('x' * 19)}"),
        ("comprehensions", "[[y for y in x] for x in z]"),
        ("comprehensions", "sum(max(y for y in x) for x in z)"),
        ("comprehensions", "{x: 1 for x in (y for y in z)}"),
        ("positional arguments", "f(1, 2, 3, 4, 5, 6, 7)"),
        ("positional arguments", "f(1, 2, 3, 4, 5, 6, *rest)"),
        ("parameters", "def f(a, b, c, d, e, f, g): pass"),
        ("parameters", "async def f(a, /, b, c, *, d, e, f, g): pass"),
        ("parameters", "def f(a, b, c, d, e, *f, **g): pass"),
        ("parameters", "lambda a, b, c, d, e, f, g: a"),
        ("parameters", "class C:\n    def f(self, a, b, c, d, e, f, g): pass"),
    ],
)
def test_a_violation_is_found(rule: str, source: str) -> None:
    assert violations(source) == [rule]


@pytest.mark.parametrize(
    "source",
    [
        f"total = {' + '.join('x' * 18)}  # one token less than too many",
        "total = (\n    " + "\n    + ".join("x" * 40) + "\n)",
        "[y for x in z for y in x]",
        "f(1, 2, 3, 4, 5, 6, g=7)",
        "class C:\n    def f(self, a, b, c, d, e, f): pass",
        "@app.command()\ndef f(a, b, c, d, e, f, g): pass",
    ],
)
def test_what_is_not_dense_is_left_alone(source: str) -> None:
    assert violations(source) == []


def test_commands_registered_in_another_module_may_have_many_options(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training/evaluate.py").write_text("def evaluate(a, b, c, d, e, f, g): pass")
    assert len(measure(tmp_path, "training").findings) == 1
    (tmp_path / "training/__main__.py").write_text('app.command("evaluate")(evaluate)')
    assert measure(tmp_path, "training").findings == []


def test_layout_and_comments_are_no_tokens() -> None:
    assert tokens_per_line('x = 1  # why\n\nif x:\n    y = f"{x} and {x + 1}"\n') == {1: 3, 3: 3, 4: 3}
