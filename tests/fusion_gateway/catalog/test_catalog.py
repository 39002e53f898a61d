from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fusion_gateway.catalog.catalog import SCHEMA, Catalog, Filters, load_catalog
from fusion_gateway.catalog.parquet import MAX_ITEMS
from fusion_gateway.catalog.title_search import TitleIndex
from servers.runtime.errors import ArtifactError
from tests.fusion_gateway.world import items

CATALOG = Catalog(items(), 1)
TITLES = TitleIndex(CATALOG)


def test_numbers_ids_and_popularity() -> None:
    assert CATALOG.row_of("ten") == 9
    assert CATALOG.row_of("10") is None
    assert CATALOG.rows_of(np.array([3, 99, 0, -1, 1])).tolist() == [2, 0]
    assert [CATALOG.title[row] for row in CATALOG.by_rating.best[:3]] == ["Fargo", "Inception", "Memento"]
    lengths = np.linalg.norm(CATALOG.genre_vectors(np.arange(len(CATALOG))), axis=1)
    np.testing.assert_allclose(lengths, [1] * 9 + [0], rtol=1e-6)


WORKS: list[tuple[list[tuple[str, str, int]], list[int]]] = [
    # id, title, year; and the first row of each one's work
    ([("246", "Chasing Amy", 1997), ("268", "Chasing  amy ", 1997), ("9", "Chasing Amy", 1998)], [0, 0, 2]),
    ([("1", "That Darn Cat!", 1997), ("2", "That Darn Cat", 1997), ("3", "The Darn", 1997)], [0, 1, 2]),
    ([("1", "Untitled", 0), ("2", "Untitled", 0)], [0, 1]),
    (
        [("1-11", "1-11", 0), ("111", "111", 0), ("a-100", "a-100", 0), ("100", "100", 0)],
        [0, 1, 2, 3],
    ),
    (
        [("dQw", "dQw", 2001), ("DQW", "DQW", 2001), ("🎬", "🎬", 0), ("***", "***", 0)],
        [0, 1, 2, 3],
    ),
]


@pytest.mark.parametrize(("rows", "works"), WORKS)
def test_one_work_has_one_title_and_one_year(rows: list[tuple[str, str, int]], works: list[int]) -> None:
    names = pl.DataFrame(rows, schema=["id", "title", "year"], orient="row").cast({"year": pl.Int32})
    table = items().head(len(rows)).with_columns(names)
    assert Catalog(table, 1).work.tolist() == works


def test_titles_without_a_letter_are_found() -> None:
    table = items().with_columns(title=pl.Series(["🎬", "***", *"abcdefgh"]))
    titles = TitleIndex(Catalog(table, 1))
    assert [titles.search(query, 1)[0][0] for query in ("🎬", "***", "a")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("interstella", "Interstellar"),
        ("prestige the", "The Prestige"),
        ("PRESTIGE, THE (2006)", "The Prestige"),
        ("amelie", "Amélie"),
        ("lebowsky", "The Big Lebowski"),
        ("big lebowski", "The Big Lebowski"),
        ("up", "Up"),
        ("the up", "Up"),
        ("toy", "Toy Story"),
        ("incepton", "Inception"),
    ],
)
def test_finds_titles_as_people_type_them(query: str, title: str) -> None:
    [(row, likeness), *others] = TITLES.search(query, 5)
    assert CATALOG.title[row] == title
    assert all(less <= likeness <= 100 for _, less in others)


@pytest.mark.parametrize("query", ["", "?!", "the godfather", "x" * 256])
def test_finds_nothing_alike(query: str) -> None:
    assert TITLES.search(query, 5) == []


FILMS = [
    ("E.T. the Extra-Terrestrial", 1982, 300),
    ("When Harry Met Sally...", 1989, 290),
    ("M*A*S*H", 1970, 200),
    ("The Mask", 1994, 400),
    ("Il Postino (The Postman)", 1994, 100),
    ("The Postman", 1997, 90),
    ("Blade Runner 2049", 2017, 500),
    ("Blade Runner", 1982, 600),
    ("Spaceballs", 1987, 150),
    ("Fargo", 1996, 250),
    ("Fargo", 2014, 900),
    ("L.A. Confidential", 1997, 80),
]


@pytest.mark.parametrize(
    ("query", "title", "year"),
    [
        ("ET", "E.T. the Extra-Terrestrial", 1982),
        ("e.t", "E.T. the Extra-Terrestrial", 1982),
        ("mash", "M*A*S*H", 1970),
        ("la confidential", "L.A. Confidential", 1997),
        ("fargo 1996", "Fargo", 1996),
        ("fargo (1996)", "Fargo", 1996),
        ("fargo", "Fargo", 2014),
        ("fargo 2001", "Fargo", 2014),
        ("blade runner 2049", "Blade Runner 2049", 2017),
        ("blade runner 1982", "Blade Runner", 1982),
        ("il postino", "Il Postino (The Postman)", 1994),
        ("the postman", "The Postman", 1997),
        ("the postman 1994", "Il Postino (The Postman)", 1994),
        ("ball", "Spaceballs", 1987),
        ("space", "Spaceballs", 1987),
    ],
)
def test_initials_years_and_parentheses(query: str, title: str, year: int) -> None:
    names, years, votes = zip(*FILMS, strict=True)
    many = pl.concat([items(), items()]).head(len(FILMS))
    number = pl.int_range(1, len(FILMS) + 1)
    numbered = many.with_columns(number=number, id=number.cast(pl.String))
    columns = {"title": names, "year": years, "votes": votes}
    table = numbered.with_columns(pl.Series(name, column, SCHEMA[name]) for name, column in columns.items())
    index = TitleIndex(Catalog(table, 1))
    row = index.search(query, 1)[0][0]
    assert (index.catalog.title[row], index.catalog.year[row]) == (title, year)


def test_both_parts_of_a_title_with_parentheses_are_found_whole() -> None:
    index = TitleIndex(Catalog(items().head(1).with_columns(title=pl.lit("Il Postino (The Postman)")), 1))
    assert index.search("il postino", 1) == [(0, 100.0)]
    assert index.search("the postman", 1) == [(0, 90.0)]


def test_a_title_that_contains_the_query_is_found_beside_one_that_is_like_it() -> None:
    table = items().head(2).with_columns(title=pl.Series(["Star Wars", "Stare"]))
    assert [row for row, _ in TitleIndex(Catalog(table, 1)).search("star", 5)] == [0, 1]


def test_the_better_known_of_equals_comes_first() -> None:
    again = items().with_columns(
        number=pl.col("number") + 10,
        id="b" + pl.col("id"),
        votes=pl.col("votes") + 1,
    )
    index = TitleIndex(Catalog(pl.concat([items(), again]), 1))
    assert [row for row, _ in index.search("fargo", 2)] == [15, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop("title"), "not a table of items"),
        (lambda table: table.head(0), "without gaps"),
        (lambda table: table.with_columns(title=pl.lit(None)), "without gaps"),
        (lambda table: table.reverse(), "sorted"),
        (lambda table: table.with_columns(id=pl.lit("same")), "there once"),
        (lambda table: table.with_columns(genres=pl.lit([None], pl.List(pl.String))), "genres has gaps"),
        (lambda table: table.with_columns(title=pl.lit("x" * 1001)), "title has 1001 characters; at most 1000"),
        (lambda table: table.with_columns(genres=pl.lit(["x"] * 101)), "genres has 101 of an item; at most 100"),
        (lambda table: table.with_columns(genres=pl.lit(["x" * 257])), "genres has 257 characters; at most 256"),
        (lambda table: table.with_columns(weighted_rating=pl.lit(float("nan"))), "weighted_rating finite"),
        (lambda table: table.with_columns(number=pl.col("number") - 1), "number must be 1 at least"),
        (
            lambda table: table.head(1).select(pl.all().repeat_by(MAX_ITEMS + 1).explode()),
            "2000001 rows of items are too",
        ),
    ],
)
def test_a_broken_catalogue_is_refused(tmp_path: Path, change: object, message: str) -> None:
    change(items()).write_parquet(tmp_path / "items.parquet")  # type: ignore[operator]
    with pytest.raises(ArtifactError, match=message):
        load_catalog(tmp_path / "items.parquet", 1)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"item": [0, None], "word": [1, 2], "weight": [0.5, 0.5]}, "words without gaps"),
        ({"item": [0, 1], "word": [1, None], "weight": [0.5, 0.5]}, "words without gaps"),
        ({"item": [0, 1], "word": [1, 2], "weight": [0.5, float("inf")]}, "finite weights"),
        ({"item": [0, 10], "word": [1, 2], "weight": [0.5, 0.5]}, "words of items that items.parquet has not"),
    ],
)
def test_broken_tags_are_refused(tmp_path: Path, tags: dict[str, list[object]], message: str) -> None:
    items().write_parquet(tmp_path / "items.parquet")
    pl.DataFrame(tags).write_parquet(tmp_path / "tags.parquet")
    with pytest.raises(ArtifactError, match=message):
        load_catalog(tmp_path / "items.parquet", 1, {"tags.parquet": tmp_path / "tags.parquet"})


def test_words_may_have_any_number(tmp_path: Path) -> None:
    items().write_parquet(tmp_path / "items.parquet")
    tags = pl.DataFrame(
        {
            "item": [0, 1, 1],
            "word": [2**28, 2**28, -5],
            "weight": [1.0, 0.6, 0.8],
        }
    )
    tags.write_parquet(tmp_path / "tags.parquet")
    catalog = load_catalog(tmp_path / "items.parquet", 1, {"tags.parquet": tmp_path / "tags.parquet"})
    assert catalog.texts.tags
    rows, likeness = catalog.texts.tags.likeness(1)
    np.testing.assert_allclose(likeness[rows < 3], [0.6, 1])


def test_a_truncated_catalogue_is_refused(tmp_path: Path) -> None:
    (tmp_path / "items.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match="not a table of items"):
        load_catalog(tmp_path / "items.parquet", 1)


def test_brackets_in_the_path_of_a_repository_are_no_pattern(tmp_path: Path) -> None:
    for name, first in (("repo[1]", "Toy Story"), ("repo1", "Another")):
        (tmp_path / name).mkdir()
        table = items().with_columns(pl.col("title").replace("Toy Story", first))
        table.write_parquet(tmp_path / name / "items.parquet")
    assert load_catalog(tmp_path / "repo[1]" / "items.parquet", 1).title[0] == "Toy Story"


def test_few_filters_are_kept_whatever_the_size_of_the_catalog() -> None:
    catalog = Catalog(items(), 1)
    filters = [(Filters(year_min=year),) for year in range(1900, 2000)]
    for each in filters:
        catalog.passing_all(each)
    assert [each for each in filters if catalog.known_passing(each)] == filters[-32:]
    many = (Filters(ids_in=tuple(map(str, range(1001)))),)
    assert catalog.passing_all(many).count == 9
    assert catalog.known_passing(many) is None
