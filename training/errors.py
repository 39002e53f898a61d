"""Errors of the training programs.

TrainingError       something a person can put right; shown as one line, exit code 1
└── DataError       the data folder or a file in it
"""


class TrainingError(Exception):
    """Shown to the user as one line, without a traceback."""


class DataError(TrainingError):
    """A data folder or file that cannot be used; the message names the file, and the line where there is one."""
