"""What a policy would have shown in place of each logged answer, by the code that serves and the published models.

Legend: N answers, K ranks, C candidates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.exploring import Exploration
from fusion_gateway.fusion import Policy
from fusion_gateway.ordering import ListConstraints, exploration_of, fill_unscored, order
from training.evaluation.gateway_candidates import CandidateBatch
from training.features.interactions import Ints
from training.off_policy.logged import Doubles, Logged
from training.off_policy.reward_model import FOLDS, RewardModel


@dataclass(frozen=True)
class Reranker:
    """Legend: I items of the catalog."""

    catalog: Catalog
    log: Logged
    left_out: Sequence[Ints]
    """[N] rows of the catalog that come into no list."""
    exploration: float
    """Share of the ranks that the policy would draw at random."""
    model: RewardModel

    def target(self, batches: Iterable[CandidateBatch], policies: Sequence[Policy]) -> tuple[Doubles, Doubles]:
        """[N, K] how probable each logged item is at its rank, and [N, K] the rewards to expect of the policy's items.

        The batches hold all answers. Of FOLDS policies, each is that of its fold of users; one is that of all.
        """
        target, item_sum = np.zeros(self.log.item.shape), np.zeros(self.log.item.shape)
        folds = self.log.user % FOLDS % len(policies)
        for batch in batches:
            for fold, policy in enumerate(policies):
                part = batch.select(np.flatnonzero(folds[batch.user] == fold))
                scores = part.fuse(policy).score if len(part.user) else np.zeros((0, 1))
                for row, answer in enumerate(part.user.tolist()):
                    count = int(part.count[row])
                    self._add(answer, part.column[row, :count], scores[row, :count], target, item_sum)
        return target, self.model.expected(self.log.user, item_sum)

    def _add(self, answer: int, rows: Ints, scores: Doubles, target: Doubles, item_sum: Doubles) -> None:
        """Writes the row of one answer."""
        logged = self.log.item[answer]
        planned = self._planned(answer, rows, scores)
        candidates = rows[np.concatenate([planned.listed, planned.others])]
        table, ranks = planned.table(), slice(len(planned.listed))
        shown = candidates == logged[ranks, None]
        target[answer, ranks] = (table * shown).sum(axis=1)
        item_sum[answer, ranks] = table @ self.model.of_item[self.log.user[answer] % FOLDS, candidates]

    def _planned(self, answer: int, rows: Ints, scores: NDArray[np.float64]) -> Exploration:
        unsaid = np.isnan(scores).all()
        filled = self.catalog.weighted_rating[rows] if unsaid else fill_unscored(scores)
        filled[np.isin(rows, self.left_out[answer])] = -np.inf
        constraints = ListConstraints(int((self.log.item[answer] >= 0).sum()), exploration=self.exploration)
        return exploration_of(order(filled, rows, self.catalog), filled, rows, self.catalog, constraints)
