"""Recipes: every training run is one frozen configuration, made by a function.

`small` recipes train in seconds to a minute on two cores and are what the demo uses; the others take minutes.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from training.errors import TrainingError
from training.recipes.catalog import CATALOG
from training.recipes.fusion import FUSION
from training.recipes.linear import LINEAR
from training.recipes.rating import RATING
from training.recipes.sequential import SEQUENTIAL
from training.recipes.visual_temporal import VISUAL_TEMPORAL

__all__ = ["CATALOG", "FUSION", "LINEAR", "RATING", "SCORERS", "SEQUENTIAL", "VISUAL_TEMPORAL", "about", "choose"]

RECIPES: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "catalog": CATALOG,
    "rating": RATING,
    "sequential": SEQUENTIAL,
    "visual_temporal": VISUAL_TEMPORAL,
    "linear": LINEAR,
    "fusion": FUSION,
}
"""Every model, in the order of training: a line here, and `train_<model>` in training/pipelines/<model>.py."""
SCORERS = tuple(model for model in RECIPES if model not in ("catalog", "fusion"))
R = TypeVar("R")


def choose(choices: Mapping[str, Callable[[], R]], name: str) -> R:
    """The recipe of that name; the default is also the small one where there is none. Raises TrainingError."""
    if name == "small" and name not in choices:
        name = "default"
    if name not in choices:
        [model] = [model for model, own in RECIPES.items() if own is choices]
        raise TrainingError(f"{model} has no recipe '{name}'; there are {_listed()}")
    return choices[name]()


def about(recipe: Callable[[], Any]) -> str:
    """What it is: the first paragraph of its documentation."""
    return " ".join((inspect.getdoc(recipe) or "").partition("\n\n")[0].split())


def _listed() -> str:
    """Every model's; `small` is a name that each of them takes."""
    return "; ".join(f"{model}: {', '.join({**choices, 'small': None})}" for model, choices in RECIPES.items())
