"""Recipes: every training run is one frozen configuration, made by a function.

`small` recipes train in seconds to a minute on two cores and are what the demo uses; the others take minutes.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from training.errors import TrainingError
from training.recipes.catalog import CATALOG
from training.recipes.fusion import FUSION
from training.recipes.linear import LINEAR
from training.recipes.rating import RATING
from training.recipes.sequential import SEQUENTIAL
from training.recipes.visual_temporal import VISUAL_TEMPORAL

__all__ = ["CATALOG", "FUSION", "LINEAR", "RATING", "SEQUENTIAL", "VISUAL_TEMPORAL", "choose"]

R = TypeVar("R")


def choose(choices: Mapping[str, Callable[[], R]], name: str) -> R:
    """The recipe of that name; the default is also the small one where there is none. Raises TrainingError."""
    if name == "small" and name not in choices:
        name = "default"
    if name not in choices:
        raise TrainingError(f"no recipe '{name}' here; there are {', '.join(choices)}")
    return choices[name]()
