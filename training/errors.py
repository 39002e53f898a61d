"""Errors of the training programs.

TrainingError       something a person can put right; shown as one line, exit code 1
├── DataError       the data folder or a file in it
└── NotLearnable    the data lacks what a model learns from
"""


class TrainingError(Exception):
    """Shown to the user as one line, without a traceback."""


class NotLearnable(TrainingError):
    """The data lacks what this model learns from; `train all` leaves the model out and goes on."""


class DataError(TrainingError):
    """A data folder or file that cannot be used; the message names the file, and the line where there is one."""
