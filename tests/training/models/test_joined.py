"""The sequence model and the linear one as one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.models.test_sequence import events, made
from training.models.joined import Joined
from training.models.linear import Linear, LinearTower
from training.models.towers import TimeTower
from training.recipes import sequential as recipes
from training.recipes.linear import LinearRecipe

ITEMS, RANK, WEIGHT = 20, 3, 0.4
NETWORK = made(recipes.best_sequential())
LINEAR = Linear(*np.random.default_rng(0).normal(size=(3, ITEMS, RANK)).astype(np.float32))
TOWER = LinearTower(LINEAR, replace(LinearRecipe(), length=8))


@torch.no_grad()
def test_scores_are_the_weighted_sum() -> None:
    history = events(3, 9, 4)
    both = Joined(NETWORK, TOWER, LINEAR.vector, WEIGHT)
    score = both.encode(history)[:, -1] @ both.item_table().T
    networks = NETWORK.encode(history)[:, -1] @ NETWORK.item_table().T
    linears = TOWER(history.item) @ torch.from_numpy(LINEAR.vector).T
    torch.testing.assert_close(score, networks + WEIGHT * linears)


@torch.no_grad()
def test_without_a_history_it_abstains() -> None:
    history = events(0, 0)
    tower = TimeTower(Joined(NETWORK, TOWER, LINEAR.vector, WEIGHT))
    assert tower(history.item, history.rating, history.time, history.query_time).isnan().all()


@pytest.mark.parametrize("known", [[0, 5, 19], list(range(ITEMS))])
def test_items_that_only_the_network_knows_score_zero_and_say_nothing(known: list[int]) -> None:
    few = Linear(LINEAR.follows[known], LINEAR.together[known], LINEAR.vector[known])
    wider = few.expand_to(ITEMS, np.array(known))
    unknown = np.setdiff1d(np.arange(ITEMS), known)
    for table, whole in zip((wider.follows, wider.together, wider.vector), vars(LINEAR).values(), strict=True):
        np.testing.assert_array_equal(table[known], whole[known])
        assert not table[unknown].any()
