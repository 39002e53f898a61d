"""Training the linear model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.conftest import Published
from training.data.load import load_dataset
from training.data.splits import Split, leave_last_out
from training.errors import TrainingError
from training.job import Job
from training.linear import train_linear
from training.recipes.linear import LinearRecipe
from training.repository import read_manifest
from training.scorer import OfflineScorer


def test_of_many_items_it_knows_the_most_watched(published: Published, tmp_path: Path) -> None:
    dataset = load_dataset(published.data)
    split = leave_last_out(dataset.events)
    folder = train_linear(Job(dataset, split, tmp_path, tmp_path), LinearRecipe(most_items=50, rank=20))
    scorer = OfflineScorer(folder)
    count = split.train["item"].value_counts()
    assert scorer.item_vector.shape == (50, 20)
    assert (
        count.filter(pl.col("item").is_in(scorer.item_number.tolist()))["count"].min() >= np.sort(count["count"])[-50]
    )
    [figure] = [metric.value for metric in read_manifest(folder).metrics if metric.name == "ndcg@10"]
    assert figure > 0.02


def test_without_an_order_there_is_nothing_to_learn(published: Published, tmp_path: Path) -> None:
    dataset = load_dataset(published.data)
    first = dataset.events.unique("user", keep="first", maintain_order=True)
    job = Job(replace(dataset, events=first), Split("none", first, first.clear(), first.clear()), tmp_path, tmp_path)
    with pytest.raises(TrainingError, match="no user has two training events"):
        train_linear(job, LinearRecipe())
