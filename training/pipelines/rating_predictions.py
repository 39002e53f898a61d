"""What a rating recipe predicts: a table of ratings, from a network, gradient descent or a sampler."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import polars as pl
import torch

from training.data.describe import sparsity
from training.data.splits import random_split
from training.errors import NotLearnable
from training.evaluation.ranking_metrics import rmse
from training.features.content import ItemContent
from training.features.interactions import Floats, Interactions
from training.features.ratings import usable_ratings
from training.features.side_information import item_blocks, user_blocks
from training.fitting.curve import LearningCurve
from training.models.bayesian import Ratings, Sampler
from training.models.rating import RatingNetwork
from training.models.svd import Descent, Svd, train_svd
from training.models.tables import LARGEST, Table
from training.pipelines.job import Job
from training.pipelines.rating_network import rating_table, train_rating_network
from training.pipelines.sampling import whole_users
from training.progress import console, track
from training.recipes.bounds import Bounds
from training.recipes.rating import AnyRating, BayesianRecipe, RatingRecipe, SvdRecipe

STOPPING = 0.1
"""Share of the training ratings that chooses the epoch where the validation part has too few."""
MIN_NOISE = 1e-3
"""In square stars: what is predicted without an error, as where all ratings are equal, is still believed like this."""


@dataclass(frozen=True)
class Predictions:
    """What a recipe predicts, in stars."""

    table: Table
    """[U, N] ratings of the users and items of `train`."""
    train: Interactions
    """The ratings it learned from; its items may be more than those rated."""
    noise: float
    """Variance of a rating around its prediction."""
    metrics: dict[str, float]
    """In points of the data's scale."""
    curve: LearningCurve | None = None
    """Of a network, in stars."""


def predict(job: Job, recipe: AnyRating) -> Predictions:
    """Learns from the training ratings. Raises NotLearnable where there are too few."""
    ratings, counts = usable_stars(job, job.split.train, recipe)
    unrated = job.dataset.items.height - ratings["item"].n_unique()
    if isinstance(recipe, BayesianRecipe):
        predicted = _sampled(job, recipe, ratings)
    elif isinstance(recipe, SvdRecipe):
        predicted = _factorized(job, recipe, ratings)
    else:
        predicted = _network(job, recipe, ratings)
    metrics = predicted.metrics | counts | {"items-without-rating": float(unrated)}
    return replace(predicted, noise=max(predicted.noise, MIN_NOISE), metrics=metrics)


def usable_stars(job: Job, events: pl.DataFrame, recipe: AnyRating) -> tuple[pl.DataFrame, dict[str, float]]:
    """As usable_ratings, with stars for ratings."""
    ratings, counts = usable_ratings(events, job.scale, recipe.repeated)
    stars = job.rating_scale.stars(ratings["rating"].to_numpy())
    return ratings.with_columns(rating=stars), counts


def _network(job: Job, recipe: RatingRecipe, ratings: pl.DataFrame) -> Predictions:
    """Over every item of the catalog where the network knows their content."""
    trained = learn_network(job, recipe, ratings)
    train = trained.events
    error = -(trained.curve.validation[-1] if recipe.as_published else max(trained.curve.validation))
    # Their embeddings were never trained.
    cold = np.setdiff1d(np.arange(1, train.items + 1), train.item)
    some = _of_some_users(trained.ratings, train.rated(), recipe.seed)
    users = [train.user_index[user] for user in some.user_ids]
    table = rating_table(trained.network, torch.tensor(cold, device=job.device), torch.tensor(users, device=job.device))
    return Predictions(table, some, error**2, {"rmse": error * job.rating_scale.points}, trained.curve)


@dataclass(frozen=True)
class TrainedNetwork:
    """A rating network, and what it learned from."""

    network: RatingNetwork
    events: Interactions
    """Ratings, and with a view weight the views as well."""
    ratings: pl.DataFrame
    curve: LearningCurve
    """Of the validation RMSE, negated, in stars."""


def learn_network(job: Job, recipe: RatingRecipe, ratings: pl.DataFrame) -> TrainedNetwork:
    """Learns from some of the `ratings`, or all where there are validation ratings, and from the job's views."""
    learned, held_out = _stopping_parts(job, ratings, recipe)
    if recipe.as_published:
        learned = ratings  # nothing stops it; what is measured on the held-out ratings is then a training error
    numbers = job.dataset.items["number"].to_numpy() if recipe.content else None
    views = _views(job.split.train, learned, held_out) if recipe.view_weight else learned.clear()
    train = Interactions.of(pl.concat([learned, views]), numbers)
    of_known_user = pl.col("user").is_in(train.user_ids)
    known = held_out.filter(of_known_user, pl.col("item").is_in(train.item_number.tolist()))
    validation = Interactions.of(known, train.item_number).under_users_of(train)
    items = job.dataset.items.filter(pl.col("number").is_in(train.item_number.tolist()))
    content = ItemContent.of(items, recipe.content)
    network, curve = train_rating_network(train, validation, content, recipe, job.checkpoint(recipe), job.device)
    return TrainedNetwork(network, train, learned, curve)


def _views(events: pl.DataFrame, learned: pl.DataFrame, held_out: pl.DataFrame) -> pl.DataFrame:
    """What users watched without a rating that is learned from; not what is held out, which stands for the unseen."""
    views = events.unique(["user", "item"], keep="last", maintain_order=True)
    for rated in (learned, held_out):
        views = views.join(rated, on=["user", "item"], how="anti", maintain_order="left")
    return views.select(learned.columns).with_columns(rating=pl.lit(None, learned["rating"].dtype))


def _of_some_users(ratings: pl.DataFrame, train: Interactions, seed: int) -> Interactions:
    """Of so many users that their table of all items can be written out; the others are folded in when they ask."""
    bounds = Bounds(max_users=max(LARGEST // train.items, 1))
    some = whole_users(ratings, bounds, seed)
    return train if some is ratings else Interactions.of(some, train.item_number)


def _stopping_parts(job: Job, ratings: pl.DataFrame, recipe: RatingRecipe) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Ratings to learn from, and others to choose by: of the validation part, else a random share of the first.

    Raises NotLearnable where there are too few for that.
    """
    try:
        return ratings, usable_stars(job, job.split.validation, recipe)[0]
    except NotLearnable:
        parts = random_split(ratings, STOPPING, recipe.seed)
    if not parts.test.height:
        raise NotLearnable(f"{ratings.height} ratings are too few to learn from some and choose by others")
    return parts.train, parts.test


def _factorized(job: Job, recipe: SvdRecipe, ratings: pl.DataFrame) -> Predictions:
    """The grid's best by cross-validation, trained again on all. Users and items with few ratings are left out."""
    count = pl.len().over
    kept = ratings.filter(count("item") > recipe.max_ignored_item_ratings, count("user") >= recipe.min_user_ratings)
    if not kept.height:
        raise NotLearnable(f"no ratings are left by recipe '{recipe.name}', which leaves out users and items with few")
    train = Interactions.of(kept)
    sparse = {"sparsity-before": sparsity(ratings), "sparsity-after": sparsity(kept)}
    console.print(
        f"{len(kept):,} of {len(ratings):,} ratings are of users and items with enough: "
        f"sparsity {sparse['sparsity-before']:.4f} before, {sparse['sparsity-after']:.4f} after"
    )
    fold = np.random.default_rng(recipe.seed).permutation(len(kept)) % recipe.folds
    tried = {size: _svd_errors(train, fold, recipe, *size) for size in product(recipe.factors, recipe.epochs)}
    best = min(tried, key=lambda size: tried[size]["rmse"])
    model = _train_svd(train, recipe, *best)
    metrics = dict(tried[best])
    for (factors, epochs), errors in tried.items():
        size = f"{factors}-factors-{epochs}-epochs"
        metrics |= {f"{name}-of-{size}": error for name, error in errors.items()}
    metrics = {name: error * job.rating_scale.points for name, error in metrics.items()}
    chosen = {"factors": float(best[0]), "epochs": float(best[1])}
    return Predictions(model.table(), train, tried[best]["rmse"] ** 2, metrics | chosen | sparse)


def _svd_errors(
    train: Interactions, fold: np.ndarray, recipe: SvdRecipe, factors: int, epochs: int
) -> dict[str, float]:
    """RMSE and MAE, each the mean over the folds."""
    errors = []
    for number in range(recipe.folds):
        other, own = fold != number, fold == number
        learned = replace(train, user=train.user[other], item=train.item[other], rating=train.rating[other])
        predicted = _train_svd(learned, recipe, factors, epochs).predict(train.user[own] - 1, train.item[own] - 1)
        absolute = np.abs(predicted - train.rating[own])
        errors.append((rmse(predicted, train.rating[own]), float(absolute.mean())))
    root_mean_square, mean_absolute = np.mean(errors, axis=0)
    return {"rmse": float(root_mean_square), "mae": float(mean_absolute)}


def _train_svd(train: Interactions, recipe: SvdRecipe, factors: int, epochs: int) -> Svd:
    """From the ratings in random order."""
    order = np.random.default_rng(recipe.seed).permutation(len(train.user))
    ratings = (train.user[order] - 1, train.item[order] - 1, train.rating[order])
    descent = Descent(factors, epochs, recipe.learning_rate, recipe.regularization, recipe.seed)
    return train_svd(ratings, (train.users, train.items), descent)


def _sampled(job: Job, recipe: BayesianRecipe, ratings: pl.DataFrame) -> Predictions:
    """Over every item of the catalog: the prior answers where nobody rated."""
    train, items = Interactions.of(ratings, job.dataset.items["number"].to_numpy()), job.dataset.items
    user, item, value = (torch.from_numpy(column) for column in (train.user - 1, train.item - 1, train.rating))
    known = Ratings(user, item, value, (train.users, train.items)).to(job.device)
    users = _on(job.device, user_blocks(job.dataset.users, train.user_ids))
    movies = _on(job.device, item_blocks(items, recipe.words))
    sized, checkpoint, note = recipe.for_size(len(value)), job.checkpoint(recipe), [""]
    sampler = Sampler(known, users, movies, sized)
    if saved := checkpoint.restore(job.device):
        sampler.load_state(saved)
    for _ in track(f"samples of rank {sized.rank}", sampler.run(), sized.samples, note, sampler.step):
        note.append(f"noise {sampler.noise**-0.5:.4f}")
        checkpoint.save(sampler.state)
    return Predictions(sampler.table(), train, 1 / sampler.noise, {})


def _on(device: torch.device, blocks: Sequence[Floats]) -> list[torch.Tensor]:
    return [torch.from_numpy(block).to(device) for block in blocks]
