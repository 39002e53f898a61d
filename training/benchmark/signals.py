"""What ratings and views teach the hybrid network apart and together (REFERENCE_SYSTEMS.md S2).

A random share of the training ratings is hidden, so that these events are views. The last fifth of each user's events
is for test: its ratings for RMSE, its first event for NDCG@10 among all items, those watched before left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import torch
from rich.table import Table

from training.benchmark.runner import Arrays, Cell, Measurement, Runner, mean_of, over_queries
from training.data.splits import Split, last_share
from training.evaluation.next_item import NDCG, Task, all_items, first_of_each_user, reindex
from training.evaluation.ranking_metrics import Doubles, bootstrap
from training.features.interactions import Floats
from training.pipelines.job import Job
from training.pipelines.rating_predictions import TrainedNetwork, learn_network, usable_stars
from training.recipes.rating import RatingRecipe, hybrid_mf_deep

TEST = 0.2
EXPLICIT, IMPLICIT, BOTH = "explicit only", "implicit only", "both"
LEARNED_FROM: Mapping[str, RatingRecipe] = {
    EXPLICIT: replace(hybrid_mf_deep(), name=EXPLICIT, view_weight=0.0),
    IMPLICIT: replace(hybrid_mf_deep(), name=IMPLICIT, rating_weight=0.0, view_weight=1.0),
    BOTH: hybrid_mf_deep(),
}
SQUARED, BY_RATING, BY_VIEW = "squared error", "NDCG@10 by rating", "NDCG@10 by view"
BETTER = ", both better by"
LEARNED: Mapping[str, tuple[str, ...]] = {
    EXPLICIT: (SQUARED, BY_RATING),
    IMPLICIT: (BY_VIEW,),
    BOTH: (SQUARED, BY_RATING, BY_VIEW),
}
"""What a variant can answer."""


def measurements(runner: Runner, hidden: float, seeds: Sequence[int]) -> list[Measurement]:
    """Arrays of a cell: those of LEARNED, over test ratings [E] or users [B]. The seed also draws what is hidden."""

    def measurement(name: str, seed: int) -> Measurement:
        recipe = replace(LEARNED_FROM[name], seed=seed)
        return Measurement(_protocol(hidden), name, recipe, seed, lambda: _measure(runner, hidden, recipe, name))

    return [measurement(name, seed) for name in LEARNED_FROM for seed in seeds]


def _protocol(hidden: float) -> str:
    return f"signals-last-20%-{hidden:g}-hidden"


def with_hidden_ratings(split: Split, share: float, seed: int) -> Split:
    """The split with a random share of the training events unrated."""
    hidden = np.random.default_rng(seed).random(split.train.height) < share
    return replace(split, train=split.train.with_columns(rating=pl.when(~pl.lit(hidden)).then("rating")))


@torch.no_grad()
def _measure(runner: Runner, hidden: float, recipe: RatingRecipe, name: str) -> Arrays:
    split = with_hidden_ratings(last_share(runner.dataset.events, TEST), hidden, recipe.seed)
    job = Job(runner.dataset, split, runner.work / "repository", runner.work, device=runner.device)
    ratings, _ = usable_stars(job, split.train, recipe)
    with torch.enable_grad():
        trained = learn_network(job, recipe, ratings)
    trained.network.eval()
    items = all_items(split)
    task = Task.of(items, *first_of_each_user(split))

    def ndcg(views: bool) -> Doubles:
        rank = reindex(items, trained.events.item_number, lambda requests: _scores(trained, requests.user_id, views))
        return task.metrics(rank)[NDCG]

    measured = {
        SQUARED: lambda: _squared_errors(job, trained),
        BY_RATING: lambda: ndcg(views=False),
        BY_VIEW: lambda: ndcg(views=True),
    }
    return {metric: measured[metric]() for metric in LEARNED[name]}


def _scores(trained: TrainedNetwork, users: Sequence[str], views: bool) -> Floats:
    """[B, N]: ratings, or logits of having watched."""
    network, known = trained.network, trained.events
    score = network.view_logit if views else network
    device = network.feature.device
    item = torch.arange(1, known.items + 1, device=device)
    rows = [torch.full_like(item, known.user_index.get(user, 0)) for user in users]
    return torch.stack([score(row, item) for row in rows]).cpu().numpy()


def _squared_errors(job: Job, trained: TrainedNetwork) -> Doubles:
    """[E]: of every test rating, in points of the data's scale; what is unknown counts as the mean rating."""
    test, known = job.split.test, trained.events
    user = [known.user_index.get(name, 0) for name in test["user"]]
    column = np.minimum(np.searchsorted(known.item_number, test["item"].to_numpy()), known.items - 1)
    device = trained.network.feature.device
    pairs = torch.tensor(user, device=device), torch.from_numpy(column + 1).to(device)
    predicted = job.rating_scale.rating(trained.network(*pairs).cpu().numpy().clip(*_stars(trained)))
    return np.square(predicted - test["rating"].to_numpy())


def _stars(trained: TrainedNetwork) -> tuple[float, float]:
    rating = trained.ratings["rating"].to_numpy()
    return float(rating.min()), float(rating.max())


def mean_over_seeds(cells: Sequence[Cell], model: str, metric: str) -> Doubles | None:
    """[E] or [B]; None where the variant does not answer it."""
    return mean_of([cell for cell in cells if cell.model == model], metric)


def as_table(cells: Sequence[Cell], dataset: str, hidden: float) -> Table:
    """Each beside what `both` gains over it, with paired 95 % intervals over test ratings or users."""
    title = f"{dataset}, {hidden:.0%} of the training ratings hidden, mean over seeds; below: both is better by, 95 %"
    table = Table("learned from", "RMSE", BY_RATING, BY_VIEW, title=title, title_justify="left")
    for model in LEARNED_FROM:
        table.add_row(model, *(_shown(cells, model, metric) for metric in (SQUARED, BY_RATING, BY_VIEW)))
    return table


def _shown(cells: Sequence[Cell], model: str, metric: str) -> str:
    values = mean_over_seeds(cells, model, metric)
    if values is None:
        return ""
    shown = f"{float(values.mean()) ** (0.5 if metric == SQUARED else 1):.4f}"
    gain = gain_of_both(cells, model, metric)
    return f"{shown}\n{gain['low']:+.4f} to {gain['high']:+.4f}" if gain else shown


def gain_of_both(cells: Sequence[Cell], model: str, metric: str) -> dict[str, float]:
    """How much better the two together are than `model`, in RMSE or NDCG@10: value, low and high, the 95 % interval
    paired by test rating or user. Empty for what cannot be compared.
    """
    values, both = mean_over_seeds(cells, model, metric), mean_over_seeds(cells, BOTH, metric)
    if model == BOTH or values is None or both is None:
        return {}
    if metric == SQUARED:
        low, high = rmse_gain(values, both)
        return {"value": float(values.mean() ** 0.5 - both.mean() ** 0.5), "low": low, "high": high}
    low, high = bootstrap(both - values)
    return {"value": float((both - values).mean()), "low": low, "high": high}


def rmse_gain(one: Doubles, other: Doubles, samples: int = 1000) -> tuple[float, float]:
    """95 % interval of how much lower the RMSE of the second is, paired by rating, by bootstrap."""
    random, count = np.random.default_rng(0), len(one)
    drawn = [random.integers(0, count, count) for _ in range(samples)]
    gains = [one[rows].mean() ** 0.5 - other[rows].mean() ** 0.5 for rows in drawn]
    low, high = np.quantile(gains, [0.025, 0.975])
    return float(low), float(high)


def rows(cells: Sequence[Cell], dataset: str, hidden: float) -> Iterator[dict[str, object]]:
    """In the format of results, and what both gain; intervals are over users, of the squared error over ratings."""
    for model, metrics in LEARNED.items():
        own = [cell for cell in cells if cell.model == model]
        named: dict[str, object] = {"dataset": dataset, "protocol": _protocol(hidden), "model": model}
        named |= {"recipe": "hybrid_mf_deep", "seeds": [cell.seed for cell in own]}
        for metric in metrics:
            values = mean_of(own, metric)
            if values is not None:
                yield {**named, "metric": metric, **over_queries(values)}
            if gain := gain_of_both(cells, model, metric):
                yield {**named, "metric": metric + BETTER, **gain}
