"""Training the sequence models: progress, resuming, odd data."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.conftest import Published
from training.artifacts.scorer_files import OfflineScorer
from training.data.load import load_dataset
from training.data.splits import leave_last_out
from training.errors import TrainingError
from training.evaluation.next_item import NextItem
from training.features.interactions import Interactions
from training.features.windows import Windows, cut
from training.fitting.checkpoint import Checkpoint
from training.fitting.curve import LearningCurve
from training.models.gated import GatedTransformer
from training.models.joined import Joined
from training.pipelines.job import Job
from training.pipelines.sequential import Model, item_vectors, learn, learn_windows, publish_sequential, queries
from training.recipes import sequential as recipes
from training.recipes.linear import LinearRecipe
from training.recipes.sequential import LargeData, SequentialRecipe

USERS, ITEMS = 40, 12
SMALL = {"embedding_dim": 16, "length": 8, "stride": 8, "batch_tokens": 128, "warmup_steps": 5}
QUICK = replace(recipes.best_sequential(), epochs=12, **SMALL)  # type: ignore[arg-type]
CPU = torch.device("cpu")


def circle() -> tuple[Interactions, pl.DataFrame]:
    """Every user walks the items in a circle; the held-out event is the next step."""
    rows = [(f"u{user}", (user + step) % ITEMS + 1, 3.0, 60 * step) for user in range(USERS) for step in range(9)]
    events = pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row")
    last = pl.col("time") == 60 * 8
    return Interactions.of(events.filter(~last)), events.filter(last)


def learned(
    recipe: SequentialRecipe, checkpoint: Checkpoint | None = None, stop: int = 99
) -> tuple[Model, LearningCurve]:
    """Trains; a run that validates more than `stop` times is killed."""
    train, validation = circle()
    held_out = NextItem.of(train, validation, recipe.length)
    left = iter(range(stop))

    def quality(model: Model) -> float:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return held_out.ndcg(queries(model, held_out, CPU), item_vectors(model))

    windows = Windows(train, cut(train, recipe.length, recipe.stride), CPU)
    result = learn_windows(windows, (train.users, train.items), recipe, quality, checkpoint)
    return result.model, result.curve


@pytest.mark.parametrize(
    "recipe",
    [
        replace(QUICK, epochs=40),
        replace(QUICK, epochs=40, times=False, bf16=False),
        replace(QUICK, epochs=40, negatives=6),
        replace(recipes.sasrec(), epochs=40, learning_rate=5e-3, **SMALL),  # type: ignore[arg-type]
    ],
    ids=["best", "time-free", "sampled", "sasrec"],
)
def test_what_follows_is_learned(recipe: SequentialRecipe) -> None:
    assert max(learned(recipe)[1].validation) > 0.9


def test_a_recipe_has_a_size_for_many_events() -> None:
    large = LargeData(embedding_dim=24, num_layers=3, ema_epochs=0, epochs=3, min_targets=USERS * 7)
    recipe = replace(QUICK, epochs=2, large_data=large)
    model, curve = learned(recipe)
    assert isinstance(model, GatedTransformer)
    assert (item_vectors(model).shape[1], len(model.blocks), len(curve)) == (24, 3, 3)
    model, curve = learned(replace(recipe, large_data=replace(large, min_targets=USERS * 7 + 1)))
    assert isinstance(model, GatedTransformer)
    assert (item_vectors(model).shape[1], len(model.blocks), len(curve)) == (16, 2, 2)


@pytest.mark.parametrize("min_targets", [USERS * 7, USERS * 7 + 1], ids=["many", "few"])
def test_ties_are_shuffled_where_events_are_few(min_targets: int) -> None:
    large = LargeData(embedding_dim=16, num_layers=2, ema_epochs=0, epochs=1, min_targets=min_targets)
    shuffled = replace(QUICK, epochs=1, large_data=large, shuffled_ties=True)
    one, other = (item_vectors(learned(replace(shuffled, shuffled_ties=flag))[0]) for flag in (True, False))
    assert np.array_equal(one, other) == (min_targets == USERS * 7)


def test_a_stopped_run_goes_on_to_the_same_result(tmp_path: Path) -> None:
    recipe = replace(QUICK, ema_epochs=2)
    whole, curve = learned(recipe)
    with pytest.raises(KeyboardInterrupt):
        learned(recipe, Checkpoint(tmp_path / "run.pt", 0), stop=5)
    torch.manual_seed(1)
    resumed, other_curve = learned(recipe, Checkpoint(tmp_path / "run.pt", 0))
    assert curve == other_curve
    for ours, theirs in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=0, rtol=0)


@pytest.mark.parametrize("size", [0, 1000, 20_000])
def test_a_checkpoint_that_is_not_whole_is_named_and_left_out(
    tmp_path: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, curve = learned(QUICK)
    with pytest.raises(KeyboardInterrupt):
        learned(QUICK, Checkpoint(tmp_path / "run.pt", 0), stop=2)
    os.truncate(tmp_path / "run.pt", size)
    _, again = learned(QUICK, Checkpoint(tmp_path / "run.pt", 0))
    assert again == curve
    [warning] = [line for line in capsys.readouterr().err.splitlines() if "anew" in line]
    assert warning.startswith(f"training starts anew: the checkpoint {tmp_path / 'run.pt'} cannot be read: ")


def test_a_seed_makes_a_run() -> None:
    recipes = [replace(QUICK, epochs=2, seed=seed) for seed in (0, 0, 1)]
    one, same, other = (item_vectors(learned(recipe)[0]) for recipe in recipes)
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)


@pytest.mark.parametrize("computes", [False, True])
def test_bfloat16_is_for_processors_that_compute_in_it(computes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": computes})
    in_bf16, in_float32 = (item_vectors(learned(replace(QUICK, epochs=1, bf16=bf16))[0]) for bf16 in (True, False))
    assert np.array_equal(in_bf16, in_float32) != computes


def test_validation_batched_equals_single() -> None:
    train, validation = circle()
    torch.manual_seed(0)
    model = GatedTransformer(train.items, QUICK).eval()
    lengths = np.random.default_rng(0).integers(1, 8, USERS)
    kept = np.concatenate([np.arange(8 * u, 8 * u + n) for u, n in enumerate(lengths)])
    shorter = replace(
        train, user=train.user[kept], item=train.item[kept], rating=train.rating[kept], time=train.time[kept]
    )
    together = NextItem.of(shorter, validation, 8)
    whole = queries(model, together, CPU)
    for row in (0, 7, USERS - 1):
        columns = ("user_index", "history_index", "history_rating", "history_time", "query_time")
        alone = replace(
            together, target=together.target[:1], **{c: getattr(together, c)[row : row + 1] for c in columns}
        )
        np.testing.assert_allclose(queries(model, alone, CPU), whole[row : row + 1], atol=1e-4)


def test_equal_times_repeated_items_and_single_events_train() -> None:
    repeated = [("a", item, None, 5) for item in (1, 2, 2, 1, 3)]
    rows = [*repeated, ("b", 4, 2.0, 9)]
    train = Interactions.of(pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row"))
    windows = Windows(train, cut(train, 8, 8), CPU)
    result = learn_windows(windows, (2, 4), replace(QUICK, epochs=2), lambda model: 0.0)
    assert np.isfinite(item_vectors(result.model)).all()


def test_without_any_order_it_says_so() -> None:
    events = pl.DataFrame(
        {
            "user": ["a", "b"],
            "item": [1, 2],
            "rating": [3.0, 3.0],
            "time": [1, 2],
        }
    )
    train = Interactions.of(events)
    with pytest.raises(TrainingError, match="no user has two training events"):
        learn_windows(Windows(train, cut(train, 8, 8), CPU), (2, 2), QUICK, lambda model: 0.0)


@pytest.mark.parametrize("validated", [True, False])
def test_a_network_is_served_with_the_linear_model_beside_it(
    published: Published, tmp_path: Path, validated: bool
) -> None:
    """A network of one epoch is worse than both together; without validation users the weight is a fixed one."""
    dataset = load_dataset(published.data)
    split = leave_last_out(dataset.events)
    train = split.train if validated else pl.concat([split.train, split.validation])
    split = split if validated else replace(split, train=train, validation=split.validation.clear())
    job = Job(dataset, split, tmp_path, tmp_path)
    recipe = replace(QUICK, epochs=1, linear=LinearRecipe(rank=32))
    learned = learn(job, recipe)
    both = learned.model
    assert isinstance(both, Joined)
    scorer = OfflineScorer(publish_sequential(job, recipe, learned))
    assert scorer.item_vector.shape[1] == recipe.embedding_dim + 32
    if not validated:
        assert both.weight == 0.2
        return
    held_out = NextItem.of(job.train, split.validation, recipe.length)
    ndcg = held_out.ndcg(queries(both, held_out, CPU), item_vectors(both))
    assert learned.ndcg == pytest.approx(ndcg)
    assert ndcg > learned.curve.validation[0]


def test_what_is_joined_to_a_network_does_not_train_it_again(
    published: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = load_dataset(published.data)
    job = Job(dataset, leave_last_out(dataset.events), tmp_path, tmp_path, checkpoint_seconds=0)
    alone = learn(job, replace(QUICK, epochs=1))
    assert "resuming" not in capsys.readouterr().err
    joined = learn(job, replace(QUICK, epochs=1, name="joined", linear=LinearRecipe(rank=32))).model
    assert "resuming" in capsys.readouterr().err
    assert isinstance(joined, Joined)
    np.testing.assert_array_equal(joined.network.item_table().detach(), item_vectors(alone.model))
