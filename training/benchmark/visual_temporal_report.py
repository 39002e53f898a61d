"""Cells of the visual-temporal benchmark as rows in the format of results, and as tables."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from rich.table import Table

from training.benchmark import cold_items, likes
from training.benchmark.published import S5_LIKES, S5_LOSSES
from training.benchmark.runner import Cell, over_queries, over_seeds
from training.benchmark.visual_temporal import COLD, LIKES, WHOLE
from training.data.dataset import Dataset
from training.evaluation.next_item import METRICS
from training.evaluation.ranking_metrics import Doubles, bootstrap
from training.features.interactions import Ints
from training.terminal import narrow_table

FIRST = "posters, text, genres, year"
RANKING_CAPTION = "better by: how much better the first model is in NDCG@10, 95 % bootstrap interval paired by query"
AMONG_CAPTION = "; all, hidden: ranked among all items, or among those hidden from training"

CONFUSION_CAPTION = "positives: said to be liked, at the threshold of best accuracy on the validation ratings"


def by_model(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """The cells of each model and recipe, one a seed."""
    for key in dict.fromkeys((cell.model, cell.recipe) for cell in cells):
        yield [cell for cell in cells if (cell.model, cell.recipe) == key]


def rows(cells: Sequence[Cell], dataset: Dataset, part: str) -> Iterator[dict[str, object]]:
    """One metric per row: its mean over seeds, with a 95 % bootstrap interval over queries, or from the lowest seed to
    the highest where there is none. `whole-less-this` is paired by query.
    """
    for own in by_model(cells):
        named: dict[str, object] = {"dataset": dataset.name, "model": own[0].model, "recipe": own[0].recipe}
        named["seeds"] = sorted({cell.seed for cell in own})
        metrics = _like_rows(own, dataset) if part == LIKES else _ranking_rows(own, whole_of(cells), part)
        for row in metrics:
            yield named | row
        for cost in ("seconds", "gib", "epochs") if own[0].recipe else ():
            spent = [len(cell.arrays["curve"]) if cost == "epochs" else float(cell.arrays[cost]) for cell in own]
            yield named | {"protocol": part, "metric": cost} | over_seeds(spent)


def whole_of(cells: Sequence[Cell]) -> list[Cell]:
    """What the others are compared with: the first recipe with all its parts."""
    return next(own for own in by_model(cells) if own[0].model in (WHOLE, FIRST))


def _ranking_rows(own: Sequence[Cell], whole: Sequence[Cell], part: str) -> Iterator[dict[str, object]]:
    for found, of_whole in zip(rankings(own, part), rankings(whole, part), strict=True):
        protocol, metric, values = found
        yield {"protocol": protocol, "metric": metric} | over_queries(values)
        if own[0] is not whole[0]:
            less = of_whole[2] - values
            yield {"protocol": protocol, "metric": f"{metric}-whole-less-this"} | over_queries(less)


def rankings(own: Sequence[Cell], part: str) -> Iterator[tuple[str, str, Doubles]]:
    """Protocol, metric, and a value per query. Queries are those of all seeds, or the same for every seed."""
    metrics = [cell.arrays["metrics"] for cell in own]
    if part == COLD:
        for among, found in zip(cold_items.AMONG, np.concatenate(metrics, axis=2), strict=True):
            for metric, values in zip(cold_items.METRICS, found, strict=True):
                yield f"cold-items among {among}", metric, values
    else:
        for metric, values in zip(METRICS, np.mean(metrics, axis=0), strict=True):
            yield "leave-last-out", metric, values


def _like_rows(own: Sequence[Cell], dataset: Dataset) -> Iterator[dict[str, object]]:
    for cut in likes.CUTS:
        for metric, values in like_metrics(own, dataset, cut).items():
            yield {"protocol": f"70/15/15 at {cut:.0f}", "metric": metric} | over_seeds(values)


def like_metrics(own: Sequence[Cell], dataset: Dataset, cut: float) -> dict[str, list[float]]:
    split = likes.rated_shares(dataset.events)
    found = [likes.metrics(split, (cell.arrays["validation"], cell.arrays["test"]), cut) for cell in own]
    by_metric = zip(*(metrics.values() for metrics in found), strict=True)
    return dict(zip(likes.METRICS, map(list, by_metric), strict=True))


def as_table(cells: Sequence[Cell], dataset: Dataset, part: str) -> Table:
    """The content of `rows`, for people."""
    if part == LIKES:
        return _likes_table(cells, dataset)
    return _ranking_table(cells, dataset, part)


def _ranking_table(cells: Sequence[Cell], dataset: Dataset, part: str) -> Table:
    """The last columns but one are paired by query."""
    caption = RANKING_CAPTION + (AMONG_CAPTION if part == COLD else "")
    table = narrow_table(f"{dataset.name}, {part}: full ranking, items of the history left out", caption)
    whole = list(rankings(whole_of(cells), part))
    among = {protocol: protocol.split()[-2] if part == COLD else "" for protocol, _, _ in whole}
    table.add_column("", overflow="fold", min_width=16)
    for protocol, metric, _ in whole:
        table.add_column(f"{metric}\n{among[protocol]}", justify="right", no_wrap=True)
    for ranked in among.values():
        table.add_column(f"better by\n{ranked}", justify="right", no_wrap=True)
    table.add_column("S5")
    for own in by_model(cells):
        found = list(rankings(own, part))
        metrics = [f"{values.mean():.4f}" for _, _, values in found]
        less = [
            "{:+.4f}\n{:+.4f}".format(*bootstrap(best - values))
            for (_, metric, values), (_, _, best) in zip(found, whole, strict=True)
            if metric == "ndcg@10"
        ]
        table.add_row(_named(own[0]), *metrics, *less, S5_LOSSES.get(own[0].model, ""))
    return table


def confusions(cells: Sequence[Cell], dataset: Dataset) -> dict[tuple[str, float], Ints]:
    """[said, true] counts of liked and not liked, by model and cut, summed over seeds."""
    split = likes.rated_shares(dataset.events)
    found: dict[tuple[str, float], Ints] = {}
    for own in by_model(cells):
        for cut in likes.CUTS:
            tables = [likes.confusion(split, (cell.arrays["validation"], cell.arrays["test"]), cut) for cell in own]
            found[own[0].model, cut] = np.sum(tables, axis=0)
    return found


def confusion_table(cells: Sequence[Cell], dataset: Dataset) -> Table:
    """Of all models: how many test ratings are said to be likes, and are."""
    table = narrow_table("Confusion matrices: test ratings, summed over seeds", CONFUSION_CAPTION)
    table.add_column("", overflow="fold", min_width=16)
    for name in ("liked\nfrom", "true\npositives", "false\npositives", "false\nnegatives", "true\nnegatives"):
        table.add_column(name, justify="right", no_wrap=True)
    for (model, cut), counts in confusions(cells, dataset).items():
        table.add_row(model, f"{cut:.0f}", *(f"{count:,}" for count in counts.ravel().tolist()))
    return table


def _likes_table(cells: Sequence[Cell], dataset: Dataset) -> Table:
    title = f"{dataset.name}: likes, 70/15/15 of each user's ratings by time"
    table = narrow_table(
        title, "Two lines: a like is a rating " + " and ".join(f"from {cut:.0f}" for cut in likes.CUTS)
    )
    table.add_column("", overflow="fold", min_width=16)
    for name in likes.METRICS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("S5: precision,\nrecall, F1")
    for own in by_model(cells):
        found = [like_metrics(own, dataset, cut) for cut in likes.CUTS]
        metrics = [_of_cuts(found, name) for name in likes.METRICS]
        published = ", ".join(f"{value:.2f}" for value in S5_LIKES.get(own[0].model, ()))
        table.add_row(_named(own[0]), *metrics, published or S5_LOSSES.get(own[0].model, ""))
    return table


def _of_cuts(found: Sequence[Mapping[str, Sequence[float]]], name: str) -> str:
    """A line a cut: one metric's mean over seeds."""
    return "\n".join(f"{np.mean(of_cut[name]):.3f}" for of_cut in found)


def _named(cell: Cell) -> str:
    """The model, and below it the recipe."""
    return "\n  ".join(filter(None, (cell.model, cell.recipe)))
