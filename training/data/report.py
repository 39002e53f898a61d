"""The descriptive report: one HTML file with its plots inside, readable without a network."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from training.data import describe
from training.data.dataset import Dataset
from training.html_page import COLORS, facts, picture, write_page
from training.progress import track

BLUE, ORANGE = COLORS[:2]
GRID = 120
"""Cells a side in the picture of sparsity."""

THOUSANDS = FuncFormatter(lambda value, _: f"{value:,.0f}")

Draw = Callable[[Axes, Dataset], None]


def write_report(dataset: Dataset, path: Path) -> None:
    """Writes the report; a file that is there already is replaced once the new one is whole."""
    plots = track("plots drawn", PLOTS, len(PLOTS), [])
    metrics = [picture(title, caption, _of(draw, dataset)) for title, caption, draw in plots]
    table = facts(describe.facts(dataset).items())
    write_page(path, f"Data set {dataset.name}", [table, "<main>", *metrics, "</main>"])


def _of(draw: Draw, dataset: Dataset) -> Callable[[Axes], None]:
    return lambda axes: draw(axes, dataset)


def _ratings(axes: Axes, dataset: Dataset) -> None:
    ratings = describe.ratings(dataset)
    _bars(axes, [f"{rating:g}" for rating in ratings["rating"]], ratings["events"].to_list())
    axes.set(xlabel="rating", ylabel="ratings")


def _genres(axes: Axes, dataset: Dataset) -> None:
    counted = describe.genres(dataset)
    _genre_bars(axes, counted["genre"].to_list(), counted["items"].to_list(), "{:,.0f}")
    axes.set(xlabel="items (an item counts for each of its genres)")


def _genre_bars(axes: Axes, names: Sequence[str], values: Sequence[float | None], form: str) -> None:
    if not names:
        _nothing(axes)
        return
    bars = axes.barh(list(names), [value or 0 for value in values], color=BLUE)
    axes.bar_label(bars, fmt=form, padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)


def _per_year(axes: Axes, dataset: Dataset) -> None:
    years = describe.by_period(dataset.events, "1y")
    _bars(axes, years["start"].dt.year().cast(pl.String).to_list(), years["events"].to_list())
    axes.set(xlabel="year of the event (UTC)", ylabel="events")


def _mean_per_year(axes: Axes, dataset: Dataset) -> None:
    years = describe.by_period(dataset.events, "1y").drop_nulls("mean")
    if years.is_empty():
        _nothing(axes)
        return
    labels = years["start"].dt.year().cast(pl.String).to_list()
    axes.plot(labels, years["mean"].to_list(), "o-", color=BLUE)
    axes.set(xlabel="year of the rating (UTC)", ylabel="mean rating")
    for year, mean in enumerate(years["mean"]):
        axes.annotate(f"{mean:.2f}", (year, mean), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8)
    axes.margins(x=0.12)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, high - 1), max(high, low + 1))  # a drift of a tenth of a star shall not look like a cliff


def _per_user(axes: Axes, dataset: Dataset) -> None:
    _histogram(axes, describe.events_per(dataset.events, "user"), "user")


def _per_item(axes: Axes, dataset: Dataset) -> None:
    _histogram(axes, describe.events_per(dataset.events, "item"), "item")


def _histogram(axes: Axes, counts: pl.Series, what: str) -> None:
    values = counts.to_numpy()
    edges = np.unique(np.geomspace(values.min(), values.max() + 1, 25).round())
    axes.hist(values, bins=edges.tolist(), color=BLUE, edgecolor="white", linewidth=0.4)
    median = float(np.median(values))
    axes.axvline(median, color=ORANGE, linewidth=2, label=f"median {median:g}")
    axes.set(xscale="log", xlabel=f"events of one {what} (logarithmic)", ylabel=f"{what}s")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False)


def _mean_per_genre(axes: Axes, dataset: Dataset) -> None:
    counted = describe.genres(dataset).drop_nulls("mean rating").sort("mean rating", descending=True)
    _genre_bars(axes, counted["genre"].to_list(), counted["mean rating"].to_list(), "{:.2f}")
    axes.set(xlabel="mean rating")


def _sparsity(axes: Axes, dataset: Dataset) -> None:
    pairs = dataset.events.select("user", "item").unique()
    user, item = _rank(pairs["user"]), _rank(pairs["item"])
    users, items = user.max() + 1, item.max() + 1
    seen, _, _ = np.histogram2d(user, item, bins=GRID, range=[[0, users], [0, items]])
    cell = users * items / GRID**2
    extent = (0, items, users, 0)
    image = axes.imshow(seen / cell, cmap="cividis", aspect="auto", vmin=0, vmax=1, extent=extent)
    axes.set(xlabel="items, the most watched first", ylabel="users, the most active first")
    bar = axes.figure.colorbar(image, ax=axes, format=PercentFormatter(1))
    bar.set_label(f"pairs with an event (of all: {1 - describe.sparsity(dataset.events):.2%})")


def _rank(column: pl.Series) -> NDArray[np.int64]:
    """For each row the rank of its value by frequency, the most frequent at 0."""
    code = column.rank("dense").to_numpy() - 1
    rank = np.argsort(np.argsort(-np.bincount(code), kind="stable"))
    return rank[code]


def _long_tail(axes: Axes, dataset: Dataset) -> None:
    counts = describe.events_per(dataset.events, "item").to_numpy()
    items = np.arange(1, len(counts) + 1) / len(counts)
    events = counts.cumsum() / counts.sum()
    fifth = int(np.ceil(len(counts) * 0.2)) - 1
    axes.plot(items, events, color=BLUE, linewidth=2)
    axes.plot([0, 1], [0, 1], "--", color="gray", linewidth=1, label="all items equally watched")
    axes.plot(
        items[fifth], events[fifth], "o", color=ORANGE, label=f"the top 20% have {events[fifth]:.0%} of the events"
    )
    axes.set(xlabel="share of the items, the most watched first", ylabel="share of the events")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, loc="lower right")


def _timeline(axes: Axes, dataset: Dataset) -> None:
    months = describe.by_period(dataset.events, "1mo")
    if months.is_empty():
        _nothing(axes)
        return
    start = months["start"]
    left, width = start.to_numpy(), (start.dt.offset_by("1mo") - start).to_numpy()
    axes.bar(left, months["events"].to_numpy(), width, align="edge", color=BLUE, alpha=0.85)
    axes.set(xlabel="month (UTC)", ylabel="events", ylim=(0, None))
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.tick_params(axis="x", rotation=30)


def _ties(axes: Axes, dataset: Dataset) -> None:
    share = dict(describe.tie_sizes(dataset.events).iter_rows())
    names = ["alone", "2 together", "3 together", "4 together", "5 or more"]
    _bars(axes, names, [share.get(size, 0.0) for size in range(1, 6)], "{:.1%}")
    _, last_two = describe.ties(dataset.events)
    axes.set(
        xlabel=f"in one second, by one user (the last two of {last_two:.0%} of the users are)",
        ylabel="share of the events",
    )
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def _coverage(axes: Axes, dataset: Dataset) -> None:
    known = describe.coverage(dataset)
    y = np.arange(len(known))
    for offset, column, color in ((-0.2, "of items", BLUE), (0.2, "of events", ORANGE)):
        bars = axes.barh(y + offset, known[column].to_numpy(), 0.38, color=color, label=column)
        axes.bar_label(bars, fmt="{:.1%}", padding=3, fontsize=8)
    axes.set_yticks(y, known["field"].to_list())
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.18), xlabel="share of which it is known")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], form: str = "{:,.0f}") -> None:
    if not names:
        _nothing(axes)
        return
    bars = axes.bar(list(names), list(values), color=BLUE)
    if len(names) <= 12:
        axes.bar_label(bars, fmt=form, padding=2, fontsize=8)
    axes.yaxis.set_major_formatter(THOUSANDS)
    axes.tick_params(axis="x", rotation=0 if len(names) <= 12 else 60)


def _nothing(axes: Axes) -> None:
    axes.text(0.5, 0.5, "nothing known", ha="center", transform=axes.transAxes)


PLOTS: tuple[tuple[str, str, Draw], ...] = (
    ("Distribution of ratings", "How often each rating was given.", _ratings),
    ("Genres", "How many items of the catalog carry each genre.", _genres),
    ("Events per year", "A sharp rise often means a campaign or a change of the site.", _per_year),
    ("Events per user", "The left end are users about whom little is known.", _per_user),
    ("Events per item", "The left end are items that collaborative models know little about.", _per_item),
    ("Mean rating per year", "A drift here makes old and new ratings mean different things.", _mean_per_year),
    ("Mean rating per genre", "Over all ratings of the genre's items.", _mean_per_genre),
    ("Sparsity", "Each cell is a block of users and items; its color is how full it is.", _sparsity),
    ("Long tail", "The further from the diagonal, the more popularity alone explains.", _long_tail),
    ("Timeline", "Events by month.", _timeline),
    (
        "Ties",
        "Events in one second have no order of their own; next-item metrics depend on how ties are broken.",
        _ties,
    ),
    ("Coverage", "What content models can build on.", _coverage),
)
