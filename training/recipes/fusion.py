"""Fusion recipes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FusionRecipe:
    """The fitted policy."""

    name: str = "softmax_weights"
    normalisers: tuple[str, ...] = ("none", "zscore", "rank")
    """Candidates, chosen on validation data."""
    users: int = 4000
    """Most validation users to fit on."""
    seed: int = 0


def softmax_weights() -> FusionRecipe:
    return FusionRecipe()


FUSION = {"default": softmax_weights}
