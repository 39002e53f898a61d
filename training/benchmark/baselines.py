"""Simple predictors of a rating that every table shows beside the models, and myFM where it is installed."""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sparse

from training.errors import TrainingError
from training.interactions import Floats, Interactions, Ints
from training.metrics import rmse
from training.side_information import item_blocks, user_blocks

Predict = Callable[[Ints, Ints], Floats]
"""[E] dense users and items, 0 where unknown, to [E] ratings."""
DAMPING = (1.0, 2.0, 4.0, 8.0, 16.0)
ROUNDS = 10
"""Of alternating between users and items."""
HELD_OUT = 0.1
