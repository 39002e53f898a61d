"""Recipe fields given as text, as on the command line: hidden=64,32."""

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from training.errors import TrainingError

R = TypeVar("R")
MAY_BE_0 = {
    "burn_in",
    "history_pools",
    "large_catalog_items",
    "max_events",
    "max_ignored_item_ratings",
    "max_items",
    "max_posters",
    "max_users",
    "min_query_gap_secs",
    "min_user_ratings",
    "negatives",
    "seed",
    "user_embedding",
    "warmup_steps",
}
"""Whole numbers that count nothing, or turn something off; the others are sizes."""
SHARES = {"constant_lr_fraction", "decay", "dropout", "embedding_dropout", "item_dropout"}
NAME = "name"
MAX_NUMBER = 2**32 - 1
"""Of any field: libraries take larger seeds and rates for an error of the program."""


def with_fields(recipe: R, settings: Iterable[str]) -> R:
    """The recipe with those fields replaced. Each setting is NAME=VALUE; commas stand between the values of a list, and
    a dot before the field of a part: bounds.max_items=500.

    Raises TrainingError that names the field, what is wrong with the value, and what can be given.
    """
    for setting in settings:
        name, sign, text = setting.partition("=")
        if not sign:
            raise TrainingError(f"--set {setting}: a field and its value are needed, such as epochs=5")
        recipe = _replaced(recipe, name.strip(), text.strip(), recipe)
    return recipe


def _replaced(part: Any, name: str, text: str, recipe: Any) -> Any:
    outer, dot, inner = name.partition(".")
    fields = {field.name: field.type for field in dataclasses.fields(part) if field.name != NAME}
    if outer not in fields:
        raise TrainingError(f"recipe '{recipe.name}' has no field '{outer}'; it has {', '.join(fields)}")
    own = getattr(part, outer)
    if dataclasses.is_dataclass(own):
        parts = ", ".join(f"{outer}.{field.name}" for field in dataclasses.fields(own) if field.name != NAME)
        if not dot:
            raise TrainingError(f"{outer} is set part by part: {parts}")
        return dataclasses.replace(part, **{outer: _replaced(own, inner, text, recipe)})
    if dot or own is None:
        raise TrainingError(f"{name} cannot be set in recipe '{recipe.name}'")
    return dataclasses.replace(part, **{outer: _value(outer, text, fields[outer])})


def _value(name: str, text: str, kind: Any) -> Any:
    """Raises TrainingError."""
    is_list = get_origin(kind) is tuple
    given = [part.strip() for part in text.split(",") if part.strip()] if is_list else text
    try:
        value = TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].replace("Input should be", "it must be").partition(", unable")[0]
        listed = ", or several with commas between" if is_list else ""
        raise TrainingError(f"{name}={text}: {problem}{listed}") from None
    if is_list and get_args(kind)[0] is int and not value:
        raise TrainingError(f"{name}=: at least one whole number is needed, such as 64,32")
    for each in value if is_list else [value]:
        _check_range(name, each)
    return value


def _check_range(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if name in SHARES and not 0 <= value < 1:
        raise TrainingError(f"{name}={value}: it must be 0 or more and below 1")
    if isinstance(value, int) and name not in MAY_BE_0 and value < 1:
        raise TrainingError(f"{name}={value}: it must be at least 1")
    if not 0 <= value <= MAX_NUMBER or (name == "learning_rate" and not value):
        above = "above" if name == "learning_rate" else "from"
        raise TrainingError(f"{name}={value}: it must be a number {above} 0 to {MAX_NUMBER:,}")
