"""Libraries of extras, imported only where they are used."""

import importlib
from typing import Any

from training.errors import TrainingError


def extra_library(module: str, extra: str, problem: str) -> Any:
    """The module. Raises TrainingError with the `problem`, and how to install the extra, where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TrainingError(f"{problem} ({error}): pip install -c requirements.lock -e '.[{extra}]'") from error
