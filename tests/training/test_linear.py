"""Training the linear model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

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
    assert_alike_are_watched_together(folder, split.train)
    [figure] = [metric.value for metric in read_manifest(folder).metrics if metric.name == "ndcg@10"]
    assert figure > 0.02


def assert_alike_are_watched_together(folder: Path, events: pl.DataFrame) -> None:
    """The nearest item has more viewers in common than one taken at random."""
    watched = {item: set(users) for item, users in events.group_by("item").agg("user").iter_rows()}
    items = load_file(folder / "items.safetensors")
    alike = items["similar_vector"] @ items["similar_vector"].T
    np.fill_diagonal(alike, -np.inf)

    def common(a: int, b: int) -> float:
        one, other = (watched[int(items["item_number"][place])] for place in (a, b))
        return len(one & other) / len(one | other)

    nearest = np.mean([common(item, int(alike[item].argmax())) for item in range(50)])
    assert nearest > 1.5 * np.mean([common(a, b) for a in range(50) for b in range(50) if a != b])


def test_without_an_order_there_is_nothing_to_learn(published: Published, tmp_path: Path) -> None:
    dataset = load_dataset(published.data)
    first = dataset.events.unique("user", keep="first", maintain_order=True)
    job = Job(replace(dataset, events=first), Split("none", first, first.clear(), first.clear()), tmp_path, tmp_path)
    with pytest.raises(TrainingError, match="no user has two training events"):
        train_linear(job, LinearRecipe())
