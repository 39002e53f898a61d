"""How far a log can tell of a policy, and a refusal in words where it cannot."""

from dataclasses import dataclass

import numpy as np

from fusion_gateway.loop.intervals import MIN_CHOSE
from training.off_policy.estimators import Estimate, effective_users, inverse_propensity, mean_by_user
from training.off_policy.logged import Doubles, Logged

MIN_EFFECTIVE = 100
"""Minimum effective number of answers."""
MAX_UNSUPPORTED = 0.05
"""Maximum share of the policy's probability that the log could not have shown."""


@dataclass(frozen=True)
class Overlap:
    """Of a log with a policy."""

    answers: int
    effective: float
    """(sum w)^2 / sum w^2 of the importance weights (Kish 1965), harmonic mean over ranks, for their variances add up,
    each counted as far as lists have it: so many answers of the policy itself would tell as much.
    """
    unsupported: Estimate
    """Share of the policy's probability on items at ranks where the log never puts them. There the policy's weights are
    missing from their mean, which else is 1."""
    largest_weight: float
    outcomes: float
    """Effective number of users with outcomes: by their weighted sums, and no more than the answers with an outcome,
    each counted as far as an answer is one of the policy's. Where outcomes of large weight are missing by chance, the
    former is too high."""
    bias: float
    """Maximum that an answer may earn by what could not be logged: as if each such item earned the largest reward."""

    @property
    def is_supported(self) -> bool:
        """Surely, and not only for all that is known."""
        return self.unsupported.high <= MAX_UNSUPPORTED

    @property
    def refusal(self) -> str:
        """Why the log cannot tell; empty where it can."""
        unsupported = self.unsupported
        if self.effective and unsupported.low > MAX_UNSUPPORTED:
            return (
                f"{unsupported.value:.0%} ({unsupported.low:.0%} to {unsupported.high:.0%}) of what the policy would "
                f"show are items at ranks where the log could not have shown them; at most {MAX_UNSUPPORTED:.0%} may "
                "be. Serve requests with more exploration, or choose a policy that is nearer to those logged"
            )
        if self.effective < MIN_EFFECTIVE:
            return (
                f"the {self.answers:,} answers tell as much as {self.effective:.0f} of the policy's own; at least "
                f"{MIN_EFFECTIVE} are needed. Log more answers, or serve requests with more exploration"
            )
        if self.outcomes < MIN_CHOSE:
            return (
                f"the outcomes tell as much of the policy as those of {self.outcomes:.0f} users with an outcome; at "
                f"least {MIN_CHOSE} are needed for an interval. Log more answers, or choose a more frequent outcome"
            )
        return ""


def overlap(log: Logged, target: Doubles) -> Overlap:
    """`target` [N, K] as in the estimators."""
    weight, shown = log.weights(target), log.shown
    squares = np.square(weight).sum(axis=0)
    of_rank = np.square(weight.sum(axis=0)) / np.where(squares > 0, squares, 1.0)
    share = shown.mean(axis=0)
    # Ranks that hardly any list has matter no more than what may be unsupported.
    share, of_rank = share[share >= MAX_UNSUPPORTED], of_rank[share >= MAX_UNSUPPORTED]
    # A rank at which the log never shows what the policy would makes all of it unknown.
    effective = share.sum() / (np.square(share) / of_rank).sum() if of_rank.all() else 0.0
    lists = np.maximum(shown.sum(axis=1), 1)
    unsupported = mean_by_user(1 - weight.sum(axis=1) / lists, log.user)
    largest = float(weight.max(initial=0.0))
    earned = np.count_nonzero(log.reward.any(axis=1)) * float(effective) / len(log.user)
    outcomes = min(effective_users(inverse_propensity(log, target), log.user), earned)
    bias = max(unsupported.high, 0.0) * float(lists.mean()) * float(log.reward.max(initial=0.0))
    return Overlap(len(log.user), float(effective), unsupported, largest, outcomes, bias)
