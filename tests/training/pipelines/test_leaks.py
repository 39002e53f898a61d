"""What is held out for test does not reach what is published."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.conftest import Published
from training import recipes
from training.artifacts.repository import latest
from training.data.load import load_dataset
from training.data.splits import Split, leave_last_out
from training.pipelines import pipeline
from training.pipelines.catalog import train_catalog
from training.pipelines.fusion import train_fusion
from training.pipelines.job import Job
from training.pipelines.rating import train_rating
from training.recipes import SCORERS


@pytest.fixture(scope="module")
def split(published: Published) -> Split:
    return leave_last_out(load_dataset(published.data).events)


def altered(split: Split) -> Split:
    """Other items, ratings and times in the test part."""
    items = np.random.default_rng(0).permutation(split.test["item"].to_numpy())
    other = split.test.with_columns(pl.Series("item", items), pl.lit(1.0, pl.Float32).alias("rating"))
    return replace(split, test=other.with_columns(pl.col("time") + 1000))


def job(published: Published, split: Split, folder: Path) -> Job:
    """In a repository of its own, and with nothing kept from other runs."""
    return Job(load_dataset(published.data), split, folder / "repository", folder / "cache")


def hashes(version: Path) -> Mapping[str, str]:
    """sha256 of every file but the manifest, which names the moment, and the graph, whose answers are in golden.npz."""
    files = [path for path in version.iterdir() if path.name not in ("manifest.json", "query_tower.onnx")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("model", SCORERS)
def test_other_test_events_make_the_same_weights(
    published: Published, split: Split, tmp_path: Path, model: str
) -> None:
    own = job(published, altered(split), tmp_path)
    again = pipeline(model)(own, recipes.choose(recipes.RECIPES[model], "small"))
    assert hashes(again) == hashes(latest(published.repository, model))


def test_other_test_events_make_the_same_catalog_and_policies(
    published: Published, split: Split, tmp_path: Path
) -> None:
    found = []
    for name, part in (("as it is", split), ("altered", altered(split))):
        own = job(published, part, tmp_path / name)
        own.repository.mkdir(parents=True)
        for model in SCORERS:
            (own.repository / model).symlink_to(published.repository / model)
        catalog = train_catalog(own, recipes.choose(recipes.CATALOG, "default"))
        found.append((hashes(catalog), hashes(train_fusion(own, recipes.choose(recipes.FUSION, "default")))))
    assert found[0] == found[1]


def test_a_training_event_less_makes_other_weights(published: Published, split: Split, tmp_path: Path) -> None:
    """So that the tests above would see a difference."""
    own = job(published, replace(split, train=split.train.slice(1)), tmp_path)
    again = train_rating(own, recipes.choose(recipes.RATING, "small"))
    assert hashes(again) != hashes(latest(published.repository, "rating"))
