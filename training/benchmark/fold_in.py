"""How well unseen users are served from a few ratings: users held out entirely, their ratings given one by one."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from rich.table import Table

from training import recipes
from training.artifacts.scorer_files import OfflineScorer
from training.benchmark.rating import columns, served
from training.benchmark.rating_baselines import Predict, item_mean, tuned_biases
from training.benchmark.runner import Arrays, Runner, over_seeds
from training.data.splits import Split, held_out_users
from training.evaluation.ranking_metrics import rmse
from training.features.interactions import Floats, Interactions
from training.features.ratings import usable_ratings
from training.pipelines.job import Job
from training.pipelines.rating import train_rating
from training.recipes.rating import AnyRating
from training.terminal import narrow_table

GIVEN = (0, 1, 3, 5, 10, 20)
HELD_OUT = 0.1
"""Share of the users."""
BASELINES = {"item mean": item_mean, "user + item bias": tuned_biases}
# Okabe and Ito's palette; the markers tell the lines apart without color.
STYLES = {"item mean": ("#009E73", "^"), "user + item bias": ("#D55E00", "s"), "fold-in": ("#0072B2", "o")}
Curves = dict[str, list[float]]
"""RMSE by number of ratings given, of each predictor."""


def fold_in_curves(runner: Runner, recipe: str, seed: int) -> Curves:
    """RMSE of the ratings after the first max(GIVEN) of each held-out user, in random order: the same ones for all."""
    split = held_out_users(runner.dataset.events, HELD_OUT, seed)
    split = dataclasses.replace(split, train=pl.concat([split.train, split.validation]), validation=split.test.clear())
    chosen = dataclasses.replace(recipes.choose(recipes.RATING, recipe), seed=seed)

    def measure() -> Arrays:
        return {name: np.array(curve) for name, curve in _curves(runner, chosen, split, seed).items()}

    kept = runner.kept(f"fold-in-{recipe}-{seed}", chosen, measure)
    return {name: curve.tolist() for name, curve in kept.items()}


def _curves(runner: Runner, recipe: AnyRating, split: Split, seed: int) -> Curves:
    with TemporaryDirectory() as folder:
        job = Job(runner.dataset, split, Path(folder), runner.work, device=runner.device)
        scorer = OfflineScorer(train_rating(job, recipe))
    shuffled = usable_ratings(split.test, job.scale)[0].sample(fraction=1.0, shuffle=True, seed=seed)
    position = pl.int_range(pl.len()).over("user")
    targets = shuffled.filter(position >= max(GIVEN))
    actual = targets["rating"].to_numpy()
    known = split.train["rating"].drop_nulls().to_numpy()
    curves: Curves = {name: [] for name in STYLES}
    for given in GIVEN:
        history = shuffled.filter(position < given)
        for name, predicted in _predictors(scorer, split.train, history, targets, seed):
            answers = np.where(np.isfinite(predicted), predicted, known.mean())
            curves[name].append(rmse(np.clip(answers, known.min(), known.max()), actual))
    return curves


def _predictors(
    scorer: OfflineScorer, train: pl.DataFrame, history: pl.DataFrame, targets: pl.DataFrame, seed: int
) -> Iterator[tuple[str, Floats]]:
    """What each says of the targets. The baselines are fitted again with the history; the model is only queried."""
    yield "fold-in", served(scorer, history, targets)
    known = Interactions.of(pl.concat([train, history]).filter(pl.col("rating").is_not_null()))
    fits: dict[str, Predict] = {name: fit(known, seed) for name, fit in BASELINES.items()}
    user = np.array([known.user_index.get(name, 0) for name in targets["user"]])
    for name, fitted in fits.items():
        yield name, fitted(user, columns(known.item_number, targets) + 1)


def mean_curves(runs: Sequence[Curves]) -> Curves:
    """Means over seeds."""
    return {name: _by_seed(runs, name).mean(axis=0).tolist() for name in STYLES}


def _by_seed(runs: Sequence[Curves], name: str) -> np.ndarray:
    """[seeds, len(GIVEN)]."""
    return np.array([run[name] for run in runs])


def as_table(curves: Curves, title: str) -> Table:
    """RMSE by number of ratings given."""
    table = narrow_table(title)
    table.add_column("ratings given")
    for given in GIVEN:
        table.add_column(str(given), justify="right")
    for name, values in curves.items():
        table.add_row(name, *(f"{value:.4f}" for value in values))
    return table


def curve_rows(runs: Sequence[Curves], dataset: str, recipe: str, seeds: Sequence[int]) -> Iterator[dict[str, object]]:
    """In the format of results, with the lowest and highest seed."""
    for name in STYLES:
        is_recipe = name == "fold-in"
        named = {
            "dataset": dataset,
            "model": "rating" if is_recipe else name,
            "recipe": recipe if is_recipe else "",
            "metric": "rmse",
            "seeds": list(seeds),
        }
        for given, values in zip(GIVEN, _by_seed(runs, name).T.tolist(), strict=True):
            yield named | {"protocol": f"rating-fold-in-{given}-as-served"} | over_seeds(values)


def draw(curves: Curves, title: str, path: Path) -> None:
    """Writes the picture; its format is that of the file's ending."""
    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for name, (color, marker) in STYLES.items():
        axes.plot(GIVEN, curves[name], color=color, marker=marker, label=name)
        axes.annotate(f"{curves[name][-1]:.3f}", (GIVEN[-1], curves[name][-1]), (6, -3), textcoords="offset points")
    axes.set(title=title, xlabel="ratings given in the request", ylabel="RMSE of the user's other ratings")
    axes.set_xticks(GIVEN)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
