"""Items that a scorer has not learned, in published versions."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from servers.runtime.repository import Repository
from servers.scorer import LoadedScorer
from servers.signature import SCORE, Limits
from tests.conftest import Published
from training.artifacts.repository import latest
from training.artifacts.requests import Requests
from training.artifacts.scorer_files import OfflineScorer
from training.data.dataset import EVENTS, ITEMS, Dataset, completed
from training.data.splits import leave_last_out
from training.pipelines.job import Job
from training.pipelines.linear import train_linear
from training.recipes import SCORERS
from training.recipes.linear import LinearRecipe

COLD = (2, 61, 62)
"""Numbers of the items without events: a war film, a comedy, a war film."""


@pytest.fixture(scope="module")
def two_tastes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a linear model of users who watch either comedies (odd numbers) or war films (even ones)."""
    number = list(range(1, 63))
    genres = [["Comedy"] if n % 2 else ["War"] for n in number]
    items = completed(pl.DataFrame({"number": number, "id": [str(n) for n in number], "genres": genres}), ITEMS)
    random = np.random.default_rng(0)
    rows = []
    for user in range(60):
        liked = np.setdiff1d(number[user % 2 :: 2], COLD)
        rows += [(str(user), item, 4.0, time) for time, item in enumerate(random.permutation(liked)[:12])]
    events = pl.DataFrame(rows, EVENTS, orient="row")
    dataset = Dataset("tastes", events, items, None, "none")
    home = tmp_path_factory.mktemp("tastes")
    train_linear(Job(dataset, leave_last_out(events), home, home), LinearRecipe(rank=20))
    return home


def requests(*histories: list[int]) -> Requests:
    """Of unknown users."""
    items = [np.array(history) for history in histories]
    unrated = [np.full(len(history), np.nan, np.float32) for history in histories]
    times = [np.arange(len(history)) for history in histories]
    return Requests([""] * len(items), items, unrated, times, np.full(len(items), 100))


def test_an_item_without_events_ranks_by_its_content(two_tastes: Path) -> None:
    scorer = OfflineScorer(latest(two_tastes, "linear"))
    comedies, wars = scorer.scores(requests([3, 5, 7], [4, 6, 8]))
    war, comedy, other_war = np.searchsorted(scorer.item_number, COLD)
    assert comedies[comedy] > comedies[[war, other_war]].max()
    assert wars[[war, other_war]].min() > wars[comedy]


def test_a_server_scores_them_as_training_does_and_leaves_them_out_of_histories(two_tastes: Path) -> None:
    offline = OfflineScorer(latest(two_tastes, "linear"))
    served = LoadedScorer(Repository(two_tastes).latest("linear"), threads=1)
    history = np.array([[3, 62, 5, 7, 2, 61]])
    given = {"history_item": history, "candidate": offline.item_number[None]}
    score = served.score(SCORE.complete(given, Limits(B=1, L=10, C=100, K=1)))["score"]
    np.testing.assert_allclose(score, offline.scores(requests(history[0].tolist())), atol=1e-5)
    np.testing.assert_allclose(score, offline.scores(requests([3, 5, 7])), atol=1e-5)


def test_the_tower_knows_what_was_learned(two_tastes: Path) -> None:
    arrays = load_file(latest(two_tastes, "linear") / "items.safetensors")
    learned = arrays["tower_index"] > 0
    assert arrays["item_number"][~learned].tolist() == list(COLD)
    np.testing.assert_array_equal(arrays["tower_index"][learned], np.arange(1, learned.sum() + 1))
    length = np.linalg.norm(arrays["similar_vector"], axis=1)
    np.testing.assert_allclose(length, 1, atol=1e-5)


def test_every_scorer_knows_every_item(published: Published) -> None:
    numbers = pl.read_parquet(latest(published.repository, "catalog") / "items.parquet")["number"].to_list()
    for model in SCORERS:
        arrays = load_file(latest(published.repository, model) / "items.safetensors")
        assert arrays["item_number"].tolist() == numbers
        assert np.isfinite(arrays["item_vector"]).all()
