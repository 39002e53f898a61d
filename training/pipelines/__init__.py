"""From data to a published version: one module a model, and what the runs share."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def pipeline(model: str) -> Callable[..., Path]:
    """`train_<model>(job, recipe)` of the module with the model's name; returns the published folder.

    Imported only now, because torch takes seconds.
    """
    train: Any = getattr(import_module(f"training.pipelines.{model}"), f"train_{model}")
    return train
