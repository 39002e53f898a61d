"""A whole model repository and its events, small enough to publish in a test."""

import json
from pathlib import Path

import numpy as np
import polars as pl

from tests.servers import tiny_artifact

MODELS = ("rating", "sequential", "visual_temporal")
NUMBERS = tuple(range(3, 63, 2))
POLICIES = """default: equal
policies:
  equal: {strategy: weighted_sum, normaliser: zscore, weights: {rating: 1, sequential: 1, visual_temporal: 1}}
"""


def publish(repository: Path) -> Path:
    """Three scorers over the same items, a catalogue and a policy; returns `repository`."""
    for scale, model in enumerate(MODELS, 1):
        tiny_artifact.publish(repository, model, item_numbers=NUMBERS, scale=scale)
    catalog, fusion = _version(repository, "catalog"), _version(repository, "fusion")
    _items().write_parquet(catalog / "items.parquet")
    (fusion / "policies.yaml").write_text(POLICIES)
    tiny_artifact.seal(catalog)
    tiny_artifact.seal(fusion)
    return repository


def write_events(folder: Path, users: int = 7) -> Path:
    """`events.csv` with a few events of each user; some have no rating."""
    random, rows = np.random.default_rng(3), ["user,item,rating,time"]
    for user in range(users):
        for position, number in enumerate(random.choice(NUMBERS, 1 + user % 4, replace=False)):
            rows.append(f"user {user},tt{number},{'' if position == 1 else 4},{1000 + 60 * position}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "events.csv").write_text("\n".join(rows))
    return folder


def _version(repository: Path, model: str) -> Path:
    folder = repository / model / "1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"model": model, "version": 1}))
    return folder


def _items() -> pl.DataFrame:
    count = len(NUMBERS)
    return pl.DataFrame(
        {
            "number": NUMBERS,
            "id": [f"tt{number}" for number in NUMBERS],
            "title": [f"Movie {number}" for number in NUMBERS],
            "year": pl.Series([1990 + number % 9 for number in NUMBERS], dtype=pl.Int32),
            "genres": [["Drama", "Comedy"][: 1 + number % 2] for number in NUMBERS],
            "director": ["Somebody"] * count,
            "poster": [""] * count,
            "votes": list(range(count)),
            "mean_rating": [3.0] * count,
            "weighted_rating": [float(number) for number in NUMBERS],
            "recent_votes": [1] * count,
        }
    )
