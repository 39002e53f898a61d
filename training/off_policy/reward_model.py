"""What an item earns at a rank, by the answers of other users: what doubly robust estimates start from."""

from dataclasses import dataclass

import numpy as np

from training.off_policy.logged import Doubles, Ints, Logged

FOLDS = 5
PRIOR_ANSWERS = 20
"""An item is what the mean item is, as if it had earned that in so many answers more."""


@dataclass(frozen=True)
class RewardModel:
    """Mean reward of a rank, times the item's clicks over expected clicks (Zhang and Jones 2007, Comparing Click Logs
    and Editorial Labels for Training Query Rewriting): once for each fold, by the users of the others.
    """

    of_rank: Doubles
    """[FOLDS, K]"""
    of_item: Doubles
    """[FOLDS, I + 1]; the last is of no item."""

    def expected(self, user: Ints, item_sum: Doubles) -> Doubles:
        """[N, K] rewards where `item_sum` [N, K] are `of_item` summed over the items by their probabilities."""
        return self.of_rank[user % FOLDS] * item_sum

    def predicted(self, log: Logged) -> Doubles:
        """[N, K] rewards of the items of a log."""
        return self.expected(log.user, self.of_item[(log.user % FOLDS)[:, None], log.item])


def fit_reward_model(log: Logged, items: int) -> RewardModel:
    """On the users outside each fold, for those inside it; item numbers are below `items`."""
    folds = [_fit(log, log.user % FOLDS != fold, items) for fold in range(FOLDS)]
    return RewardModel(np.array([ranks for ranks, _ in folds]), np.array([items for _, items in folds]))


def _fit(log: Logged, rows: np.ndarray, count: int) -> tuple[Doubles, Doubles]:
    shown, reward, item = log.shown[rows], log.reward[rows], log.item[rows]
    of_rank = reward.sum(axis=0) / np.maximum(shown.sum(axis=0), 1)
    clicks = np.bincount(item[shown], reward[shown], count + 1)
    expected = np.bincount(item[shown], np.broadcast_to(of_rank, shown.shape)[shown], count + 1)
    prior = PRIOR_ANSWERS * float(of_rank.mean())
    if not prior > 0:  # nothing was earned
        return of_rank, np.ones(count + 1)
    return of_rank, (clicks + prior) / (expected + prior)
