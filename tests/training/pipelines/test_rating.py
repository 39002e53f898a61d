"""Every rating recipe from data to a served answer, and training runs that are stopped or fed what is odd."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from training.artifacts.repository import latest, verify
from training.artifacts.requests import requests_for
from training.artifacts.scorer_files import OfflineScorer
from training.data.dataset import Dataset
from training.data.load import load_dataset
from training.data.splits import leave_last_out, no_split
from training.data.synthetic.generate import Settings, generate
from training.errors import TrainingError
from training.features.ratings import usable_ratings
from training.models.svd import train_svd
from training.models.tables import whole
from training.pipelines import rating_predictions
from training.pipelines.job import Job, torch_device
from training.pipelines.rating import train_rating
from training.pipelines.rating_predictions import predict
from training.recipes import rating as recipes
from training.recipes.rating import AnyRating, RatingRecipe, SvdRecipe

NAMES = sorted(set(recipes.RATING) - {"default", "small"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("rating") / "generated"
    generate(home, Settings(users=60, items=50))
    return home


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return load_dataset(folder)


def quick(name: str) -> AnyRating:
    """The recipe, with less of everything that takes time and nothing left out for having few ratings."""
    recipe = recipes.RATING[name]()
    if isinstance(recipe, RatingRecipe):
        return replace(recipe, epochs=2)
    if isinstance(recipe, SvdRecipe):
        return replace(recipe, min_user_ratings=1, max_ignored_item_ratings=5)
    return replace(recipe, rank=4, samples=20, burn_in=5)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_published_whole_and_answers_known_and_unknown_users(
    name: str, dataset: Dataset, tmp_path: Path
) -> None:
    split = leave_last_out(dataset.events)
    folder = train_rating(Job(dataset, split, tmp_path, tmp_path / "cache"), quick(name))
    manifest = verify(folder)
    assert manifest.recipe.name == name
    assert 0 < {metric.name: metric.value for metric in manifest.metrics}["rmse-as-served"] < 2
    known = requests_for(split.test.head(5), split.train)
    scores = OfflineScorer(folder).scores(known)
    assert np.isfinite(scores).all()
    assert scores.min() > 0
    assert scores.max() < 6
    unknown = OfflineScorer(folder).scores(known.as_unknown_users())
    assert np.abs(unknown - scores).mean() < 1
    assert not list((tmp_path / "cache" / "runs").glob("*"))


@pytest.mark.parametrize(("name", "abstains"), [("hybrid_genres", False), ("best", False), ("seed_rating", True)])
def test_an_item_without_ratings_is_scored_where_its_content_is_known(
    name: str, abstains: bool, dataset: Dataset, tmp_path: Path
) -> None:
    cold = int(dataset.items["number"][7])
    job = Job(dataset, no_split(dataset.events.filter(pl.col("item") != cold)), tmp_path, tmp_path)
    predicted = predict(job, quick(name))
    assert (cold not in predicted.train.item_number) == abstains
    assert predicted.metrics["items-without-rating"] == 1
    assert np.isfinite(whole(predicted.table)).all()


def test_of_a_table_with_too_many_cells_some_users_are_written_out(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(dataset, leave_last_out(dataset.events), tmp_path, tmp_path / "cache")
    every = predict(job, quick("hybrid_genres"))
    monkeypatch.setattr("training.pipelines.rating_predictions.LARGEST", 10 * dataset.items.height)
    some = predict(job, quick("hybrid_genres"))
    assert some.train.users == 10
    rows = [every.train.user_index[user] - 1 for user in some.train.user_ids]
    np.testing.assert_allclose(whole(some.table), whole(every.table)[rows], atol=1e-5)


def test_views_without_a_rating_change_what_is_learned_from_the_same_ratings(dataset: Dataset, tmp_path: Path) -> None:
    """S2 learns from both; networks of ratings alone do not."""
    half = np.random.default_rng(0).random(dataset.events.height) < 0.5
    with_views = dataset.events.with_columns(rating=pl.when(pl.lit(half)).then("rating"))
    with_views = with_views.with_columns(user=pl.when(pl.col("user") != "1").then("user").otherwise(pl.lit("viewer")))
    with_views = with_views.with_columns(rating=pl.when(pl.col("user") != "viewer").then("rating"))
    changed = {}
    for name in ("hybrid_mf_deep", "hybrid_genres"):
        tables: list[np.ndarray] = []
        for events in (with_views, with_views.filter(pl.col("rating").is_not_null())):
            predicted = predict(Job(dataset, no_split(events), tmp_path, tmp_path / str(len(tables))), quick(name))
            assert np.isfinite(predicted.train.rating).all()
            users = [user for user in predicted.train.user_ids if user != "viewer"]
            rows = [predicted.train.user_index[user] - 1 for user in sorted(users)]
            tables.append(whole(predicted.table)[rows])
        changed[name] = float(np.abs(tables[0] - tables[1]).max())
    assert changed["hybrid_mf_deep"] > 0.01
    assert changed["hybrid_genres"] == 0


def test_a_user_who_only_views_is_known(dataset: Dataset, tmp_path: Path) -> None:
    viewer = dataset.events["user"][0]
    events = dataset.events.with_columns(rating=pl.when(pl.col("user") != viewer).then("rating"))
    folder = train_rating(Job(dataset, no_split(events), tmp_path, tmp_path / "cache"), quick("hybrid_mf_deep"))
    request = requests_for(events.filter(pl.col("user") == viewer).head(1), events.clear())
    scorer = OfflineScorer(folder)
    assert np.abs(scorer.scores(request) - scorer.scores(request.as_unknown_users())).max() > 1e-4


def test_odd_ratings_are_left_out_and_counted() -> None:
    events = pl.DataFrame(
        {
            "user": ["a", "a", "a", "b", "b", "c"],
            "item": [1, 1, 2, 1, 2, 1],
            "rating": [2.0, 4.0, 9.0, 3.0, None, 5.0],
            "time": [5, 3, 4, 1, 2, 9],
        }
    )
    kept, counts = usable_ratings(events, (1, 5))
    assert kept.select("user", "item", "rating").rows() == [
        ("b", 1, 3.0),
        ("a", 1, 2.0),
        ("c", 1, 5.0),
    ]
    assert counts == {"ratings-outside-the-scale": 1, "repeated-ratings": 1, "users-with-one-rating": 3}
    averaged, _ = usable_ratings(events, (1, 5), repeated="mean")
    assert averaged.equals(kept.with_columns(rating=pl.Series([3.0, 3.0, 5.0])))
    with pytest.raises(TrainingError, match="no event has a rating between 7 and 8"):
        usable_ratings(events, (7, 8))


def test_a_device_that_is_not_there_is_named() -> None:
    for device in ("nowhere", "meta", "cuda:99"):
        with pytest.raises(TrainingError, match=f"device '{device}' cannot be used here: .*; this machine has cpu"):
            torch_device(device)
    assert torch_device("cpu") == torch.device("cpu")


def test_without_enough_ratings_the_svd_says_so(dataset: Dataset, tmp_path: Path) -> None:
    strict = replace(recipes.svd(), max_ignored_item_ratings=10_000)
    with pytest.raises(TrainingError, match="no ratings are left by recipe 'svd'"):
        predict(Job(dataset, no_split(dataset.events), tmp_path, tmp_path), strict)


def test_the_size_of_the_svd_is_chosen_by_three_folds(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(dataset, no_split(dataset.events), tmp_path, tmp_path)
    recipe = replace(recipes.svd(), max_ignored_item_ratings=5, factors=(2, 4), epochs=(1, 5))
    learned: list[int] = []

    def counted(*arguments: Any) -> Any:
        learned.append(len(arguments[0][2]))
        return train_svd(*arguments)

    monkeypatch.setattr(rating_predictions, "train_svd", counted)
    predicted = predict(job, recipe)
    kept = len(predicted.train.rating)
    assert len(learned) == 4 * 3 + 1
    assert sum(learned[:3]) == 2 * kept  # every rating is held out once
    metrics = predicted.metrics
    sizes = [f"of-{factors}-factors-{epochs}-epochs" for factors in (2, 4) for epochs in (1, 5)]
    assert metrics["rmse"] == min(metrics[f"rmse-{size}"] for size in sizes)
    assert all(0 < metrics[f"mae-{size}"] < metrics[f"rmse-{size}"] for size in sizes)
    assert 1 > metrics["sparsity-before"] > metrics["sparsity-after"] > 0
    pairs = predicted.train.users * predicted.train.items
    assert metrics["sparsity-after"] == pytest.approx(1 - kept / pairs)


def test_a_killed_run_goes_on_to_the_same_weights(folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", "train", "rating", "--checkpoint-seconds", "0", "--recipe", "bayesian"]
    command += ["--set", "samples=60", "--set", "burn_in=20"]
    command += ["--data", str(folder), "--repository", str(tmp_path / "resumed")]
    environment = {**os.environ, "MARQUEE_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    runs = tmp_path / "cache" / "runs"
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while not list(runs.glob("*.pt")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    again = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "resuming a stopped run" in again.stderr
    whole = Job(dataset, leave_last_out(dataset.events), tmp_path / "whole", tmp_path / "other")
    train_rating(whole, replace(recipes.bayesian(), samples=60, burn_in=20))
    weights = [latest(tmp_path / name, "rating") / "items.safetensors" for name in ("whole", "resumed")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
