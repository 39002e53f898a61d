"""Cells of the visual-temporal benchmark as rows in the format of results, as tables, and as attention maps."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from training.benchmark import cold_items, likes
from training.benchmark.next_item import METRICS
from training.benchmark.visual_temporal import COLD, LIKES, WHOLE, Cell
from training.data.dataset import Dataset
from training.metrics import Doubles, bootstrap

PUBLISHED: Mapping[str, tuple[float, float, float]] = {
    "CF": (0.78, 0.65, 0.71),
    "content-based": (0.82, 0.67, 0.74),
    "CNN alone": (0.85, 0.70, 0.77),
    "RNN alone": (0.87, 0.72, 0.79),
    "autoencoder alone": (0.88, 0.75, 0.81),
    WHOLE: (0.93, 0.85, 0.89),
}
"""Precision, recall and F1 (systems.md S5); the paper does not say what a relevant item is."""
PUBLISHED_LOSS = {
    "without CNN": "accuracy -5 %",
    "without RNN": "recall -6 %",
    "without autoencoder": "precision -4 %",
}
FIRST = "posters, text, genres, year"


def by_model(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """The cells of each model and recipe, one a seed."""
    for key in dict.fromkeys((cell.model, cell.recipe) for cell in cells):
        yield [cell for cell in cells if (cell.model, cell.recipe) == key]


def rows(cells: Sequence[Cell], dataset: Dataset, part: str) -> Iterator[dict[str, object]]:
    """One figure a row: its mean over seeds, with a 95 % bootstrap interval over questions, or from the lowest seed to
    the highest where there is none.
    """
    for own in by_model(cells):
        named = {"dataset": dataset.name, "model": own[0].model, "recipe": own[0].recipe}
        named |= {"seeds": sorted({cell.seed for cell in own})}
        figures = _like_rows(own, dataset) if part == LIKES else _ranking_rows(own, part)
        for figure in figures:
            yield named | figure
        for cost in ("seconds", "gib"):
            if own[0].recipe:
                spent = [float(cell.arrays[cost]) for cell in own]
                yield named | {"protocol": part, "metric": cost} | _of_seeds(spent)


def _ranking_rows(own: Sequence[Cell], part: str) -> Iterator[dict[str, object]]:
    for protocol, metric, values in _rankings(own, part):
        low, high = bootstrap(values)
        yield {
            "protocol": protocol,
            "metric": metric,
            "value": float(values.mean()),
            "low": low,
            "high": high,
            "n": len(values),
        }


def _rankings(own: Sequence[Cell], part: str) -> Iterator[tuple[str, str, Doubles]]:
    """Protocol, metric, and a figure a question. Questions are those of all seeds, or the same for every seed."""
    if part == COLD:
        asked = np.concatenate([cell.arrays["figures"] for cell in own], axis=2)
        for among, figures in zip(cold_items.AMONG, asked, strict=True):
            for metric, values in zip(cold_items.METRICS, figures, strict=True):
                yield f"cold-items among {among}", metric, values
    else:
        for metric, values in zip(METRICS, np.mean([cell.arrays["figures"] for cell in own], axis=0), strict=True):
            yield "leave-last-out", metric, values


def _like_rows(own: Sequence[Cell], dataset: Dataset) -> Iterator[dict[str, object]]:
    for cut in likes.CUTS:
        for metric, values in _like_figures(own, dataset, cut).items():
            yield {"protocol": f"70/15/15 at {cut:.0f}", "metric": metric} | _of_seeds(values)


def _like_figures(own: Sequence[Cell], dataset: Dataset, cut: float) -> dict[str, list[float]]:
    split = likes.shares_in_time(dataset.events)
    found = [likes.figures(split, (cell.arrays["validation"], cell.arrays["test"]), cut) for cell in own]
    return {metric: [figures[metric] for figures in found] for metric in likes.METRICS}


def _of_seeds(values: Sequence[float]) -> dict[str, object]:
    return {"value": float(np.mean(values)), "low": min(values), "high": max(values)}


def as_table(cells: Sequence[Cell], dataset: Dataset, part: str) -> Table:
    """What stands in `rows`, for people."""
    if part == LIKES:
        return _likes_table(cells, dataset)
    return _ranking_table(cells, dataset, part)


def _ranking_table(cells: Sequence[Cell], dataset: Dataset, part: str) -> Table:
    """The last columns are paired by question: how much more the whole model has."""
    table = Table(title=f"{dataset.name}, {part}: full ranking, items of the history left out", title_justify="left")
    groups = list(by_model(cells))
    whole = next(own for own in groups if own[0].model in (WHOLE, FIRST))
    best = {(protocol, metric): values for protocol, metric, values in _rankings(whole, part)}
    for name in ("", "recipe", *(f"{metric}\n{protocol}" for protocol, metric in best), "whole is better by"):
        table.add_column(name, justify="right" if name else "left")
    main = [key for key in best if key[1] == "ndcg@10"][-1]
    for own in groups:
        found = {(protocol, metric): values for protocol, metric, values in _rankings(own, part)}
        better = "" if own is whole else "{:.4f} to {:.4f}".format(*bootstrap(best[main] - found[main]))
        figures = [f"{values.mean():.4f}" for values in found.values()]
        name = (
            f"{own[0].model}  (S5: {PUBLISHED_LOSS[own[0].model]})" if own[0].model in PUBLISHED_LOSS else own[0].model
        )
        table.add_row(name, own[0].recipe, *figures, better)
    return table


def _likes_table(cells: Sequence[Cell], dataset: Dataset) -> Table:
    table = Table(title=f"{dataset.name}: likes, 70/15/15 of each user's ratings by time", title_justify="left")
    cuts = [f"{metric}\nfrom {cut:.0f}" for cut in likes.CUTS for metric in likes.METRICS]
    for name in ("", "recipe", *cuts, "S5: P / R / F1"):
        table.add_column(name, justify="right" if name else "left")
    for own in by_model(cells):
        found = [_like_figures(own, dataset, cut) for cut in likes.CUTS]
        figures = [f"{np.mean(values):.3f}" for of_cut in found for values in of_cut.values()]
        published = " / ".join(f"{value:.2f}" for value in PUBLISHED.get(own[0].model, ()))
        table.add_row(own[0].model, own[0].recipe, *figures, published or PUBLISHED_LOSS.get(own[0].model, ""))
    return table


def draw(cells: Sequence[Cell], path: Path) -> None:
    """Writes posters above the weights of their regions in the first whole model; the format is the file's ending."""
    whole = next(cell for cell in cells if "attention" in cell.arrays)
    posters, maps = whole.arrays["posters"], whole.arrays["attention"]
    figure = Figure(figsize=(1.6 * max(len(posters), 1), 5), dpi=120, layout="constrained")
    for place, (poster, weight) in enumerate(zip(posters, maps, strict=True)):
        top = figure.add_subplot(2, len(posters), place + 1)
        below = figure.add_subplot(2, len(posters), len(posters) + place + 1)
        top.imshow(poster.transpose(1, 2, 0))
        below.imshow(poster.transpose(1, 2, 0).mean(2), cmap="gray", extent=(0, 1, 0, 1.5))
        below.imshow(weight, cmap="magma", alpha=0.6, extent=(0, 1, 0, 1.5))
        below.set_title(f"{weight.max() * weight.size:.1f} × mean", fontsize=8)
        for axes in (top, below):
            axes.set_axis_off()
    figure.savefig(path)
