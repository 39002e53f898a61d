"""Which kind of attribute a column is."""

from pathlib import Path

import polars as pl
import pytest

from fusion_gateway.ingest.attributes import SCHEMA, attributes_of
from fusion_gateway.ingest.table import open_table, whole


def values(frame: pl.DataFrame, column: str) -> list[object]:
    """Of the one attribute, by item; None where an item has none."""
    found: dict[int, object] = {}
    for item, _, text, texts, number in attributes_of(frame, [column]).iter_rows():
        [found[item]] = [value for value in (text, texts, number) if value is not None]
    return [found.get(row) for row in range(len(frame))]


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        ("mood", ["dark", "NA", "-"], ["dark", None, None]),
        ("score", ["1", "2.5", ""], [1.0, 2.5, None]),
        ("score", ["1", "inf", "3"], ["1", "inf", "3"]),
        ("zip", ["01234", "9", "0.5"], ["01234", "9", "0.5"]),
        ("tags", ['"[""x"", ""y z""]"', "[]", ""], [["x", "y z"], None, None]),
        ("tags", ['"[""x""]"', "y", ""], ['["x"]', "y", None]),
        ("code:token", ["1", "2", ""], ["1", "2", None]),
        ("price:float", ["1", "free", "3"], [1.0, None, 3.0]),
        ("words:token_seq", ["x y", "", "z"], [["x", "y"], None, ["z"]]),
    ],
    ids=["texts", "numbers", "infinite", "leading zeros", "lists", "some lists", "token", "float", "token_seq"],
)
def test_kinds_in_a_file_of_text(tmp_path: Path, column: str, cells: list[str], expected: list[object]) -> None:
    (tmp_path / "f.csv").write_text("\n".join([f"id,{column}", *(f"i,{cell}" for cell in cells), ""]))
    assert values(whole(open_table(tmp_path / "f.csv")), column) == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([1, None, 3], [1.0, None, 3.0]),
        ([1.5, float("nan"), float("inf")], [1.5, None, None]),
        (["1", "2", None], ["1", "2", None]),
        ([["x", None], [], None], [["x"], None, None]),
        ([[1, 2], None, [3]], [["1", "2"], None, ["3"]]),
        ([True, False, None], ["true", "false", None]),
    ],
    ids=["whole numbers", "numbers", "texts", "lists", "lists of numbers", "truth"],
)
def test_kinds_of_typed_columns(cells: list[object], expected: list[object]) -> None:
    assert values(pl.DataFrame({"a": pl.Series("a", cells)}), "a") == expected


def test_names_are_without_types_and_nothing_known_is_nothing() -> None:
    frame = pl.DataFrame({"a:float": ["1"], "b": [""], "c": pl.Series([None], dtype=pl.String)})
    assert attributes_of(frame, ["a:float", "b", "c"]).rows() == [(0, "a", None, None, 1.0)]
    assert attributes_of(frame, []).schema == SCHEMA
