"""What is held out for test does not reach what is published."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.conftest import Published
from training import recipes
from training.catalog import train_catalog
from training.data.load import load_dataset
from training.data.splits import Split, leave_last_out
from training.fusion import train_fusion
from training.job import Job
from training.rating import train_rating
from training.sequential import train_sequential
from training.visual_temporal import train_visual_temporal


def altered(split: Split) -> Split:
    """Other items, ratings and times in the test part."""
    test = split.test
    items = np.random.default_rng(0).permutation(test["item"].to_numpy())
    other = test.with_columns(item=pl.Series(items), rating=pl.lit(1.0, pl.Float32), time=pl.col("time") + 1000)
    return replace(split, test=other)


def published_files(split: Split, published: Published, repository: Path, cache: Path) -> dict[str, str]:
    """sha256 of every published file but the manifests, which name the moment."""
    job = Job(load_dataset(published.data), split, repository, cache)
    train_catalog(job, recipes.CATALOG["default"]())
    train_rating(job, replace(recipes.RATING["small"](), epochs=1))  # type: ignore[arg-type]
    train_sequential(job, replace(recipes.SEQUENTIAL["small"](), epochs=1))
    train_visual_temporal(job, replace(recipes.VISUAL_TEMPORAL["small"](), epochs=1, steps=2))
    train_fusion(job, recipes.choose(recipes.FUSION, "default"))
    files = [path for path in sorted(repository.rglob("*")) if path.is_file() and path.name != "manifest.json"]
    return {str(path.relative_to(repository)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def split(published: Published) -> Split:
    return leave_last_out(load_dataset(published.data).events)


def test_test_events_change_nothing_that_is_published(published: Published, split: Split, tmp_path: Path) -> None:
    before = published_files(split, published, tmp_path / "before", tmp_path / "cache of before")
    after = published_files(altered(split), published, tmp_path / "after", tmp_path / "cache of after")
    assert len(before) > 10
    assert {name for name in before if before[name] != after.get(name)} == set()


def test_a_training_event_does(published: Published, split: Split, tmp_path: Path) -> None:
    """So that the test above can see a difference."""
    fewer = replace(split, train=split.train.slice(1))
    hashes = []
    for name, part in (("whole", split), ("fewer", fewer)):
        job = Job(load_dataset(published.data), part, tmp_path / name, tmp_path / f"cache of {name}")
        folder = train_rating(job, replace(recipes.RATING["small"](), epochs=1))  # type: ignore[arg-type]
        hashes.append(hashlib.sha256((folder / "items.safetensors").read_bytes()).hexdigest())
    assert hashes[0] != hashes[1]
