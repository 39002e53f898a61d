"""Fusion recipes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FusionRecipe:
    """The fitted policies."""

    name: str = "conditional_likelihood"
    normalizers: tuple[str, ...] = ("zscore", "rank")
    """Candidates for every strategy, beside calibrators of each model; the likeliest on validation data is taken."""
    units: int = 6
    """Of the hidden layer."""
    users: int = 2000
    """Most validation users to fit on."""
    least_users: int = 10
    """Whose next item is a candidate; with fewer, nothing is fitted and all models count the same."""
    folds: int = 2
    """Figures are of users that the policy was not fitted on; the published one is fitted on all."""
    seed: int = 0


def conditional_likelihood() -> FusionRecipe:
    return FusionRecipe()


def small_fusion() -> FusionRecipe:
    return FusionRecipe("small", users=500)


FUSION = {"default": conditional_likelihood, "small": small_fusion}
