"""What is known of the items: names, facts, popularity. Rows are positions in arrays sorted by item number."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusion_gateway.catalog.attribute_file import ATTRIBUTES, load_attributes
from fusion_gateway.catalog.attributes import Attributes, Value
from fusion_gateway.catalog.directors import Directors
from fusion_gateway.catalog.expression import Expression
from fusion_gateway.catalog.facts import Column, Facts, Patched, at
from fusion_gateway.catalog.genre_classes import GenreClasses, unit
from fusion_gateway.catalog.hashes import RowOfText, hashes
from fusion_gateway.catalog.parquet import MAX_ITEMS, MAX_VALUES, Kind, read_table
from fusion_gateway.catalog.rating_scale import RatingScale, load_rating_scale
from fusion_gateway.catalog.text_files import TEXT_FILES, Texts, load_texts
from fusion_gateway.fusion import Mask, Order, Passing, RowOfNumber, Rows, best_rows
from protos.marquee.v1.recommender_pb2 import Item
from servers.runtime.errors import ArtifactError, Unavailable
from servers.runtime.kept import Kept
from servers.runtime.repository import Version

SCHEMA: Mapping[str, Kind] = {
    "number": pl.Int64,
    "id": pl.String,
    "title": pl.String,
    "year": pl.Int32,
    "genres": pl.List(pl.String),
    "director": pl.String,
    "poster": pl.String,
    "votes": pl.Int64,
    "weighted_rating": pl.Float64,
}
CAST: Mapping[str, Kind] = {"cast": pl.List(pl.String)}
"""A column that catalogs of before it was published lack."""
MAX_CHARACTERS = {"id": 1000, "title": 1000, "director": 1000, "poster": 2000}
"""Maximum number of characters of a field: 500 longer ones would make an answer that no client takes."""
MAX_CAST = 100
MAX_GENRES, MAX_GENRE_CHARACTERS = 100, 256
"""Maximum number of genres of an item, and of characters of a genre."""
MAX_GENRES_LISTED = 1000
"""Names of genres that are listed: GetStatus has them all, in one message."""
Keys = NDArray[np.int64]
Values = Mapping[str, Value | None]
"""Of an item's attributes by name; None: it has no value."""
NO_TEXTS = Texts()
SPREAD = 0x1E3779B97F4A7C15
"""By which years are multiplied, so that those of one title differ in any bit."""
MAX_KEPT = 32
"""Filters of which it is kept what passes, for the next requests may have them again: a byte an item each."""
MAX_KEPT_IDS = 1000
"""Of filters by ids; those with more are not kept: they take more memory than what passes."""
V = TypeVar("V")


@dataclass(frozen=True)
class Filters:
    """What an item must be; an empty field lets everything pass."""

    genres_any: Sequence[str] = ()
    genres_none: Sequence[str] = ()
    year_min: int | None = None
    year_max: int | None = None
    ids_in: Sequence[str] = ()
    ids_out: Sequence[str] = ()
    expression: Expression | None = None


def _keys_of_works(ids: Keys, titles: pl.Series, years: NDArray[np.int32], untitled: Mask) -> Keys:
    """Equal for the same title and year, but for case and blanks. An item whose title is its id, which is `untitled`,
    or whose year is unknown, is a work of its own. `ids`: hashes. 64 bits tell millions of works apart.
    """
    is_plain = titles.str.contains(r"^[\x20-\x7E]*$")
    plain = titles.filter(is_plain).str.to_lowercase().str.replace_all(r" +", " ").str.strip_chars(" ")
    keys = np.empty(len(titles), np.int64)
    others = [" ".join(title.casefold().split()) for title in titles.filter(~is_plain)]
    keys[is_plain.to_numpy()] = hashes(plain)
    keys[~is_plain.to_numpy()] = hashes(pl.Series(others, dtype=pl.String))
    keys ^= years.astype(np.int64) * SPREAD
    return np.where(untitled | (years == 0), ~ids, keys)


def _works(keys: Keys) -> Rows:
    """[items]: the first row with the same key."""
    _, first, work = np.unique(keys, return_index=True, return_inverse=True)
    works: Rows = first[work]
    return works


def _column(values: Sequence[V], changed: Mapping[int, V]) -> Sequence[V]:
    """With the changed ones where they are others."""
    others = {row: value for row, value in changed.items() if value != values[row]}
    return Patched(values, others) if others else values


def _rows_of_repeated(works: Rows) -> Mapping[int, list[int]]:
    """Work -> its rows, of the works that have several."""
    repeated = np.bincount(works, minlength=len(works)) > 1
    rows: defaultdict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(repeated[works]).tolist():
        rows[int(works[row])].append(row)
    return rows


class Catalog:
    """A published version of the catalog and what was changed since, in memory; nothing changes after construction."""

    def __init__(
        self,
        items: pl.DataFrame,
        version: int,
        texts: Texts | None = None,
        scale: RatingScale | None = None,
        attributes: pl.DataFrame | None = None,
    ) -> None:
        """`scale`: of the data's ratings; None where it is not known. `attributes`: as load_attributes reads them."""
        self.version = version
        self.texts = texts or NO_TEXTS
        self.rating_scale = scale
        self.number: NDArray[np.int64] = items["number"].to_numpy()
        self._row_of_number = RowOfNumber(self.number)
        self.id: Sequence[str] = Column(items["id"])
        self.title: Sequence[str] = Column(items["title"])
        self.year: NDArray[np.int32] = items["year"].to_numpy()
        self.genres: Sequence[Sequence[str]] = Column(items["genres"])
        self.director: Sequence[str] = Column(items["director"])
        cast = items["cast"] if "cast" in items else pl.repeat([], len(items), dtype=CAST["cast"], eager=True)
        self.cast: Sequence[Sequence[str]] = Column(cast)
        """Actors; empty where the catalog has none."""
        self.poster: Sequence[str] = Column(items["poster"])
        self.directors = Directors.of(items["director"])
        self.votes: NDArray[np.int64] = items["votes"].to_numpy()
        self.weighted_rating: NDArray[np.float64] = items["weighted_rating"].to_numpy()
        by_rating = np.lexsort((self.number, -self.votes, -self.weighted_rating))
        rating_rank = np.empty(len(self), np.int32)
        rating_rank[by_rating] = np.arange(len(self), dtype=np.int32)
        self.by_rating = Order(by_rating, lambda rows: -rating_rank[rows])
        """By weighted rating, best first."""
        self.new_rows: Rows = np.flatnonzero(self.votes == 0)[::-1]
        """Of items that nobody has watched, the newest first."""
        self._ids_in_order: list[str] | None = None
        self._orders: dict[str, Order] = {}
        id_hashes = hashes(items["id"])
        self._row = RowOfText(self.id, id_hashes)
        untitled = (items["title"] == items["id"]).to_numpy()
        self._work_key: Keys = _keys_of_works(id_hashes, items["title"], self.year, untitled)
        self._set_works(_works(self._work_key))
        self._set_genres(items["genres"])
        self._set_hidden(np.zeros(len(self), np.bool_))
        self.attributes = Attributes.of_published(items, attributes)

    def __len__(self) -> int:
        return len(self.id)

    def _set_genres(self, genres: pl.Series) -> None:
        rows = pl.DataFrame({"name": genres}).with_row_index("row").explode("name").drop_nulls()
        spellings = sorted(rows["name"].unique(), reverse=True)
        self._spelling = {spelling.casefold(): spelling for spelling in spellings}
        """Of genres by their names in lower case."""
        self._genre = {name: column for column, name in enumerate(sorted(self._spelling))}
        self.has_genre = np.zeros((len(self), len(self._genre)), np.bool_)
        column_of = {spelling: self._genre[spelling.casefold()] for spelling in spellings}
        if column_of:
            columns = rows["name"].replace_strict(column_of, return_dtype=pl.Int32)
            self.has_genre[rows["row"].to_numpy(), columns.to_numpy()] = True
        self._items_with_genre = self.has_genre.sum(axis=0)
        self._genre_classes: GenreClasses | None = None
        self.genre_classes()

    def _set_hidden(self, hidden: Mask) -> None:
        self.hidden = hidden
        """[items]: which no answer may have."""
        self.all_visible = Passing(~hidden)
        self._passing: Kept[tuple[Filters, ...], Passing] = Kept(MAX_KEPT)
        self._holding: Kept[Expression, Mask] = Kept(MAX_KEPT)
        self.genre_names = self._names_of_genres()
        """Those that most visible items have, at most MAX_GENRES_LISTED, in alphabetical order, as items spell them."""

    def _set_works(self, work: Rows) -> None:
        self.work = work
        """[items]: the first row of the same work, which may be listed under several ids."""
        self._repeated = _rows_of_repeated(self.work)
        self.num_repeats = sum(len(rows) - 1 for rows in self._repeated.values())
        """Number of rows that are another id of an earlier row's work."""

    def facts(self, row: int) -> Facts:
        return Facts(
            self.title[row],
            int(self.year[row]),
            self.genres[row],
            self.director[row],
            self.cast[row],
            self.poster[row],
        )

    def patched(self, facts: Mapping[int, Facts], values: Mapping[int, Values], hidden: Mask) -> "Catalog":
        """With other facts, and values of attributes, of some rows, and others hidden.

        Of attributes a row has what is published but for its `values`. Arrays that do not change are shared.
        """
        changed = copy(self)
        changed.attributes = self.attributes.patched(values)
        for name in ("title", "genres", "director", "cast", "poster"):
            column = {row: getattr(each, name) for row, each in facts.items()}
            setattr(changed, name, _column(getattr(self, name), column))
        changed._patch_years({row: each.year for row, each in facts.items()})
        changed._patch_works(np.fromiter(facts, np.int64, len(facts)))
        if changed.director is not self.director:
            changed.directors = self.directors.patched(list(facts), [each.director for each in facts.values()])
        if changed.genres is not self.genres:
            changed._patch_genres(facts.keys())
        changed._set_hidden(hidden)
        return changed

    def _patch_years(self, years: Mapping[int, int]) -> None:
        rows, found = list(years), list(years.values())
        if not np.array_equal(self.year[rows], found):
            self.year = self.year.copy()
            self._orders = {}
            self.year[rows] = found

    def _patch_works(self, rows: Rows) -> None:
        listed = rows.tolist()
        found = self._keys_of_works(listed)
        if np.array_equal(self._work_key[rows], found):
            return
        others = np.union1d(self._work_key[rows], found)
        keys = self._work_key.copy()
        keys[rows] = found
        # Of works that have lost or gained a row, all rows: the others' stay as they are.
        index = np.searchsorted(others, keys).clip(max=len(others) - 1)
        changed = np.flatnonzero(others[index] == keys)
        work = self.work.copy()
        work[changed] = changed[_works(keys[changed])]
        self._work_key = keys
        self._set_works(work)

    def _keys_of_works(self, rows: list[int]) -> Keys:
        ids, titles = at(self.id, rows), at(self.title, rows)
        return _keys_of_works(hashes(ids), titles, self.year[rows], (ids == titles).to_numpy())

    def _patch_genres(self, rows: Collection[int]) -> None:
        listed = list(rows)
        spelled = {genre.casefold(): genre for row in rows for genre in self.genres[row]}
        spelling = {**spelled, **self._spelling}
        has = self.has_genre.copy()
        has[listed] = False
        columns = np.flatnonzero(has.any(axis=0))  # a name that no item has any more makes room for others
        names, before = list(self._genre), self._genre
        kept = [names[column] for column in columns]
        new = sorted(spelled.keys() - set(kept), key=lambda name: (name not in before, name))
        new = new[: max(MAX_VALUES // len(self) - len(kept), 0)]
        self._genre = {name: column for column, name in enumerate([*kept, *new])}
        self._spelling = {name: spelling[name] for name in self._genre}
        self.has_genre = np.pad(has[:, columns], ((0, 0), (0, len(new))))
        for row in rows:
            names = [genre.casefold() for genre in self.genres[row]]
            self.has_genre[row, [self._genre[name] for name in names if name in self._genre]] = True
        self._items_with_genre = self.has_genre.sum(axis=0)
        self._genre_classes = None

    def _names_of_genres(self) -> list[str]:
        visible = self._items_with_genre - self.has_genre[self.hidden].sum(axis=0)
        count = min(np.count_nonzero(visible), MAX_GENRES_LISTED)
        columns = np.argsort(-visible, kind="stable")[:count]
        names = list(self._genre)
        return sorted((self._spelling[names[column]] for column in columns), key=str.casefold)

    @property
    def room_for_genres(self) -> int:
        """How many more names filters can know; those beyond are shown, and no filter finds them."""
        return max(MAX_VALUES // len(self) - len(self._genre), 0)

    def new_genres(self, names: Iterable[str]) -> list[str]:
        """Those that no item has, in lower case."""
        return sorted({name.casefold() for name in names} - self._genre.keys())

    def rows_of(self, numbers: NDArray[np.int64]) -> Rows:
        """Rows of item numbers, in their order, without those the catalog does not have."""
        row = self._row_of_number.find(numbers)
        return row[row >= 0]

    def row_of(self, item_id: str) -> int | None:
        return self._row.get(item_id)

    def ids_in_order(self) -> list[str]:
        """All ids in the order of their bytes. Blocking, the first time."""
        if self._ids_in_order is None:
            self._ids_in_order = sorted(self.id)
        return self._ids_in_order

    def visible_row_of(self, item_id: str) -> int | None:
        """None also where no answer may have the item."""
        row = self.row_of(item_id)
        return None if row is None or self.hidden[row] else row

    def visible(self, rows: Rows) -> Rows:
        """Those of `rows` that are not hidden."""
        return rows[~self.hidden[rows]]

    def ordered(self, name: str, score: Callable[["Catalog", Rows], NDArray[np.floating]]) -> Order:
        """All rows by a score of theirs, [R] of rows [R]; one name stands for one score. Blocking, the first time."""
        if name not in self._orders:
            best = best_rows(score(self, np.arange(len(self))), len(self))
            self._orders[name] = Order(best, partial(score, self))
        return self._orders[name]

    def first_of_works(self, rows: Rows) -> Rows:
        """Indices into `rows`, ascending, of the first row of each work."""
        _, first = np.unique(self.work[rows], return_index=True)
        return np.sort(first)

    def of_same_works(self, rows: Rows) -> Rows:
        """`rows`, and whatever else is one of their works under another id."""
        others = [self._repeated.get(work, ()) for work in self.work[rows].tolist()]
        return np.union1d(rows, np.fromiter(chain.from_iterable(others), np.int64))

    def rows_with_ids(self, ids: Iterable[str]) -> Rows:
        """Of all works that have one of these external ids, under all of theirs; ids that there are not are skipped."""
        known = [row for row in map(self.row_of, ids) if row is not None]
        return self.of_same_works(np.array(known, np.int64))

    def knows_genre(self, name: str) -> bool:
        """In any case."""
        return name.casefold() in self._genre

    def genre_vectors(self, rows: Rows) -> NDArray[np.float32]:
        """[R, genres], unit length; zeros for an item without genres."""
        return unit(self.has_genre[rows])

    def genre_classes(self) -> GenreClasses:
        """Blocking, the first time after genres were changed."""
        if self._genre_classes is None:
            self._genre_classes = GenreClasses.of(self.has_genre, self.by_rating.best)
        return self._genre_classes

    @property
    def slow_to_compare(self) -> bool:
        """Whether likeness to an item has to look at more than a few of the others."""
        return self.texts != NO_TEXTS or self._genre_classes is None

    def text_likeness(self, row: int) -> NDArray[np.floating]:
        """[items]: cosine of the text vectors of each with that of the item at `row`; zeros without such vectors."""
        vectors = self.texts.vectors
        return np.zeros(len(self)) if vectors is None else np.asarray(vectors @ vectors[row])

    def about(self, query: str, k: int) -> list[tuple[int, float]]:
        """At most k works (row, likeness 0 to 100) whose texts are like the query, best first; of equals, more votes.

        Raises Unavailable where the version has no texts to search.
        """
        if self.texts.search is None:
            raise Unavailable("semantic: the published catalog has no texts to search: train the catalog again")
        likeness = self.texts.search.likeness(query)
        rows = np.flatnonzero((likeness > 0) & ~self.hidden)
        best = rows[np.lexsort((-self.votes[rows], -likeness[rows]))]
        works = best[self.first_of_works(best)][:k]
        return [(int(row), min(float(100 * likeness[row]), 100.0)) for row in works]

    def known_passing(self, filters: tuple[Filters, ...]) -> Passing | None:
        """As `passing_all`, where it is known."""
        return self._passing.get(filters) if filters else self.all_visible

    def passing_all(self, filters: tuple[Filters, ...]) -> Passing:
        """What is not hidden and passes all of several filters."""
        if not filters:
            return self.all_visible
        mask = np.logical_and.reduce([self.passing(each) for each in filters])
        passing = Passing(mask)
        ids = sum(len(each.ids_in) + len(each.ids_out) for each in filters)
        return self._passing.kept(filters, passing) if ids <= MAX_KEPT_IDS else passing

    def holds(self, expression: Expression) -> Mask:
        """[items]: of which it holds. Not to be changed."""
        mask = self._holding.get(expression)
        if mask is None:
            mask = self._holding.kept(expression, self.attributes.matches(expression))
        return mask

    def passing(self, filters: Filters) -> Mask:
        """[items]: which are not hidden and pass all the filters. Unknown genres and ids match nothing."""
        mask = ~self.hidden
        if filters.genres_any:
            mask &= self._with_genre(filters.genres_any)
        if filters.genres_none:
            mask &= ~self._with_genre(filters.genres_none)
        if filters.year_min is not None:
            mask &= (self.year >= filters.year_min) & (self.year != 0)
        if filters.year_max is not None:
            mask &= (self.year <= filters.year_max) & (self.year != 0)
        if filters.ids_in:
            mask &= self._with_id(filters.ids_in)
        if filters.ids_out:
            mask &= ~self._with_id(filters.ids_out)
        if filters.expression:
            mask &= self.attributes.matches(filters.expression)
        return mask

    def _with_genre(self, names: Iterable[str]) -> Mask:
        known = [self._genre[name.casefold()] for name in names if name.casefold() in self._genre]
        return np.asarray(self.has_genre[:, known].any(axis=1))

    def _with_id(self, ids: Iterable[str]) -> Mask:
        mask = np.zeros(len(self), np.bool_)
        mask[[row for row in map(self.row_of, ids) if row is not None]] = True
        return mask

    def item(self, row: int) -> Item:
        """The item as the API shows it."""
        return Item(
            id=self.id[row],
            title=self.title[row],
            year=int(self.year[row]),
            genres=self.genres[row],
            director=self.director[row],
            poster_url=self.poster[row],
        )


def open_catalog(version: Version) -> Catalog:
    """Raises ArtifactError when its files are not what a catalog is."""
    published = {file.path for file in version.manifest.files}
    files = {name: version.file(name) for name in (*TEXT_FILES, ATTRIBUTES) if name in published}
    return load_catalog(version.file("items.parquet"), version.number, files, load_rating_scale(version))


def load_catalog(
    path: Path, version: int, files: Mapping[str, Path] | None = None, scale: RatingScale | None = None
) -> Catalog:
    """Reads a version's items.parquet, and those of TEXT_FILES and ATTRIBUTES that `files` has, by name.

    Raises ArtifactError when they are not what a catalog is.
    """
    items = read_table(path, "items", "catalog", MAX_ITEMS, SCHEMA, CAST)
    if items.is_empty() or items.null_count().sum_horizontal().item() or not items["number"].is_sorted():
        raise ArtifactError(f"{path}: must hold items without gaps, sorted by number", "catalog")
    if items["number"].n_unique() != len(items) or items["id"].n_unique() != len(items):
        raise ArtifactError(f"{path}: every number and every id must be there once", "catalog")
    if problem := _beyond(items):
        raise ArtifactError(f"{path}: {problem}", "catalog")
    files = files or {}
    attributes = load_attributes(files[ATTRIBUTES], len(items)) if ATTRIBUTES in files else None
    return Catalog(items, version, load_texts(files, len(items)), scale, attributes)


def _beyond(items: pl.DataFrame) -> str:
    """Which limit a table without gaps breaks; empty: none."""
    if items["number"][0] < 1 or not items["weighted_rating"].is_finite().all():
        return "every number must be 1 at least, and every weighted_rating finite"
    for name, maximum in MAX_CHARACTERS.items():
        lengths = items[name].str.len_chars()
        if (longest := _max(lengths)) > maximum:
            return f"{name} has {longest} characters; at most {maximum}"
        if (total := lengths.sum()) > MAX_VALUES:
            return f"{name} has {total} characters in all items; at most {MAX_VALUES}"
    if (count := _max(items["genres"].list.len())) > MAX_GENRES:
        return f"genres has {count} of an item; at most {MAX_GENRES}"
    if "cast" in items and (count := _max(items["cast"].list.len())) > MAX_CAST:
        return f"cast has {count} of an item; at most {MAX_CAST}"
    genres = items["genres"].explode(empty_as_null=False)
    if genres.null_count():
        return "genres has gaps"
    if (longest := _max(genres.str.len_chars())) > MAX_GENRE_CHARACTERS:
        return f"genres has {longest} characters; at most {MAX_GENRE_CHARACTERS}"
    if (known := genres.n_unique()) * len(items) > MAX_VALUES:
        return f"genres has {known} names; at most {MAX_VALUES // len(items)} of {len(items)} items"
    return ""


def _max(lengths: pl.Series) -> int:
    return int(lengths.to_numpy().max(initial=0))
