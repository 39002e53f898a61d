"""From a folder to a Dataset: recognizes the layout, finds posters and TMDB tables beside it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from fusion_gateway.ingest.checks import LINE
from fusion_gateway.ingest.table import open_table, whole
from training.data import directors, generic, movielens
from training.data.dataset import Dataset, assemble
from training.data.tables import Tables, columns_of, split_list
from training.errors import DataError
from training.progress import console

LAYOUTS: tuple[tuple[str, tuple[str, ...], Callable[[Path], Tables]], ...] = (
    ("MovieLens 100K", ("u.data", "u.item", "u.genre", "u.user"), movielens.read_100k),
    ("MovieLens 1M", ("ratings.dat", "movies.dat"), movielens.read_1m),
    ("MovieLens latest", ("ratings.csv", "movies.csv"), movielens.read_latest),
    ("MovieLens 20M of Kaggle", ("rating.csv", "movie.csv"), movielens.read_kaggle),
)
IMPORT = "python -m training data import FILE... --out data/mine"
"""The command that reads what is no data folder yet."""
POSTER_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
FOUND_SHOWN = 8
"""Names of files that an error lists."""
FROM_TMDB = ("overview", "director", "cast", "keywords")


def load_dataset(
    folder: Path, posters: Path | None = None, tmdb: Path | None = None, numbers: Mapping[str, int] | None = None
) -> Dataset:
    """Reads a MovieLens folder as published, or a generic one (see generic.py).

    Posters are `posters/<item id>.jpg` in the folder, or `../posters/<name>/`; the TMDB table is `../tmdb/<name>.csv`,
    and IMDb's of directors `imdb_top_1000.csv` in the folder or `../tmdb`; `posters` and `tmdb` name other places.
    `numbers` are the item numbers of earlier runs by item id.
    Raises DataError naming the file and the line.
    """
    folder = folder.resolve()
    try:
        tables = _layout(folder)(folder)
        if tables.events.is_empty():
            raise DataError(f"{folder}: no events")
        items = with_unlisted(tables.items, tables.events)
        items = _with_facts(items, _beside(tmdb, folder.parent / "tmdb" / f"{folder.name}.csv"))
        items = _with_facts(items, _beside(None, folder / directors.NAME, folder.parent / "tmdb" / directors.NAME))
        items = with_posters(items, _beside(posters, folder / "posters", folder.parent / "posters" / folder.name))
    except DataError as error:
        raise DataError(f"{error}\nOther files, and columns under other names: {IMPORT}") from error
    events = _without_repeated_lines(tables.events)
    known = _known_numbers(tables.items, numbers or {})
    dataset = assemble(folder.name, events, items, tables.users, known, tables.tags)
    return replace(dataset, attributes=tables.attributes)


def is_data_folder(folder: Path) -> bool:
    """Whether `load_dataset` knows how to read the folder."""
    return folder.is_dir() and _recognized(folder) is not None


def _layout(folder: Path) -> Callable[[Path], Tables]:
    if folder.is_file():
        raise DataError(f"{folder} is a file, not a data folder")
    if not folder.is_dir():
        raise DataError(f"no data folder at {folder}")
    read = _recognized(folder)
    if read:
        return read
    for name, files, _ in LAYOUTS:
        missing = [file for file in files if not (folder / file).is_file()]
        if missing and (folder / files[0]).is_file():
            raise DataError(f"{folder}: a {name} folder without {missing[0]}")
    known = "; ".join(f"{' + '.join(files)} ({name})" for name, files, _ in LAYOUTS)
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:FOUND_SHOWN]) or "nothing"
    raise DataError(
        f"{folder}: no data set recognized among {found}. A data folder holds one of: events.csv or events.parquet, "
        f"with user and item in it; {known}"
    )


def _recognized(folder: Path) -> Callable[[Path], Tables] | None:
    for _, files, read in LAYOUTS:
        if all((folder / file).is_file() for file in files):
            return read
    return generic.read if generic.find(folder, "events") else None


def _without_repeated_lines(events: pl.DataFrame) -> pl.DataFrame:
    """A repeated line is one event, as in the event store."""
    distinct = events.unique(maintain_order=True)
    repeated = len(events) - len(distinct)
    if repeated:
        console.print(f"{repeated:,} events are in the data more than once, and count once", style="yellow")
    return distinct


def _known_numbers(items: pl.DataFrame, earlier: Mapping[str, int]) -> dict[str, int]:
    """The numbers of earlier runs, and those a generic items table brings with it where they are still free."""
    if "number" not in items.columns:
        return dict(earlier)
    taken = set(earlier.values())
    brought = items.select("id", "number").drop_nulls().iter_rows()
    return {id: number for id, number in brought if number not in taken} | dict(earlier)


def _beside(named: Path | None, *usual: Path) -> Path | None:
    if named is not None and not named.exists():
        raise DataError(f"nothing at {named}")
    return named or next((path for path in usual if path.exists()), None)


def with_unlisted(items: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """The catalog, and behind it the items known only from events."""
    unlisted = (
        events.select(id="item").unique(maintain_order=True).join(items, on="id", how="anti", maintain_order="left")
    )
    return pl.concat([items, unlisted], how="diagonal")


def with_posters(items: pl.DataFrame, folder: Path | None) -> pl.DataFrame:
    """Fills `poster` for items that name none."""
    if folder is None:
        return items
    found = sorted(
        path for path in folder.resolve().iterdir() if path.suffix.lower() in POSTER_SUFFIXES and path.is_file()
    )
    columns = {"id": [path.stem for path in found], "found": [str(path) for path in found]}
    table = pl.DataFrame(columns, schema={"id": pl.String, "found": pl.String}).unique("id", keep="first")
    own = pl.col("poster").replace("", None) if "poster" in items.columns else pl.lit(None, pl.String)
    items = items.join(table, on="id", how="left", maintain_order="left")
    return items.with_columns(poster=pl.coalesce(own, "found")).drop("found")


def _with_facts(items: pl.DataFrame, path: Path | None) -> pl.DataFrame:
    """Adds overview, director, cast and keywords by movieId, or directors by title; what items have already stays."""
    if path is None:
        return items
    if directors.TITLE in open_table(path).names:
        return directors.with_directors(items, path) if "title" in items and "year" in items else items
    columns = {"movieId": "id"} | {name: f"{name} of tmdb" for name in FROM_TMDB}
    table = columns_of(whole(open_table(path)), path, columns).drop(LINE).unique("id", keep="first")
    lists = [split_list(f"{name} of tmdb") for name in ("cast", "keywords")]
    items = items.join(table.with_columns(lists), on="id", how="left", maintain_order="left")
    own = [
        pl.coalesce(name, f"{name} of tmdb") if name in items.columns else pl.col(f"{name} of tmdb")
        for name in FROM_TMDB
    ]
    return items.with_columns(column.alias(name) for name, column in zip(FROM_TMDB, own, strict=True))
