"""Fusion recipes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FusionRecipe:
    """The fitted policies."""

    name: str = "conditional_likelihood"
    normalizers: tuple[str, ...] = ("zscore", "rank")
    """Candidates for every strategy, beside calibrators of each model; the likeliest on validation data is taken."""
    hidden_units: int = 6
    """Of the hidden layer."""
    max_users: int = 2000
    """Maximum number of validation users to fit on."""
    min_users: int = 10
    """Whose next item is a candidate; with fewer, nothing is fitted and all models count the same."""
    folds: int = 2
    """Metrics are of users that the policy was not fitted on; the published one is fitted on all."""
    seed: int = 0


def conditional_likelihood() -> FusionRecipe:
    """Every strategy fitted on validation events."""
    return FusionRecipe()


def small_fusion() -> FusionRecipe:
    """The same on 500 users."""
    return FusionRecipe("small", max_users=500)


FUSION = {"default": conditional_likelihood, "small": small_fusion}
