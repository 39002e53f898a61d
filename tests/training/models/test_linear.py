"""The closed-form linear model."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from tests.training.pipelines.test_sequential import ITEMS, circle
from training.features.interactions import Floats, Interactions
from training.models import linear
from training.models.linear import LinearTower, fit_linear
from training.recipes.linear import LinearRecipe

WHOLE = LinearRecipe(length=8, recent=4, ridge=2.0, ease_penalty=3.0)


def scores(train: Interactions, recipe: LinearRecipe, history: list[list[int]]) -> Floats:
    model = fit_linear(train, recipe)
    return LinearTower(model, recipe)(torch.tensor(history)).numpy() @ model.vector.T


def by_hand(train: Interactions, recipe: LinearRecipe, history: list[int]) -> Floats:
    """Event for event, from dense matrices."""
    before, following = [], []
    for event in range(len(train.item)):
        row = np.zeros(train.items)
        for k in range(1, recipe.recent + 1):
            if event - k >= train.start[train.user[event]]:
                row[train.item[event - k] - 1] += k**-recipe.decay
        before.append(row)
        following.append(np.eye(train.items)[train.item[event] - 1])
    X, Y = np.array(before), np.array(following)
    follows = np.linalg.solve(X.T @ X + recipe.ridge * np.eye(train.items), X.T @ Y)
    S = np.zeros((train.users, train.items))
    S[train.user - 1, train.item - 1] = 1
    inverse = np.linalg.inv(S.T @ S + recipe.ease_penalty * np.eye(train.items))
    together = np.eye(train.items) - inverse / np.diag(inverse)
    recent, whole = np.zeros((2, train.items))
    for k, item in enumerate(reversed(history), start=1):
        recent[item - 1] += k**-recipe.decay * (k <= recipe.recent)
        whole[item - 1] += 1
    parts = [(X, follows, recent), (S, together, whole)]
    return np.sum(
        [h @ w / np.sqrt(np.mean((x @ w) ** 2)) for x, w, h in parts],
        axis=0,
    )


def test_it_is_the_sum_of_both_regressions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "AT_ONCE", 70)  # several chunks
    random = np.random.default_rng(0)
    rows = [(f"u{user}", int(random.integers(1, 9)), 3.0, step) for user in range(30) for step in range(7)]
    train = Interactions.of(pl.DataFrame(rows, ["user", "item", "rating", "time"], orient="row"))
    for history in ([1, 5, 2, 2, 7, 3], [4]):
        [ours] = scores(train, WHOLE, [history])
        np.testing.assert_allclose(ours, by_hand(train, WHOLE, history), atol=1e-4)


def test_a_low_rank_keeps_what_follows() -> None:
    train, _ = circle()
    history = [[start, start % ITEMS + 1] for start in range(1, ITEMS + 1)]
    expected = [row[-1] % ITEMS + 1 for row in history]
    assert (scores(train, WHOLE, history).argmax(axis=1) + 1).tolist() == expected
    cut = scores(train, replace(WHOLE, rank=ITEMS - 2), history)
    assert np.linalg.matrix_rank(cut, tol=1e-3) == ITEMS - 2
    assert (cut.argmax(axis=1) + 1).tolist() == expected


def test_padding_changes_nothing_and_without_history_it_abstains() -> None:
    train, _ = circle()
    tower = LinearTower(fit_linear(train, WHOLE), WHOLE)
    histories = [3, 4], [0, 0, 0, 3, 4], [0, 0]
    short, padded, empty = (tower(torch.tensor([history])) for history in histories)
    torch.testing.assert_close(short, padded)
    assert empty.isnan().all()
