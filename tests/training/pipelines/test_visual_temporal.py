"""Training the visual-temporal model: what it learns from, resuming, publishing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from training.artifacts.requests import requests_for
from training.artifacts.scorer_files import OfflineScorer
from training.data.dataset import Dataset, assemble
from training.data.posters import StoredPixels
from training.data.splits import leave_last_out
from training.errors import TrainingError
from training.evaluation.genres import genre_prediction
from training.features.content import content_of
from training.features.interactions import Interactions
from training.fitting.checkpoint import Checkpoint
from training.fitting.curve import LearningCurve
from training.models.visual_temporal import VisualTemporalModel
from training.pipelines.job import Job
from training.pipelines.visual_temporal import Posters, _crops, _ends, learn, prepare, train_visual_temporal
from training.recipes.bounds import Bounds
from training.recipes.visual_temporal import VisualTemporalRecipe, best_visual_temporal, seed_cnn_birnn_ae

USERS, ITEMS, EVENTS = 40, 12, 9
SIZES = {"embedding_dim": 16, "rnn_dim": 8, "channels": (2, 4), "poster_height": 8, "poster_width": 8, "length": 8}
BEST = replace(best_visual_temporal(), window=3, targets=4, epochs=3, learning_rate=1e-2, **SIZES)  # type: ignore[arg-type]
SEED = replace(seed_cnn_birnn_ae(), epochs=3, **SIZES)  # type: ignore[arg-type]


@pytest.fixture
def dataset() -> Dataset:
    """Everybody walks the items in a circle and rates odd ones 5, even ones 1; nobody watches the last two items."""
    rows = [
        (f"u{user}", str((user + step) % ITEMS + 1), 5.0 if (user + step) % 2 == 0 else 1.0, 60 * step)
        for user in range(USERS)
        for step in range(EVENTS)
    ]
    events = pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row")
    numbers = range(1, ITEMS + 3)
    genres = [["Odd"] if number % 2 else ["Even"] for number in numbers]
    return assemble("circle", events, pl.DataFrame({"id": list(map(str, numbers)), "genres": genres}), None)


def job(dataset: Dataset, folder: Path) -> Job:
    torch.set_num_threads(1)
    return Job(dataset, leave_last_out(dataset.events), folder / "repository", folder / "cache")


def test_what_follows_is_learned(dataset: Dataset, tmp_path: Path) -> None:
    work = job(dataset, tmp_path)
    curve = learn(work, prepare(work, replace(BEST, epochs=30, patience=30, dropout=0.0)))
    assert max(curve.validation) > 0.9


def test_what_is_liked_is_learned(dataset: Dataset, tmp_path: Path) -> None:
    work = job(dataset, tmp_path)
    curve = learn(work, prepare(work, replace(SEED, epochs=40, dropout=0.1, learning_rate=1e-2)))
    assert -max(curve.validation) < 0.2


@pytest.mark.parametrize("recipe", [BEST, SEED], ids=["best", "seed"])
def test_what_is_published_scores_as_in_training(
    recipe: VisualTemporalRecipe, dataset: Dataset, tmp_path: Path
) -> None:
    work, recipe = job(dataset, tmp_path), replace(recipe, epochs=1, poster_height=24, poster_width=16)
    requests = requests_for(work.split.test.head(20), work.split.train)
    scorer = OfflineScorer(train_visual_temporal(work, recipe))
    assert scorer.item_number.tolist() == list(range(1, ITEMS + 3))
    training = prepare(work, recipe)
    learn(work, training)
    served = scorer.scores(requests)
    # The last two are in no event: their vectors are mapped from their content.
    np.testing.assert_allclose(served[:, :ITEMS], training.ranker()(requests)[:, :ITEMS], atol=1e-3)
    assert np.isfinite(served).all()


def test_a_stopped_run_goes_on_to_the_same_result(dataset: Dataset, tmp_path: Path) -> None:
    work = job(dataset, tmp_path)
    whole = learn(work, prepare(work, BEST))
    kept, stopped, left = Checkpoint(tmp_path / "run.pt", 0), prepare(work, BEST), iter(range(2))
    refresh = stopped.posters.refresh

    def killed() -> Tensor:
        """In the second epoch: one refresh is before the first step, the others are validation's."""
        if next(left, None) is None:
            raise KeyboardInterrupt
        return refresh()

    stopped.posters.refresh = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        learn(work, stopped, kept)
    torch.manual_seed(1)
    assert learn(work, prepare(work, BEST), kept) == whole


def test_an_item_that_nobody_watched_is_no_wrong_answer_in_training(dataset: Dataset, tmp_path: Path) -> None:
    training = prepare(job(dataset, tmp_path), replace(BEST, item_dropout=0.0))
    next(iter(training.losses())).backward()
    gradient = training.model.bias.grad
    assert gradient is not None
    assert gradient[ITEMS:].tolist() == [0, 0]
    assert gradient[:ITEMS].all()


def test_targets_come_after_their_histories_and_users_do_not_mix() -> None:
    rows = [("a", item, float(item), time) for time, item in enumerate([1, 2, 3, 4, 5])] + [
        ("b", 6, 4.0, 0),
        ("b", 7, 3.0, 1),
    ]
    train = Interactions.of(pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row"))
    assert all(set(_ends(train, 2).tolist()) <= {2, 3, 4, 6} for _ in range(20))
    history, rating, target, after = (
        part.tolist() for part in _crops(train, torch.tensor([4, 6]), length=2, targets=2)
    )
    assert history == [[2, 3, 4], [0, 0, 6]]
    assert rating[0] == [2, 3, 4]
    assert target == [[4, 5], [0, 7]]
    assert after[0] == [4, 5]
    assert after[1][1] == 3


def test_posters_are_read_from_their_file(dataset: Dataset, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (ITEMS + 2, 3, 8, 8), np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    model = VisualTemporalModel(content_of(dataset.items, 4, 0), torch.ones(ITEMS + 2, dtype=torch.bool), BEST)
    feature = Posters(StoredPixels(tmp_path / "pixels.npy"), model, 4).refresh()
    with torch.no_grad():
        torch.testing.assert_close(feature, model.item.poster.eval()(torch.from_numpy(pixels)))
    assert feature.abs().sum(1).all()


def test_without_ratings_there_are_no_likes_to_learn(dataset: Dataset, tmp_path: Path) -> None:
    unrated = replace(dataset, events=dataset.events.with_columns(rating=pl.lit(None, pl.Float32)))
    with pytest.raises(TrainingError, match="'seed_cnn_birnn_ae' learns from ratings, and some events have none"):
        prepare(job(unrated, tmp_path), SEED)


def test_trained_on_some_items_it_knows_all_of_them(dataset: Dataset, tmp_path: Path) -> None:
    work = job(dataset, tmp_path)
    recipe = replace(BEST, epochs=1, bounds=Bounds(max_items=8))
    scorer = OfflineScorer(train_visual_temporal(work, recipe))
    assert scorer.item_number.tolist() == list(range(1, ITEMS + 3))
    assert np.isfinite(scorer.scores(requests_for(work.split.test.head(20), work.split.train))).all()


def test_among_more_items_those_learned_keep_what_was_learned(dataset: Dataset, tmp_path: Path) -> None:
    work = job(dataset, tmp_path)
    some = dataset.items.filter(pl.col("number").is_in([3, 4, 7, 9]))
    events = work.split.train.filter(pl.col("item").is_in(some["number"].implode()))
    part = replace(work, dataset=replace(dataset, items=some), split=replace(work.split, train=events))
    training = prepare(part, BEST)
    wider = training.expand_to(dataset.items)
    rows = np.searchsorted(wider.train.item_number, training.train.item_number)
    np.testing.assert_array_equal(wider.train.item_number[wider.train.item - 1], events["item"].to_numpy())
    for own, among in zip(training.tables(), wider.tables(), strict=True):
        np.testing.assert_allclose(among[rows], own, atol=1e-6)
    history = torch.tensor([[0, 2, 4, 1]])
    among = torch.where(history > 0, torch.from_numpy(rows + 1)[history - 1], 0)
    rating = torch.full(history.shape, 5.0)
    np.testing.assert_allclose(
        wider.queries(among, rating, wider.tables()[0]),
        training.queries(history, rating, training.tables()[0]),
        atol=1e-5,
    )


@pytest.mark.parametrize("recipe", [BEST, SEED], ids=["best", "seed"])
def test_a_step_computes_on_the_jobs_device_alone(
    recipe: VisualTemporalRecipe, dataset: Dataset, tmp_path: Path
) -> None:
    """On `meta`, which holds no values and refuses whatever meets it from another device."""
    work = replace(job(dataset, tmp_path), device=torch.device("meta"))
    training = prepare(work, recipe)
    training.posters.rows = torch.arange(ITEMS)
    training.posters.pixels = lambda rows: torch.zeros(len(rows), 3, 8, 8, device="meta")  # type: ignore[method-assign]
    training.model.has_poster.fill_(True)
    loss = next(iter(training.losses()))
    loss.backward()
    devices = {
        loss.device.type,
        *(part.grad.device.type for part in training.model.parameters() if part.grad is not None),
    }
    assert devices == {"meta"}


def test_genres_of_what_is_watched_next_are_predicted(dataset: Dataset, tmp_path: Path) -> None:
    """Odd and even items follow each other."""
    work = job(dataset, tmp_path)
    recipe = replace(BEST, epochs=12, patience=12, dropout=0.0, genre_weight=1.0)
    folder = train_visual_temporal(work, recipe)
    history = pl.concat([work.split.train, work.split.validation])
    probability = OfflineScorer(folder).genres(requests_for(work.split.test, history))
    assert probability is not None
    even = work.split.test["item"].to_numpy() % 2 == 0
    np.testing.assert_array_equal(probability[:, 0] > 0.5, even)  # Even, then Odd
    np.testing.assert_array_equal(probability[:, 1] > 0.5, ~even)
    found = genre_prediction(work.dataset, work.split, work.repository)
    assert found["visual_temporal"]["f1"] == 1
    assert found["all users' genres"]["f1"] < 0.7
    curve = LearningCurve.read(folder)
    assert curve is not None
    assert len(curve.loss) == len(curve) == 12
