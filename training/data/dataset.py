"""A data set in memory: events, items and users in one shape, whatever folder they came from."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

WORDS = pl.List(pl.String())
EVENTS = pl.Schema(
    {
        "user": pl.String(),
        "item": pl.Int64(),
        "rating": pl.Float32(),
        "time": pl.Int64(),
    }
)
ITEMS = pl.Schema(
    {
        "number": pl.Int64(),
        "id": pl.String(),
        "title": pl.String(),
        "year": pl.Int32(),
        "genres": WORDS,
        "director": pl.String(),
        "cast": WORDS,
        "keywords": WORDS,
        "overview": pl.String(),
        "poster": pl.String(),
    }
)
USERS = pl.Schema(
    {
        "user": pl.String(),
        "age": pl.Int32(),
        "gender": pl.String(),
        "occupation": pl.String(),
        "zip": pl.String(),
    }
)
RECENT_SHARE = 0.1
"""Share of the time range that counts as recent."""
NUMERIC_ID = r"^[1-9][0-9]{0,17}$"


@dataclass(frozen=True)
class Dataset:
    """Frames have exactly the columns of EVENTS, ITEMS and USERS."""

    name: str
    """The folder's name."""
    events: pl.DataFrame
    """In file order. `item` is an item number, `rating` null for an event without one, `time` unix seconds."""
    items: pl.DataFrame
    """Sorted by number: catalog and every item of the events. `year` 0 and "" mean unknown; `poster` is a path."""
    users: pl.DataFrame | None
    fingerprint: str
    """sha256 of events and items as read; the same wherever the folder lies."""
    tags: pl.DataFrame | None = None
    """Columns user, item (number) and tags, a list: what each user called an item; None where users gave no tags."""
    attributes: pl.DataFrame | None = None
    """As attributes.NONE, of items that there are; None where nothing but the usual columns is known."""


def assemble(
    name: str,
    events: pl.DataFrame,
    items: pl.DataFrame,
    users: pl.DataFrame | None,
    numbers: Mapping[str, int] | None = None,
    tags: pl.DataFrame | None = None,
) -> Dataset:
    """Numbers the items and completes the frames.

    `events` has the columns of EVENTS with the external id as `item`; `items` has `id` and any others of ITEMS, and a
    row for every item of the events; `tags` are as `tags.read_tags` gives them, and those of other items are left out.
    `numbers` holds the numbers given in earlier runs by external id; they are kept.
    """
    catalog = completed(items, ITEMS)
    numbered = number_items(catalog["id"], numbers or {})
    catalog = catalog.drop("number").join(numbered, on="id").select(ITEMS.names()).sort("number")
    events = (
        events.rename({"item": "id"})
        .join(numbered.rename({"number": "item"}), on="id", how="left", maintain_order="left")
        .select(pl.col(column).cast(dtype) for column, dtype in EVENTS.items())
    )
    users = None if users is None else completed(users, USERS)
    if tags is not None:
        tags = tags.join(numbered, left_on="item", right_on="id").select("user", "tags", item="number")
    return Dataset(name, events, catalog, users, fingerprint(events, catalog), tags)


def number_items(ids: pl.Series, existing: Mapping[str, int]) -> pl.DataFrame:
    """Item numbers (columns id, number) for distinct external ids.

    A known id keeps its number; an id that is a whole number >= 1 becomes that number where it is free; the others
    get the numbers after the greatest, in the order given. So numbers are append-only from run to run.
    """
    numbers = {"id": list(existing), "number": list(existing.values())}
    known = pl.DataFrame(numbers, schema={"id": pl.String(), "number": pl.Int64()})
    own = pl.when(pl.col("id").str.contains(NUMERIC_ID)).then(pl.col("id")).cast(pl.Int64)
    table = ids.alias("id").to_frame().join(known, on="id", how="left", maintain_order="left")
    table = table.with_columns(own=own).with_columns(
        own=pl.when(~pl.col("own").is_in(known["number"].implode())).then("own")
    )
    table = table.with_columns(pl.coalesce("number", "own").alias("number"))
    greatest = max([*existing.values(), table["number"].max() or 0])
    following = greatest + pl.col("number").is_null().cum_sum().cast(pl.Int64)
    return table.select("id", number=pl.coalesce("number", following))


def fingerprint(events: pl.DataFrame, items: pl.DataFrame) -> str:
    """sha256 over the content of both frames; of a poster only whether there is one."""
    digest = hashlib.sha256()
    digest.update((events["user"].str.join("\n").item() or "").encode())
    for column, missing in (("item", 0), ("rating", float("nan")), ("time", 0)):
        digest.update(events[column].fill_null(missing).to_numpy().tobytes())
    for row in items.with_columns(pl.col("poster") != "").iter_rows():
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def completed(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """The columns of `schema`, ITEMS or USERS, those that lack filled in as unknown; users keep nulls."""
    have = [pl.col(name) if name in frame.columns else pl.lit(None).alias(name) for name in schema]
    frame = frame.select(column.cast(schema[name]) for name, column in zip(schema, have, strict=True))
    if schema is USERS:
        return frame
    frame = frame.with_columns(
        pl.col("title").fill_null("").replace("", None).fill_null(pl.col("id")),
        pl.col("year").fill_null(0),
        pl.col("genres", "cast", "keywords").fill_null([]),
        pl.col("director", "overview", "poster").fill_null(""),
    )
    return frame


def is_recent(events: pl.DataFrame) -> pl.Expr:
    """Whether a row is of the last RECENT_SHARE of the time range of `events`."""
    time = pl.col("time")
    first, last = events.select(first=time.min(), last=time.max()).row(0)
    return time >= last - RECENT_SHARE * (last - first)
