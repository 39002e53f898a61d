"""The report of an evaluation: one HTML file with its pictures inside."""

from collections.abc import Iterator
from functools import partial
from html import escape
from itertools import zip_longest
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from training.evaluation.examples import Example, examples
from training.evaluation.genres import METRICS as GENRE_METRICS
from training.evaluation.groups import by_cohort, by_genre
from training.evaluation.learning_curves import draw_curve
from training.evaluation.lists import DECILES, CatalogStats, ListQuality, list_quality
from training.evaluation.measure import RANKING, Evaluation, Row
from training.evaluation.ranking_metrics import bootstrap
from training.evaluation.rating_metrics import reliability
from training.evaluation.summary import (
    GENRES_NOTE,
    NOTE,
    against_fused,
    interval,
    predicted_ratings,
    row_rating_metrics,
)
from training.evaluation.through_gateway import Comparison
from training.html_page import COLORS, facts, frame_grid, grid, picture, write_page

MARKERS = "osD^vPX*"
Qualities = dict[str, ListQuality]


def write_report(evaluation: Evaluation, comparison: Comparison | None, path: Path) -> None:
    """Writes the report; a file that is there already is replaced once the new one is whole."""
    stats = CatalogStats.of(evaluation.dataset, evaluation.split)
    qualities = {row.model: list_quality(row.top, stats) for row in evaluation.rows}
    parts = [
        _protocol(evaluation),
        _metrics(evaluation),
        "<main>",
        *_pictures(evaluation, qualities, stats),
        "</main>",
        "<h2>The lists themselves</h2>",
        _lists(qualities),
        "<h2>NDCG@10 by length of the history</h2>",
        frame_grid(by_cohort(evaluation)),
        "<h2>NDCG@10 by genre of what was watched next</h2>",
        frame_grid(by_genre(evaluation), "An item counts for each of its genres."),
        *(_genres(evaluation) if evaluation.genres else []),
        *(_comparison(comparison) if comparison else []),
        "<h2>Users to look at</h2>",
        "<p class='note'>From the shortest history to the longest. ● is what was watched next.</p>",
        *map(_example, examples(evaluation)),
    ]
    write_page(path, f"Evaluation on {evaluation.dataset.name}", parts)


def _protocol(evaluation: Evaluation) -> str:
    seeds = {row.model: ", ".join(map(str, row.seeds)) for row in evaluation.rows}
    return facts(
        [
            ("protocol", f"{evaluation.split.name}: full ranking over the catalog, items of the history left out"),
            ("test events", f"{len(evaluation.targets):,} of {evaluation.targets['user'].n_unique():,} users"),
            ("items", f"{len(evaluation.dataset.items):,}"),
            ("training events", f"{len(evaluation.split.train):,}"),
            ("the fused list", "of what any scorer retrieves, as the gateway fuses it; the others rank every item"),
            ("seeds", seeds["fused"]),
            ("data fingerprint", evaluation.dataset.fingerprint[:16]),
        ]
    )


def _metrics(evaluation: Evaluation) -> str:
    p, fused = against_fused(evaluation), evaluation.row("fused").of("ndcg@10")
    columns = ["model", "recipe", "HR@10", "NDCG@10", "95 % interval", "MRR", "answered", "without a score"]
    columns += ["NDCG@10, ties shuffled", "fused is better by", "p", "RMSE", "MAE", "AUC at ≥ 4"]
    rows = []
    for row in sorted(evaluation.rows, key=lambda row: -row.of("ndcg@10").mean()):
        gain, ratings = row.of("ndcg@10"), row_rating_metrics(evaluation, row)
        shuffled = "" if row.shuffled is None else f"{row.shuffled[RANKING.index('ndcg@10')].mean():.4f}"
        cells = [row.model, row.recipe, f"{row.of('hr@10').mean():.4f}", f"{gain.mean():.4f}", interval(gain)]
        cells += [f"{row.of('mrr').mean():.4f}"]
        cells += [f"{row.of(metric).mean():.1%}" for metric in ("answered", "abstained")] + [shuffled]
        cells += [interval(fused - gain), f"{p[row.model]:.3f}"] if row.model in p else ["", ""]
        cells += [f"{ratings[name]:.4f}" if ratings else "" for name in ("rmse", "mae", "auc@4")]
        rows.append(cells)
    return grid(columns, rows, NOTE.format(count=len(p)))


def _lists(qualities: Qualities) -> str:
    columns = ["model", "coverage", "Gini", "novelty, bits", "diversity", "from the most popular tenth"]
    rows = [
        [model, f"{q.coverage:.1%}", f"{q.gini:.3f}", f"{q.novelty:.2f}", f"{q.diversity:.3f}", f"{q.by_decile[0]:.1%}"]
        for model, q in qualities.items()
    ]
    caption = (
        "Of the first ten: share of the items that anybody is shown, concentration on few, mean -log2 of the share "
    )
    return grid(columns, rows, caption + "of users who know an item, 1 - cosine of the genres of two items of a list.")


def _pictures(evaluation: Evaluation, qualities: Qualities, stats: CatalogStats) -> Iterator[str]:
    users = "NDCG@10 with 95 % intervals by bootstrap over users."
    yield picture("Who finds the next item", users, partial(_accuracy, rows=evaluation.rows))
    seen = "How good each ranker is for users about whom little or much is known."
    yield picture("By length of the history", seen, partial(_cohorts, evaluation=evaluation))
    bias = "Tenths of the items, the most watched first. Black: what users really watched next."
    watched = stats.deciles(evaluation.targets["item"].to_numpy())
    yield picture("Popularity bias", bias, partial(_deciles, qualities=qualities, watched=watched))
    trade = "To the right: finds more. Upwards: shows more of the catalog to somebody."
    yield picture("Accuracy and coverage", trade, partial(_trade, rows=evaluation.rows, qualities=qualities))
    if any(predicted_ratings(evaluation, row) for row in evaluation.rows):
        calibrated = "Tenths of the predicted ratings of the test events: on the line, predictions mean what they say."
        yield picture("Calibration of the ratings", calibrated, partial(_reliability, evaluation=evaluation))
    for model, curve in evaluation.curves.items():
        kept = f"Epoch {curve.best + 1} is kept: {curve.at(curve.best)}."
        yield picture(f"Learning curve of {model}", kept, partial(draw_curve, curve=curve))
        yield f"<figure><h3>The network of {escape(model)}</h3><pre>{escape(curve.network)}</pre></figure>"


def styles(rankers: int) -> list[tuple[str, str]]:
    """A color and a marker for each; the last, the fused list, has the first of both."""
    return [(COLORS[position % len(COLORS)], MARKERS[position % len(MARKERS)]) for position in reversed(range(rankers))]


def _accuracy(axes: Axes, rows: list[Row]) -> None:
    ascending = sorted(rows, key=lambda row: row.of("ndcg@10").mean())
    for position, row in enumerate(ascending):
        gain = row.of("ndcg@10")
        axes.plot(bootstrap(gain), [position, position], color=COLORS[0], linewidth=2)
        axes.plot(gain.mean(), position, "o", color=COLORS[0])
        axes.annotate(f"{gain.mean():.3f}", (gain.mean(), position), (0, 7), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(rows)), [row.model for row in ascending])
    axes.set(xlabel="NDCG@10", ylim=(-0.5, len(rows) - 0.3))
    axes.set_xlim(left=0)


def _cohorts(axes: Axes, evaluation: Evaluation) -> None:
    table = by_cohort(evaluation)
    names = [f"{name}\n({users:,} users)" for name, users in table.select("cohort", "users").iter_rows()]
    for row, (color, marker) in zip(evaluation.rows, styles(len(evaluation.rows)), strict=True):
        axes.plot(names, table[row.model].to_list(), color=color, marker=marker, label=row.model)
    room_for_the_legend = 1.3 * axes.get_ylim()[1]
    axes.set(xlabel="events in the history", ylabel="NDCG@10", ylim=(0, room_for_the_legend))
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center")


def _deciles(axes: Axes, qualities: Qualities, watched: np.ndarray) -> None:
    tenth = np.arange(1, DECILES + 1)
    for (model, quality), (color, marker) in zip(qualities.items(), styles(len(qualities)), strict=True):
        axes.plot(tenth, quality.by_decile, color=color, marker=marker, markersize=4, label=model)
    axes.plot(tenth, watched, "k--", linewidth=2, label="watched next")
    axes.set(xlabel="tenth of the items, the most watched first", ylabel="share of what is shown")
    axes.set_xticks(tenth)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, fontsize=8)


def _trade(axes: Axes, rows: list[Row], qualities: Qualities) -> None:
    for row, (color, marker) in zip(rows, styles(len(rows)), strict=True):
        point = (row.of("ndcg@10").mean(), qualities[row.model].coverage)
        axes.plot(*point, marker, color=color, markersize=9, label=row.model)
    axes.margins(0.1)
    axes.set(xlabel="NDCG@10", ylabel="items that anybody is shown", xlim=(0, None), ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False, fontsize=8)


def _reliability(axes: Axes, evaluation: Evaluation) -> None:
    for row, (color, _) in zip(evaluation.rows, styles(len(evaluation.rows)), strict=True):
        if predicted := predicted_ratings(evaluation, row):
            said, was, _ = reliability(predicted.actual.astype(float), predicted.predicted.astype(float))
            axes.plot(said, was, "o-", color=color, label=row.model)
    limits = (min(*axes.get_xlim(), *axes.get_ylim()), max(*axes.get_xlim(), *axes.get_ylim()))
    axes.plot(limits, limits, "k--", linewidth=1, label="as said")
    axes.set(xlabel="mean predicted rating", ylabel="mean rating given")
    axes.legend(frameon=False)


def _genres(evaluation: Evaluation) -> Iterator[str]:
    yield "<h2>Genres of what is watched next</h2>"
    rows = []
    for name, metrics in evaluation.genres.items():
        rows.append([name, *(f"{metrics[metric]:.4f}" for metric in GENRE_METRICS)])
    yield grid(["predicted by", *GENRE_METRICS], rows, GENRES_NOTE)


def _comparison(comparison: Comparison) -> Iterator[str]:
    differences = comparison.differences()
    yield "<h2>Through the gateway</h2>"
    caption = (
        f"{len(comparison.user):,} users requested, {comparison.degraded} degraded answers; both queried with the "
    )
    caption += "present as the query time, lists of 100. Users: how many have another value."
    yield frame_grid(comparison.metrics(), caption)
    yield frame_grid(
        differences, f"{len(differences)} users with another rank or another list of ten; rank 0: not listed"
    )


def _example(example: Example) -> str:
    head = f"user {example.user}, {example.events} events, watched next: {example.watched}"
    columns = ["", "history, newest first", *example.lists]
    rows = zip_longest(example.history, *example.lists.values(), fillvalue="")
    return grid(columns, [[str(position), *row] for position, row in enumerate(rows, 1)], head)
