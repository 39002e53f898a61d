"""Cells as rows in the format of results, and as a table beside the published metrics."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from rich.table import Table

from training.benchmark.published import published_beside
from training.benchmark.rating import RATINGS, SERVED, WHOLE
from training.benchmark.runner import Cell, over_seeds
from training.terminal import narrow_table

STACKED = {
    "MSE\nMAE\nans.": ("mse", "mae", "answered"),
    "acc@2.5\nAUC≥4\ncalib.": ("accuracy@2.5", "auc@4", "calibration"),
    "P@50\nR@50\nNDCG@50": ("precision@50", "recall@50", "ndcg@50"),
    "P@50≥3\nR@50≥3": ("precision@50-estimated", "recall@50-estimated"),
}
"""Columns that show several metrics, one above the other."""
CAPTION = (
    "±: half of the range over seeds; acc@2.5, AUC≥4: of a rating above 2.5, of one from 4; P@50, R@50: precision and "
    "recall of the best 50, and of those of them that are predicted from 3; NDCG@50: of a user's test items, the gain "
    "is the rating; ans.: share of the ratings that the model predicts, of which the second RMSE is; calib.: "
    "calibration error; RMSE whole: before predictions are cut to factors; s: seconds"
)


def of_seeds(cells: Sequence[Cell], model: str, part: str, metric: str) -> list[float]:
    """One metric per seed: its mean over the folds."""
    name = f"{part}/{metric}"
    by_seed: dict[int, list[float]] = {}
    for cell in cells:
        if cell.model == model and name in cell.arrays:
            by_seed.setdefault(cell.seed, []).append(float(cell.arrays[name]))
    return [float(np.mean(values)) for values in by_seed.values()]


def rows(cells: Sequence[Cell], dataset: str, protocol: str) -> Iterator[dict[str, object]]:
    """One metric per row: its mean over seeds, the lowest and the highest seed. The protocol ends in `-as-served`
    where the published artifact answered, and has no ending for predictions before they are cut to factors.
    """
    for model in dict.fromkeys(cell.model for cell in cells):
        own = [cell for cell in cells if cell.model == model]
        is_recipe = bool(own[0].recipe)
        named = {
            "dataset": dataset,
            "model": "rating" if is_recipe else model,
            "recipe": model if is_recipe else "",
            "seeds": sorted({cell.seed for cell in own}),
            "n": sum(int(cell.arrays[RATINGS]) for cell in own if cell.seed == own[0].seed),
        }
        for name in [name for name in own[0].arrays if name != RATINGS]:
            part, _, metric = name.partition("/")
            ending = "-as-served" if is_recipe and part == SERVED else ""
            summary = over_seeds(of_seeds(cells, model, part, metric))
            yield named | {"protocol": f"rating-{protocol}{ending}", "metric": metric} | summary


def as_table(cells: Sequence[Cell], dataset: str, protocol: str) -> Table:
    """Best first; the published metrics of this data set, and of these systems on others, are below."""
    table = narrow_table(f"{dataset}, {protocol}, as served", CAPTION)
    table.add_column("")
    for name in ("RMSE\nof ans.", *STACKED, "RMSE\nwhole", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    models = list(dict.fromkeys(cell.model for cell in cells))
    for model in sorted(models, key=lambda name: np.mean(of_seeds(cells, name, SERVED, "rmse"))):

        def mean(metric: str, model: str = model) -> str:
            return f"{np.mean(of_seeds(cells, model, SERVED, metric)):.4f}"

        rmse = f"{_with_spread(of_seeds(cells, model, SERVED, 'rmse'))}\n{mean('rmse-answered')}"
        stacked = ["\n".join(map(mean, metrics)) for metrics in STACKED.values()]
        seconds = np.mean(of_seeds(cells, model, SERVED, "seconds"))
        table.add_row(model, rmse, *stacked, _with_spread(of_seeds(cells, model, WHOLE, "rmse")), f"{seconds:.0f}")
    table.add_section()
    for row in published_beside(dataset):
        shown = defaultdict(str, {metric: f"{value:.4f}" for metric, value in row.metrics.items()})
        stacked = ["\n".join(map(shown.__getitem__, metrics)) for metrics in STACKED.values()]
        where = f"published: {row.model}\n  {row.dataset}, {row.protocol}"
        table.add_row(where, shown.get("rmse", ""), *map(str.rstrip, stacked))
    return table


def _with_spread(values: Sequence[float]) -> str:
    """Mean, and half of the range over seeds where it shows."""
    if not values:
        return ""
    spread = (max(values) - min(values)) / 2
    return f"{np.mean(values):.4f}" + (f"\n±{spread:.4f}" if spread >= 5e-5 else "")
