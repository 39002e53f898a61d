"""The sequence model and the linear one as one."""

from dataclasses import replace

import numpy as np
import torch

from tests.training.models.test_sequence import events, made
from training.models.joined import Joined
from training.models.linear import Linear, LinearTower
from training.models.towers import TimeTower
from training.recipes import sequential as recipes
from training.recipes.linear import LinearRecipe

ITEMS, RANK, WEIGHT = 20, 3, 0.4
NETWORK = made(recipes.best_network())
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
