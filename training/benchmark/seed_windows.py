"""The protocol of S1 (systems.md): windows of four movies, 80 % of them for training, the last movie to be found.

The windows start at every second event of a user, and are drawn for test at random, so that a test window overlaps
training windows of its user. Only the window's own movies are left out of the ranking. Where S1 is silent: attention is
causal, and the training ends with its fifth epoch whatever the recipe.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from training.catalog import weighted_rating
from training.data.dataset import Dataset
from training.interactions import Floats, Interactions, Ints
from training.metrics import Doubles, better_and_tied, hit_rate, ndcg, reciprocal_rank
from training.recipes import SequentialRecipe
from training.sequential import learn_windows
from training.windows import Events, Windows

WINDOW, STEP, TEST, EPOCHS = 4, 2, 0.2, 5
CHUNK = 512


@dataclass(frozen=True)
class SeedWindows:
    """All windows of a data set, split by a seed."""

    data: Interactions
    train: Ints
    """[W, 3] cuts."""
    test: Ints

    @classmethod
    def of(cls, dataset: Dataset, seed: int) -> "SeedWindows":
        data = Interactions.of(dataset.events)
        cuts = np.array(
            [
                (user, first, min(first + WINDOW, rows.stop) - 1)
                for user in range(1, data.users + 1)
                for rows in [data.rows(user)]
                for first in range(rows.start, max(rows.stop - WINDOW, rows.start) + 1, STEP)
                if rows.stop - rows.start > 1
            ]
        )
        is_test = np.random.default_rng(seed).permutation(len(cuts)) < round(TEST * len(cuts))
        return cls(data, cuts[~is_test], cuts[is_test])

    def learned(self, recipe: SequentialRecipe, device: torch.device) -> Doubles:
        """[3, test windows] of a recipe trained on the training windows."""
        recipe = replace(recipe, epochs=EPOCHS, patience=EPOCHS)
        windows, size = Windows(self.data, self.train, device), (self.data.users, self.data.items)
        model = learn_windows(windows, size, recipe, lambda model: 0.0).model
        with torch.no_grad():
            return self._figures(lambda asked: (model.encode(asked, newest=True)[:, -1] @ model.item_table().T).numpy())

    def popular(self) -> Doubles:
        """The same of S1's baseline, the weighted rating of the movies with the most votes."""
        votes, total = (np.bincount(self.data.item - 1, weights) for weights in (None, self.data.rating))
        score = np.where(votes >= np.quantile(votes, 0.95), weighted_rating(votes, total / votes), np.nan)
        return self._figures(lambda asked: np.tile(score.astype(np.float32), (len(asked.item), 1)))

    def _figures(self, scores: Callable[[Events], Floats]) -> Doubles:
        windows, parts = Windows(self.data, self.test, torch.device("cpu")), []
        for rows in torch.arange(len(self.test)).split(CHUNK):
            asked, target = windows.take(rows)
            seen = np.zeros((len(rows), self.data.items + 1), bool)
            np.put_along_axis(seen, asked.item.numpy(), True, axis=1)
            better, tied = better_and_tied(scores(asked), target[:, -1].numpy() - 1, seen[:, 1:])
            parts.append(np.stack([measure(better, tied) for measure in (hit_rate, ndcg, reciprocal_rank)]))
        return np.concatenate(parts, axis=1)
