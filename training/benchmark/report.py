"""Cells as rows in the format of results, and as a table beside the published metrics."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.table import Table

from training.benchmark.published import published_beside
from training.benchmark.rating import RATINGS, SERVED, WHOLE
from training.benchmark.runner import Cell, over_seeds

COLUMNS = {
    "rmse": "RMSE", "mse": "MSE", "mae": "MAE", "accuracy@2.5": "acc@2.5", "auc@4": "AUC ≥ 4",
    "precision@50": "P@50", "recall@50": "R@50",
    "precision@50-estimated": "P@50 ≥ 3", "recall@50-estimated": "R@50 ≥ 3", "ndcg@50": "NDCG@50",
    "calibration": "calib.", "answered": "answered",
    "rmse-answered": "RMSE of these",
}  # fmt: skip


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
    """Best first; the published metrics of this data set, and of these systems on others, stand below."""
    table = Table(title=f"{dataset}, {protocol}, as served", title_justify="left")
    for name in ("", *COLUMNS.values(), "RMSE whole", "seconds"):
        table.add_column(name, justify="right" if name else "left")
    models = list(dict.fromkeys(cell.model for cell in cells))
    for model in sorted(models, key=lambda name: np.mean(of_seeds(cells, name, SERVED, "rmse"))):
        rmse, *others = (of_seeds(cells, model, SERVED, metric) for metric in COLUMNS)
        metrics = [_with_spread(rmse), *(f"{np.mean(values):.4f}" for values in others)]
        seconds = np.mean(of_seeds(cells, model, SERVED, "seconds"))
        table.add_row(model, *metrics, _with_spread(of_seeds(cells, model, WHOLE, "rmse")), f"{seconds:.0f}")
    table.add_section()
    for row in published_beside(dataset):
        shown = [f"{row.metrics[metric]:.4f}" if metric in row.metrics else "" for metric in COLUMNS]
        table.add_row(f"published: {row.model} ({row.dataset}, {row.protocol})", *shown, "", "")
    return table


def _with_spread(values: Sequence[float]) -> str:
    """Mean, and half the way from the lowest seed to the highest where it shows."""
    if not values:
        return ""
    spread = (max(values) - min(values)) / 2
    return f"{np.mean(values):.4f}" + (f" ±{spread:.4f}" if spread >= 5e-5 else "")
