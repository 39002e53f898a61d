"""The tables of REFERENCE_SYSTEMS.md: every row names a command and a test, and the test is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "training" / "results" / "REFERENCE_SYSTEMS.md"
TEST = re.compile(r"`(tests/[\w/]+\.py|…)(?:::(\w+))?`")
ROW = re.compile(r"\| (S\d\.\d+(?:, S\d\.\d+)*) \| (.+) \| (.+) \| (.*)\|")


def rows() -> list[tuple[str, ...]]:
    """Row, capability, shown by, test; of the tables that have these columns."""
    return [found.groups() for line in PAGE.read_text().splitlines() if (found := ROW.fullmatch(line))]


@cache
def names_in(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if hasattr(node, "name")}


@pytest.mark.parametrize("system", ["S1", "S2", "S3"])
def test_every_row_of_a_system_is_there_once(system: str) -> None:
    numbers = [name for row, *_ in rows() for name in row.split(", ") if name.startswith(f"{system}.")]
    assert sorted(numbers) == sorted(set(numbers))
    assert len(numbers) == {"S1": 36, "S2": 14, "S3": 39}[system]


def test_every_test_that_a_row_names_is_there() -> None:
    path = ""
    for row, _, shown, test in rows():
        named = TEST.findall(test)
        assert named or "not here" in shown or "the same" in test, f"{row}: no test"
        for file, name in named:
            path = path if file == "…" else file
            assert (ROOT / path).is_file(), f"{row}: there is no {path}"
            assert not name or name in names_in(ROOT / path), f"{row}: {path} has no {name}"
