"""The protocol of S1 (REFERENCE_SYSTEMS.md): windows of four movies, 80 % of them for training, the last one to find.

The windows start at every second event of a user, and are drawn for test at random, so that a test window overlaps
training windows of its user. Only the window's own movies are left out of the ranking. Where S1 is silent: attention is
causal, and a tenth of the training windows stops the training.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.data.dataset import Dataset
from training.evaluation.next_item import NDCG, seen_mask, target_metrics
from training.evaluation.ranking_metrics import Doubles
from training.features.interactions import Floats, Interactions, Ints
from training.features.windows import Events, Windows
from training.pipelines.catalog import weighted_rating
from training.pipelines.sequential import Model, learn_windows
from training.recipes.sequential import SequentialRecipe

WINDOW, STEP, TEST, VALIDATION = 4, 2, 0.2, 0.08
CHUNK = 512


@dataclass(frozen=True)
class SeedWindows:
    """All windows of a data set, split by a seed."""

    data: Interactions
    train: Ints
    """[W, 3] cuts."""
    validation: Ints
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
        shuffled = np.random.default_rng(seed).permutation(cuts)
        test, validation = (round(share * len(cuts)) for share in (TEST, TEST + VALIDATION))
        return cls(data, shuffled[validation:], shuffled[test:validation], shuffled[:test])

    def learned(self, recipe: SequentialRecipe, device: torch.device) -> tuple[Doubles, Doubles, list[float]]:
        """Of a recipe trained on the training windows: [3, test windows] metrics, [test windows] cross entropy, and its
        learning curve.
        """

        train, validation, test = (
            Windows(self.data, cuts, device) for cuts in (self.train, self.validation, self.test)
        )

        @torch.no_grad()
        def metrics(model: Model, windows: Windows) -> Doubles:
            table = model.item_table().T
            return self._metrics(windows, lambda events: (model.encode(events, True)[:, -1] @ table).cpu().numpy())

        def quality(model: Model) -> float:
            return float(metrics(model, validation)[NDCG].mean())

        # Shuffled, events of test windows would come into training windows.
        recipe = replace(recipe, shuffled_ties=False)
        learned = learn_windows(train, (self.data.users, self.data.items), recipe, quality)
        model = learned.model.to(device)
        return metrics(model, test), self._cross_entropy(model, test), learned.curve.validation

    def popular(self) -> Doubles:
        """The same of S1's baseline, the weighted rating of the movies with the most votes."""
        votes, total = (np.bincount(self.data.item - 1, weights) for weights in (None, self.data.rating))
        test = Windows(self.data, self.test, torch.device("cpu"))
        score = np.where(votes >= np.quantile(votes, 0.95), weighted_rating(votes, total / votes), np.nan)
        return self._metrics(test, lambda events: np.tile(score.astype(np.float32), (len(events.item), 1)))

    def frequency(self) -> tuple[Doubles, Doubles]:
        """The same of how often each movie is watched in the training windows, plus one: the unigram model."""
        windows, test = (Windows(self.data, cuts, torch.device("cpu")) for cuts in (self.train, self.test))
        count = np.ones(self.data.items)
        for rows in torch.arange(len(windows.end)).split(CHUNK):
            target = windows.select(rows)[1]
            count += np.bincount(target[target > 0].numpy() - 1, minlength=self.data.items)
        log_share = np.log(count / count.sum()).astype(np.float32)
        targets = [test.select(rows)[1] for rows in torch.arange(len(test.end)).split(CHUNK)]
        lost = np.concatenate([_mean_of_targets(torch.from_numpy(-log_share)[each - 1], each) for each in targets])
        return self._metrics(test, lambda events: np.tile(log_share, (len(events.item), 1))), lost

    @torch.no_grad()
    def _cross_entropy(self, model: Model, windows: Windows) -> Doubles:
        """[test windows]: mean over the window's events after the first; its exponential is the perplexity."""
        table, found = model.item_table().T, []
        for rows in torch.arange(len(windows.end)).split(CHUNK):
            events, target = windows.select(rows)
            logits = (model.encode(events) @ table).flatten(0, 1)
            lost = cross_entropy(logits, (target - 1).clamp(min=0).flatten(), reduction="none")
            found.append(_mean_of_targets(lost.view(target.shape), target))
        return np.concatenate(found)

    def _metrics(self, windows: Windows, scores: Callable[[Events], Floats]) -> Doubles:
        parts = []
        for rows in torch.arange(len(windows.end)).split(CHUNK):
            events, target = windows.select(rows)
            seen = seen_mask(events.item.cpu().numpy(), self.data.items + 1)[:, 1:]  # without the padding
            parts.append(target_metrics(scores(events), target[:, -1].cpu().numpy() - 1, seen))
        return np.concatenate(parts, axis=1)


def _mean_of_targets(lost_BL: Tensor, target_BL: Tensor) -> Doubles:
    """[B]: mean over the events that there are."""
    real = (target_BL > 0).double()
    mean: Doubles = ((lost_BL * real).sum(1) / real.sum(1)).cpu().numpy()
    return mean
