"""What a data set looks like in numbers: small tables, for the terminal and as the ground of the report's plots."""

import time
from datetime import UTC, datetime

import polars as pl
from rich.table import Table

from training.data.dataset import Dataset
from training.data.validate import LATE

LAST_DATE = 253_402_300_799
"""Unix seconds of the end of the year 9999; later times are no dates."""
NOT_DATES = "times after today count as they are: mend them, or leave all out with 'data import --time none'"
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def tables(dataset: Dataset) -> list[Table]:
    """Facts, ratings, quantiles, coverage and genres."""
    counts = Table("", "value", title=f"Data set {dataset.name}")
    for name, value in facts(dataset).items():
        counts.add_row(name, value)
    return [
        counts,
        _table(ratings(dataset), "Ratings"),
        _table(quantiles(dataset), "Events of a user, of an item"),
        _table(coverage(dataset), "Known of the items"),
        _table(genres(dataset), "Genres"),
    ]


def facts(dataset: Dataset) -> dict[str, str]:
    """Counts and shares, ready to print."""
    events = dataset.events
    users, items = events["user"].n_unique(), events["item"].n_unique()
    first, last = _span(events)
    odd = last > time.time() + LATE
    rated = events["rating"].drop_nulls().to_numpy()
    same_second, last_two = ties(events)
    return {
        "events": f"{len(events):,}",
        "events with a rating": f"{len(rated):,}",
        "users with events": f"{users:,}",
        "items in the catalog": f"{len(dataset.items):,}",
        "items with events": f"{items:,}",
        "sparsity (users x items with events)": f"{sparsity(events):.4f}",
        "mean rating": f"{rated.mean():.3f}" if len(rated) else "none",
        "first and last event (UTC)": f"{_date(first)} to {_date(last)}",
        **({"times in the future": NOT_DATES} if odd else {}),
        "events in one second with another of the user": f"{same_second:.1%}",
        "users whose last two events are in one second": f"{last_two:.1%}",
        "fingerprint": dataset.fingerprint[:16],
    }


def sparsity(events: pl.DataFrame) -> float:
    """Share of the pairs of a user and an item, both with events, without one."""
    pairs = events.select("user", "item").unique().height
    return 1 - pairs / (events["user"].n_unique() * events["item"].n_unique())


def ties(events: pl.DataFrame) -> tuple[float, float]:
    """Share of the events in one second with another of their user; share of users whose last two events are."""
    same = pl.len().over("user", "time") > 1
    last = events.group_by("user").agg(pl.col("time").top_k(2))
    tied = (pl.col("time").list.len() == 2) & (pl.col("time").list.n_unique() == 1)
    return events.select(same.mean()).item(), last.select(tied.mean()).item()


def tie_sizes(events: pl.DataFrame) -> pl.DataFrame:
    """Columns events, share: of the events, by how many of their user are in their second; 5 means 5 or more."""
    together = events.select(pl.len().over("user", "time").clip(upper_bound=5).alias("events"))
    return together.group_by("events").agg(share=pl.len() / len(events)).sort("events")


def ratings(dataset: Dataset) -> pl.DataFrame:
    """Columns rating, events, share; only events with a rating."""
    rated = dataset.events.drop_nulls("rating")
    counted = rated.group_by("rating").agg(events=pl.len()).sort("rating")
    return counted.with_columns(share=pl.col("events") / len(rated))


def quantiles(dataset: Dataset) -> pl.DataFrame:
    """Quantiles of the number of events a user and an item have."""
    per_user, per_item = (events_per(dataset.events, column) for column in ("user", "item"))
    rows = [(f"{share:.0%}", per_user.quantile(share), per_item.quantile(share)) for share in QUANTILES]
    return pl.DataFrame(rows, schema={"quantile": pl.String, "user": pl.Int64, "item": pl.Int64}, orient="row")


def events_per(events: pl.DataFrame, column: str) -> pl.Series:
    """Number of events of each user or item, the most first."""
    return events.group_by(column).len()["len"].cast(pl.Int64).sort(descending=True)


def coverage(dataset: Dataset) -> pl.DataFrame:
    """Share of items, and of the events' items, of which a field is known."""
    known = dataset.items.select(
        "number",
        poster=pl.col("poster") != "",
        overview=pl.col("overview") != "",
        director=pl.col("director") != "",
        cast=pl.col("cast").list.len() > 0,
        keywords=pl.col("keywords").list.len() > 0,
        genres=pl.col("genres").list.len() > 0,
        year=pl.col("year") > 0,
    )
    watched = dataset.events.select(number="item").join(known, on="number", how="left")
    fields = [name for name in known.columns if name != "number"]
    shares = [(name, known[name].mean(), watched[name].mean()) for name in fields]
    return pl.DataFrame(shares, schema=["field", "of items", "of events"], orient="row")


def genres(dataset: Dataset) -> pl.DataFrame:
    """Columns genre, items, events, mean rating, most frequent first; an item counts for each of its genres."""
    listed = dataset.items.select("number", genre="genres").explode("genre", empty_as_null=False)
    events = listed.join(dataset.events, left_on="number", right_on="item")
    mean_rating = pl.col("rating").mean().alias("mean rating")
    of_events = events.group_by("genre").agg(pl.len().alias("events"), mean_rating)
    counted = listed.group_by("genre").agg(items=pl.len())
    return counted.join(of_events, on="genre", how="left").sort(["items", "genre"], descending=[True, False])


def by_period(events: pl.DataFrame, period: str) -> pl.DataFrame:
    """Columns start, events, mean rating by calendar period of the event, such as "1y" or "1mo"; only of dates."""
    events = events.filter(pl.col("time") <= LAST_DATE)
    moment = pl.from_epoch("time", time_unit="s").dt.truncate(period).alias("start")
    return events.group_by(moment).agg(events=pl.len(), mean=pl.col("rating").mean()).sort("start")


def _span(events: pl.DataFrame) -> tuple[int, int]:
    time = pl.col("time")
    first, last = events.select(first=time.min(), last=time.max()).row(0)
    return first, last


def _date(seconds: int) -> str:
    return str(datetime.fromtimestamp(seconds, UTC).date()) if seconds <= LAST_DATE else str(seconds)


def _table(frame: pl.DataFrame, title: str) -> Table:
    table = Table(title=title)
    for name, dtype in frame.schema.items():
        table.add_column(name, justify="right" if dtype.is_numeric() else "left")
    for row in frame.iter_rows():
        table.add_row(*(_cell(value, name) for value, name in zip(row, frame.columns, strict=True)))
    return table


def _cell(value: object, column: str) -> str:
    if isinstance(value, float):
        return f"{value:.1%}" if column == "share" or column.startswith("of ") else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
