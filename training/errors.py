"""Errors of the training programs, shown to a person as one line, with exit code 1.

TrainingError       something a person can put right
├── NotLearnable    the data lacks what a model learns from
└── Superseded      another program has published meanwhile
DataError           the data folder or a file in it; of fusion_gateway.ingest, which the gateway reads with, too
"""

from fusion_gateway.ingest.errors import DataError as DataError
from fusion_gateway.ingest.errors import MissingColumn as MissingColumn


class TrainingError(Exception):
    """Shown to the user as one line, without a traceback."""


class NotLearnable(TrainingError):
    """The data lacks what this model learns from; `train all` leaves the model out and continues."""


class Superseded(TrainingError):
    """A version is not the newest anymore; to add to it would take back what has been published since."""
