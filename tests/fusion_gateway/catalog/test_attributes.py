"""Expressions over attributes pick the items that a plain look at each item picks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_gateway.catalog.attribute_file import SCHEMA, load_attributes
from fusion_gateway.catalog.attributes import Attributes, Value, kind_of
from fusion_gateway.catalog.catalog import Catalog, Filters, open_catalog
from fusion_gateway.catalog.expression import Combination, Expression, NumberTest, TextTest
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Repository
from tests.fusion_gateway.world import MOVIES, TAGS, items, publish, publish_catalog

Item = Mapping[str, Value]
ITEMS = len(MOVIES)
TEXTS = st.sampled_from(["drama", "Drama", "DRAMA ", "Straße", "日本", "🎬", "x" * 1000])
NUMBERS = st.sampled_from([-1e300, -1.0, 0.0, 0.5, 1.0, 2**53 + 2.0, 1e300])
CUSTOM: Mapping[str, st.SearchStrategy[Value]] = {
    "language": TEXTS,
    "price": NUMBERS,
    "moods": st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
}
VALUES = {"title": TEXTS, "year": NUMBERS, "genres": CUSTOM["moods"], **CUSTOM}
CUSTOM_ITEMS = st.lists(st.fixed_dictionaries({}, optional=dict(CUSTOM)), min_size=ITEMS, max_size=ITEMS)
PATCHED = {name: st.none() | value for name, value in VALUES.items()} | {"new": st.none() | TEXTS}
PATCHES = st.dictionaries(st.integers(0, ITEMS - 1), st.fixed_dictionaries({}, optional=PATCHED))
TEXT_TESTS = st.builds(
    TextTest,
    st.sampled_from(["language", "moods", "title", "genres", "director", "new", "nothing"]),
    st.lists(TEXTS | st.sampled_from(["comedy", "Up", "christopher nolan"]), min_size=1).map(tuple),
)
NUMBER_TESTS = st.builds(NumberTest, st.sampled_from(["year", "price", "nothing"]), NUMBERS, NUMBERS)
EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(
    TEXT_TESTS | NUMBER_TESTS,
    lambda part: st.builds(
        Combination, st.sampled_from(["all", "any", "none"]), st.lists(part, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=8,
)


def published(row: int) -> dict[str, Value]:
    """The columns of the catalog that an item has something in."""
    item_id, title, year, genres, director, *_ = MOVIES[row]
    columns: dict[str, Any] = {"id": item_id, "title": title, "year": float(year), "genres": tuple(genres)}
    return {name: value for name, value in (columns | {"director": director}).items() if value}


def table(custom: list[dict[str, Value]]) -> pl.DataFrame:
    rows = []
    for item, values in enumerate(custom):
        for name, value in values.items():
            kind = kind_of(value)
            rows.append({"item": item, "name": name, kind: list(value) if isinstance(value, tuple) else value})
    return pl.DataFrame(rows, dict(SCHEMA), orient="row")


def holds(expression: Expression, item: Item) -> bool:
    """By its definition, of one item."""
    if isinstance(expression, Combination):
        held = [holds(part, item) for part in expression.parts]
        return {"all": all(held), "any": any(held), "none": not any(held)}[expression.quantifier]
    value = item.get(expression.attribute)
    if value is None:
        return False
    if isinstance(expression, NumberTest):
        return isinstance(value, float) and expression.low <= value <= expression.high
    texts = value if isinstance(value, tuple) else (value,)
    return bool({str(text).lower() for text in texts} & {text.lower() for text in expression.texts})


@given(CUSTOM_ITEMS, PATCHES, PATCHES, EXPRESSIONS)
def test_an_expression_picks_what_a_look_at_each_item_picks(
    custom: list[dict[str, Value]],
    first: dict[int, dict[str, Value | None]],
    second: dict[int, dict[str, Value | None]],
    expression: Expression,
) -> None:
    attributes = Attributes.of_published(items(), table(custom))
    plain: list[dict[str, Any]] = [published(row) | custom[row] for row in range(ITEMS)]
    assert attributes.matches(expression).tolist() == [holds(expression, item) for item in plain]
    patched = attributes.patched(first).patched(second)
    changed = [item | (first | second).get(row, {}) for row, item in enumerate(plain)]
    assert patched.matches(expression).tolist() == [holds(expression, item) for item in changed]
    assert attributes.matches(expression).tolist() == [holds(expression, item) for item in plain]


def test_ids_are_exact_and_other_texts_are_not() -> None:
    attributes = Attributes.of_published(items())
    assert attributes.matches(TextTest("id", ("ten", "TEN", "1"))).nonzero()[0].tolist() == [0, 9]
    assert not attributes.matches(TextTest("id", ("Ten",))).any()
    assert attributes.matches(TextTest("title", ("FARGO",))).nonzero()[0].tolist() == [5]


def test_empty_columns_are_no_values() -> None:
    attributes = Attributes.of_published(items())
    assert attributes.matches(NumberTest("year", -1e9, 1e9)).sum() == ITEMS - 1
    assert not attributes.matches(TextTest("director", ("",))).any()
    assert not attributes.matches(TextTest("cast", ("anybody",))).any()


def test_a_patch_of_another_kind_is_left_out() -> None:
    patched = Attributes.of_published(items()).patched({0: {"year": "soon", "new": 1.0}})
    assert patched.matches(NumberTest("year", 1995, 1995))[0]
    assert not patched.matches(TextTest("year", ("1995",))).any()
    assert not patched.matches(NumberTest("title", 0, 1e30)).any()
    assert patched.matches(NumberTest("new", 1, 1)).nonzero()[0].tolist() == [0]


def test_an_attribute_of_changes_alone_takes_the_newer_kind() -> None:
    """A reader that lags may see who has the newer kind before it sees that nobody has the older one."""
    attributes = Attributes.of_published(items()).patched({0: {"mood": "calm"}})
    attributes = attributes.patched({1: {"mood": 5.0}, 2: {"mood": 6.0}}).patched({0: {}})
    assert attributes.matches(NumberTest("mood", 0.0, 9.0)).nonzero()[0].tolist() == [1, 2]


def test_a_published_catalog_carries_attributes(tmp_path: Path) -> None:
    publish_catalog(tmp_path, items(), TAGS)
    assert (
        not open_catalog(Repository(tmp_path).latest("catalog")).attributes.kinds.keys()
        - Catalog(items(), 1).attributes.kinds.keys()
    )
    folder = tmp_path / "catalog/1"
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    written = tmp_path / "attributes.parquet"
    table([{"language": "fr", "price": 2.0, "moods": ("sad", "slow")}]).write_parquet(written)
    publish(tmp_path, "catalog", {**files, "attributes.parquet": written.read_bytes()}, version=2)
    catalog = open_catalog(Repository(tmp_path).latest("catalog"))
    assert {"language": "text", "price": "number", "moods": "texts"}.items() <= catalog.attributes.kinds.items()
    assert catalog.passing(Filters(expression=TextTest("moods", ("SLOW",)))).nonzero()[0].tolist() == [0]


BAD: list[tuple[list[dict[str, Any]], str]] = [
    ([{"item": 10, "name": "a", "text": "x"}], "item must be 0 to 9"),
    ([{"item": -1, "name": "a", "text": "x"}], "item must be 0 to 9"),
    ([{"name": "a", "text": "x"}], "needs an item and a name"),
    ([{"item": 1, "text": "x"}], "needs an item and a name"),
    ([{"item": 1, "name": "a", "text": "x"}] * 2, "an item has an attribute twice"),
    ([{"item": 0, "name": f"n{number}", "number": 1} for number in range(1001)], "name has 1001 names; at most 1000"),
    ([{"item": 1, "name": "", "text": "x"}], "name must have 1 to 64 bytes"),
    ([{"item": 1, "name": "é" * 33, "text": "x"}], "name must have 1 to 64 bytes"),
    ([{"item": 1, "name": "year", "number": 1}], "'year' is a column of the catalog"),
    ([{"item": 1, "name": "a"}], "needs a value in one of text, texts, number"),
    ([{"item": 1, "name": "a", "text": "x", "number": 1}], "needs a value in one of text, texts, number"),
    ([{"item": 1, "name": "a", "text": "x"}, {"item": 2, "name": "a", "number": 1}], "'a' has values of several kinds"),
    ([{"item": 1, "name": "a", "number": float("nan")}], "number must be finite"),
    ([{"item": 1, "name": "a", "number": float("inf")}], "number must be finite"),
    ([{"item": 1, "name": "a", "texts": ["x"] * 101}], "texts has 101 of an item; at most 100"),
    ([{"item": 1, "name": "a", "texts": ["x" * 1001]}], "a text has 1001 characters; at most 1000"),
    ([{"item": 1, "name": "a", "text": "x" * 1001}], "a text has 1001 characters; at most 1000"),
]


@pytest.mark.parametrize(("rows", "message"), BAD)
def test_a_table_that_is_wrong_is_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    pl.DataFrame(rows, dict(SCHEMA), orient="row").write_parquet(tmp_path / "attributes.parquet")
    with pytest.raises(ArtifactError, match=message):
        load_attributes(tmp_path / "attributes.parquet", 10)
