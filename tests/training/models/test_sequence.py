"""The sequence transformer: what it may see, and how training data is cut."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from training.interactions import Interactions
from training.models.sequence import HistoryTower, SequenceTower, SequenceTransformer, windows
from training.recipes import SequentialRecipe, seed_transformer, transformer


@pytest.fixture(params=[transformer(), seed_transformer()], ids=lambda recipe: str(recipe.name))
def model(request: pytest.FixtureRequest) -> SequenceTransformer:
    recipe: SequentialRecipe = replace(request.param, length=8)
    torch.manual_seed(0)
    return SequenceTransformer(5, 20, recipe).eval()


@torch.no_grad()
def test_padding_in_front_changes_nothing(model: SequenceTransformer) -> None:
    user, history = torch.tensor([[2]]), torch.tensor([[3, 9, 4]])
    padded = torch.nn.functional.pad(history, (4, 0))
    tower = SequenceTower(model)
    torch.testing.assert_close(tower(user, history), tower(user, padded), atol=1e-5, rtol=0)


@torch.no_grad()
def test_an_event_does_not_see_the_future(model: SequenceTransformer) -> None:
    user = torch.tensor([[2]])
    one, other = (model.encode(user, torch.tensor([[3, 9, last]])) for last in (4, 5))
    torch.testing.assert_close(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, 2], other[:, 2])


@torch.no_grad()
def test_the_newest_event_alone_is_encoded_as_among_the_others(model: SequenceTransformer) -> None:
    user, history = torch.tensor([[2], [0]]), torch.tensor([[3, 9, 4], [0, 0, 7]])
    alone = model.encode(user, history, newest=True)
    torch.testing.assert_close(alone, model.encode(user, history)[:, -1:])


@torch.no_grad()
def test_an_empty_history_abstains() -> None:
    model = SequenceTransformer(5, 20, transformer()).eval()
    query = HistoryTower(model)(torch.tensor([[0, 0], [0, 3]]))
    assert query[0].isnan().all()
    assert query[1].isfinite().all()


def test_windows_end_with_the_newest_event_and_predict_every_event_but_the_first() -> None:
    events = pl.DataFrame({"user": ["a"] * 7, "item": range(1, 8), "rating": [None] * 7, "time": range(7)})
    data = Interactions.of(events.cast({"rating": pl.Float32}))
    _, inputs, targets = windows(data, length=4, step=4)
    assert inputs.tolist() == [[3, 4, 5, 6], [0, 0, 1, 2]]
    assert targets.tolist() == [[4, 5, 6, 7], [0, 0, 2, 3]]
    assert np.unique(targets[targets > 0]).tolist() == [2, 3, 4, 5, 6, 7]
