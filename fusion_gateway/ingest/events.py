"""A file of events: who watched, bought or listened to what, when, and perhaps how they rated it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from fusion_gateway.ingest.checks import LINE, cast, complain, ids, known, without_point_zero
from fusion_gateway.ingest.columns import EventColumns, columns_of_events
from fusion_gateway.ingest.errors import DataError
from fusion_gateway.ingest.table import Table, open_table
from fusion_gateway.ingest.times import MAX_TIME, TimeFormat, guess_format

EVENTS = pl.Schema(
    {
        "user": pl.String(),
        "item": pl.String(),
        "rating": pl.Float64(),
        "time": pl.Int64(),
    }
)
SHOWN = 5
UNNAMED = ("1", "2", "3")
"""Names of columns that a file does not name."""
SAMPLE_ROWS = 100
COUNT_ABOVE = 10.0
"""Numbers under an ambiguous name such as "weight" that go higher are counts, not ratings."""
DAY = 86_400
KNOWN_TIMES = "write all times as unix seconds, or all as dates such as 2020-12-31 18:00:00, 31.12.2020 or 12/31/2020"


@dataclass(frozen=True)
class Given:
    """What the caller knows of a file; the rest is guessed."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Column names by role: user, item, time, rating; "none" for a role that no column has."""
    month_first: bool | None = None
    """Whether dates such as 03/04/2020 begin with the month; None: as the other dates of the column show."""
    skip_incomplete: bool = False
    """Leave out rows without a user, an item or a time, where they would be refused."""


class EventsFile:
    """A file of events that has been recognized, with what has been understood of it."""

    def __init__(self, table: Table, given: Given = Given()) -> None:
        """Reads the first rows. Raises DataError for an empty file, MissingColumn without a user or an item."""
        self._table = table
        self._given = given
        self.skipped = 0
        """Incomplete rows left out so far."""
        self.notes: list[str] = []
        """What a reader may want to correct, a sentence each."""
        self._first = next(iter(table.batches()), None)
        sample = _sample(self._first, table)
        self.columns: EventColumns = columns_of_events(table.path, table.names, table.headed, sample, given.columns)
        self._refuse_lists()
        if self._first is not None and self.columns.user in UNNAMED and not given.columns:
            self.notes.append(
                "without a header the columns are guessed: --user, --item, --time, --rating NUMBER correct it"
            )
        self._time = self._time_format()
        self._float_ids = self._ids_with_point_zero()
        self._rating = self._rating_column()

    @classmethod
    def open(cls, path: Path, given: Given = Given()) -> "EventsFile":
        return cls(open_table(path, list(given.columns.values())), given)

    @property
    def path(self) -> Path:
        return self._table.path

    @property
    def rows(self) -> int:
        """At most so many; 0 where that is not known."""
        return self._table.rows

    @property
    def has_times(self) -> bool:
        return self._time is not None

    def understood(self) -> dict[str, str]:
        """The form of the file and its columns, ready to print."""
        when = f"{self.columns.time} ({self._time})" if self._time else "none: the order of the file"
        return {
            "form": str(self._table),
            "user": self.columns.user,
            "item": self.columns.item,
            "time": when,
            "rating": self._rating or "none",
        }

    @cached_property
    def sample(self) -> pl.DataFrame:
        """The first rows as EVENTS."""
        if self._first is None:
            return pl.DataFrame(schema=EVENTS)
        return self._parsed(self._first.head(SHOWN))

    def batches(self) -> Iterator[pl.DataFrame]:
        """Columns of EVENTS in file order; `time` is null where the file has none (see `in_file_order`).

        Raises DataError naming the line that cannot be read.
        """
        for batch in self._table.batches():
            events = self._parsed(batch)
            self.skipped += len(batch) - len(events)
            yield events

    def read(self, batches: Iterable[pl.DataFrame] | None = None) -> pl.DataFrame:
        """All events as EVENTS; `batches` are its own, perhaps shown on the way."""
        read = list(self.batches() if batches is None else batches)
        events = pl.concat([pl.DataFrame(schema=EVENTS), *read])
        return events if self.has_times else in_file_order(events)

    def _parsed(self, batch: pl.DataFrame) -> pl.DataFrame:
        names = {self.columns.user: "user", self.columns.item: "item"}
        if self._rating:
            names[self._rating] = "rating"
        if self._time:
            names[self.columns.time] = "time"
        lines = [LINE] if LINE in batch.columns else []
        if self._given.skip_incomplete:
            batch = self._complete(batch)
        events = batch.select(*(pl.col(name).alias(role) for name, role in names.items()), *lines)
        if self._table.headed:
            self._refuse_second_header(events)
        for role in ("user", "item"):
            events = ids(events, self.path, role)
            if role in self._float_ids:
                events = events.with_columns(without_point_zero(events[role]).alias(role))
        if self._rating:
            name = self._rating.replace("{", "{{").replace("}", "}}")  # the message is a template
            what = f"a finite number (column {name!r}); --rating none leaves ratings out"
            events = cast(events, self.path, "rating", pl.Float64, what)
        if self._time:
            events = self._with_seconds(events, self._time)
        absent = [pl.lit(None, dtype).alias(name) for name, dtype in EVENTS.items() if name not in events.columns]
        return events.with_columns(absent).select(EVENTS.names())

    def _refuse_second_header(self, events: pl.DataFrame) -> None:
        user, item = events["user"], events["item"]
        if user.dtype == item.dtype == pl.String:
            again = (user == self.columns.user) & (item == self.columns.item)
            complain(events, self.path, again, "the header is repeated here, at {!r}: remove the line", user)

    def _complete(self, batch: pl.DataFrame) -> pl.DataFrame:
        required = [self.columns.user, self.columns.item, *[self.columns.time] * self.has_times]
        missing = pl.DataFrame([_filled(batch[name]).is_null() for name in required])
        return batch.filter(~missing.max_horizontal())

    def _with_seconds(self, events: pl.DataFrame, form: TimeFormat) -> pl.DataFrame:
        written = _filled(events["time"])
        advice = "fill it in, or --skip-incomplete leaves such lines out, and --time none all times"
        complain(events, self.path, written.is_null(), f"time is empty: {advice}", written)
        seconds = form.seconds(written)
        complain(events, self.path, seconds.is_null(), f"time {{!r}} is not read as {form}: {KNOWN_TIMES}", written)
        outside = (seconds < 0) | (seconds >= MAX_TIME)
        complain(events, self.path, outside, f"time {{!r}} is before 1970 or too late, read as {form}", written)
        return events.with_columns(seconds.cast(pl.Int64).alias("time"))

    def _refuse_lists(self) -> None:
        if self._first is None:
            return
        for role in EVENTS:
            name = getattr(self.columns, role)
            dtype = self._first.schema.get(name, pl.String())
            if dtype.is_nested() or dtype in (pl.Object, pl.Binary):
                raise DataError(f"{self.path}: column {name!r} is {dtype}, which is no {role}: choose another column")

    def _time_format(self) -> TimeFormat | None:
        if not self.columns.time or self._first is None:
            return None
        written = _filled(self._first[self.columns.time]).drop_nulls()
        if written.is_empty():
            self.notes.append(f"column {self.columns.time!r} is empty: the file's order counts instead")
            return None
        form = guess_format(written, self._given.month_first)
        if form.an_order:
            self.notes.append(
                "times this small are an order, not dates; Excel's day numbers: format them as dates first"
            )
        if form.ambiguous:
            example = written[0]
            self.notes.append(f"{example!r} is read with the day first; --month-first reads it the other way round")
        return form

    def _ids_with_point_zero(self) -> tuple[str, ...]:
        """Roles of which all ids are written as "7.0"."""
        if self._first is None:
            return ()
        roles = {"user": self.columns.user, "item": self.columns.item}
        text = {role: self._first[name] for role, name in roles.items() if self._first[name].dtype == pl.String}
        found = [role for role, column in text.items() if column.str.contains(r"^\s*\d+\.0+\s*$").all()]
        self.notes.extend(f"{role} ids such as '7.0' are read as '7'" for role in found)
        return tuple(found)

    def _rating_column(self) -> str:
        """The column of ratings; "" where there is none, or where it holds counts."""
        name = self.columns.rating
        if not name or self._first is None or not self.columns.rating_is_guessed or "rating" in self._given.columns:
            return name
        numbers = cast(self._first.select(pl.col(name).alias("rating")), self.path, "rating", pl.Float64, "a number")
        highest = numbers["rating"].max()
        if not isinstance(highest, float) or highest <= COUNT_ABOVE:
            return name
        self.notes.append(f"{name!r} goes up to {highest:g}: a count, not a rating; --rating {name} takes it as one")
        return ""


def in_file_order(events: pl.DataFrame) -> pl.DataFrame:
    """Times for events that have none, which keep the file's order: an order, not dates.

    Where each user's events stand together, one a day from each user's first; otherwise one a second from the first.
    """
    users = events["user"]
    stretches = int((users != users.shift()).sum()) + 1
    together = stretches == users.n_unique()
    position = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    time = position.over("user") * DAY if together else position
    return events.with_columns(time=time)


def _filled(column: pl.Series) -> pl.Series:
    """Null for every spelling of a missing value."""
    return known(column) if column.dtype == pl.String else column


def _sample(batch: pl.DataFrame | None, table: Table) -> list[tuple[str, ...]]:
    """The first rows of a table without a header, whose values have to tell what its columns are."""
    if batch is None or table.headed:
        return []
    return list(batch.select(table.names).head(SAMPLE_ROWS).fill_null("").iter_rows())
