"""Training the linear model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from tests.conftest import Published
from training.artifacts.repository import latest, read_manifest
from training.artifacts.scorer_files import OfflineScorer
from training.data.load import load_dataset
from training.data.splits import Split, leave_last_out
from training.errors import TrainingError
from training.pipelines.job import Job
from training.pipelines.linear import train_linear
from training.recipes.linear import LinearRecipe


def test_of_many_items_it_knows_the_most_watched(published: Published, tmp_path: Path) -> None:
    dataset = load_dataset(published.data)
    split = leave_last_out(dataset.events)
    folder = train_linear(Job(dataset, split, tmp_path, tmp_path), LinearRecipe(max_items=50, rank=20))
    scorer = OfflineScorer(folder)
    count = split.train["item"].value_counts()
    arrays = load_file(folder / "items.safetensors")
    learned = arrays["item_number"][arrays["tower_index"] > 0]
    assert (len(learned), scorer.item_vector.shape) == (50, (60, 20))
    kept = count.filter(pl.col("item").is_in(learned.tolist()))
    assert kept["count"].min() >= np.sort(count["count"])[-50]
    [ndcg] = [metric.value for metric in read_manifest(folder).metrics if metric.name == "ndcg@10"]
    assert ndcg > 0.02


def test_what_is_watched_together_is_alike(published: Published) -> None:
    """The nearest item has far more viewers in common than one taken at random."""
    events = leave_last_out(load_dataset(published.data).events).train
    items = load_file(latest(published.repository, "linear") / "items.safetensors")
    number, alike = items["item_number"], items["similar_vector"] @ items["similar_vector"].T
    seen = np.zeros((events["user"].n_unique(), len(number)), np.float32)
    seen[events["user"].rank("dense").to_numpy() - 1, np.searchsorted(number, events["item"].to_numpy())] = 1
    common = seen.T @ seen
    share = common / (seen.sum(0)[:, None] + seen.sum(0) - common)
    np.fill_diagonal(alike, -np.inf)
    np.fill_diagonal(share, 0)
    assert share[np.arange(len(number)), alike.argmax(axis=1)].mean() > 1.3 * share.mean()


def test_without_an_order_there_is_nothing_to_learn(published: Published, tmp_path: Path) -> None:
    dataset = load_dataset(published.data)
    first = dataset.events.unique("user", keep="first", maintain_order=True)
    job = Job(replace(dataset, events=first), Split("none", first, first.clear(), first.clear()), tmp_path, tmp_path)
    with pytest.raises(TrainingError, match="no user has two training events"):
        train_linear(job, LinearRecipe())
