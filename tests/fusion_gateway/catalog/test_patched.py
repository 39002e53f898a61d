"""A catalog with changes is the catalog that would be read if they were published."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_gateway.catalog.catalog import SCHEMA, Catalog, Filters
from fusion_gateway.catalog.facts import Facts
from fusion_gateway.catalog.title_search import TitleIndex

WORDS = ("amber", "birch", "cedar", "dunes", "ember", "fjord")
GENRES = ("Comedy", "comedy", "Drama", "Fable", "Crime")
FACTS = st.builds(
    Facts,
    title=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
    year=st.sampled_from([0, 1990, 2000]),
    genres=st.lists(st.sampled_from(GENRES), max_size=3, unique_by=str.casefold),
    director=st.sampled_from(["", "Ann Lee", "Bo Ek"]),
    poster=st.sampled_from(["", "a.jpg"]),
)
ITEMS = 8
ALL = st.lists(FACTS, min_size=ITEMS, max_size=ITEMS)
CHANGES = st.lists(st.dictionaries(st.integers(0, ITEMS - 1), FACTS, max_size=4), max_size=6)
HIDDEN = st.sets(st.integers(0, ITEMS - 1))


def catalog_of(items: Sequence[Facts]) -> Catalog:
    rows = []
    for row, (title, year, genres, director, _, poster) in enumerate(items):
        rows.append((row + 1, f"i{row}", title, year, genres, director, poster, 9 - row, 0.0))
    return Catalog(pl.DataFrame(rows, SCHEMA, orient="row"), 1)


@given(ALL, CHANGES, HIDDEN)
def test_changes_are_as_if_they_were_published(
    items: list[Facts], changes: list[Mapping[int, Facts]], hidden: set[int]
) -> None:
    mask = np.isin(np.arange(ITEMS), list(hidden))
    titles = TitleIndex(catalog_of(items))
    for each in changes:
        titles = titles.patched(titles.catalog.patched(each, {}, mask), each)
        items = [each.get(row, facts) for row, facts in enumerate(items)]
    check_same_facts(titles.catalog, catalog_of(items))
    check_same_titles(titles, TitleIndex(catalog_of(items)), hidden if changes else set())


def check_same_facts(patched: Catalog, published: Catalog) -> None:
    assert [patched.item(row) for row in range(ITEMS)] == [published.item(row) for row in range(ITEMS)]
    assert patched.work.tolist() == published.work.tolist()
    assert patched.num_repeats == published.num_repeats
    of_patched, of_published = (catalog.genre_vectors(np.arange(ITEMS)) for catalog in (patched, published))
    np.testing.assert_allclose(of_patched @ of_patched.T, of_published @ of_published.T, atol=1e-6)
    for row in range(ITEMS):
        assert patched.directors.same(row).tolist() == published.directors.same(row).tolist()
    for genre in GENRES:
        passing = published.passing(Filters(genres_any=[genre])) & ~patched.hidden
        assert patched.passing(Filters(genres_any=[genre])).tolist() == passing.tolist()


def check_same_titles(patched: TitleIndex, published: TitleIndex, hidden: set[int]) -> None:
    for word in WORDS:
        expected = [found for found in published.search(word, ITEMS) if found[0] not in hidden]
        assert patched.search(word, ITEMS) == expected


def test_parts_of_the_index_stay_few() -> None:
    titles = TitleIndex(catalog_of([Facts(title=f"item {row}") for row in range(1000)]))
    hidden = np.zeros(1000, np.bool_)
    for row in range(500):
        changed = {row: Facts(title=f"other {row}")}
        titles = titles.patched(titles.catalog.patched(changed, {}, hidden), changed)
    assert len(titles._parts) < 12
    assert titles.search("other 77", 1) == [(77, 100.0)]
    assert titles.search("item 77", 1)[0][0] != 77


def test_genres_beyond_the_limit_are_shown_and_no_filter_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusion_gateway.catalog.catalog.MAX_VALUES", 2 * ITEMS)
    catalog = catalog_of([Facts(title="one", genres=["Comedy"])] * ITEMS)
    changed = {0: Facts(title="one", genres=["A", "B", "Comedy"])}
    patched = catalog.patched(changed, {}, np.zeros(ITEMS, np.bool_))
    assert (catalog.room_for_genres, catalog.new_genres(["comedy", "New", "new"])) == (1, ["new"])
    assert (patched.room_for_genres, patched.new_genres(["comedy", "a", "b"])) == (0, ["b"])
    assert list(patched.item(0).genres) == ["A", "B", "Comedy"]
    assert patched.passing(Filters(genres_any=["a"])).nonzero()[0].tolist() == [0]
    assert not patched.passing(Filters(genres_any=["b"])).any()


def test_names_of_genres_are_those_that_visible_items_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusion_gateway.catalog.catalog.MAX_GENRES_LISTED", 2)
    catalog = catalog_of([Facts(title="one", genres=["Comedy"])] * ITEMS)
    nothing_hidden = np.zeros(ITEMS, np.bool_)
    room = catalog.room_for_genres
    for call in range(20):
        changed = {0: Facts(title="one", genres=["Comedy", f"{call}a", f"{call}b"])}
        catalog = catalog.patched(changed, {}, nothing_hidden)
    assert (catalog.genre_names, catalog.room_for_genres) == (["19a", "Comedy"], room - 2)
    assert not catalog.knows_genre("18a")
    catalog = catalog.patched({}, {}, np.arange(ITEMS) == 0)
    assert catalog.genre_names == ["Comedy"]
