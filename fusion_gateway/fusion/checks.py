"""The limits of numbers in a policy."""

from typing import Annotated

from pydantic import Strict

Number = Annotated[float, Strict()]
"""No text or truth value of a file is taken for one."""
Count = Annotated[int, Strict()]
"""The same, and whole."""
MAX_NUMBER = 1e12
"""Maximum magnitude of a number: with far larger ones, sums and products of scores are infinite."""


def check_number(name: str, number: float, minimum: float = -MAX_NUMBER, maximum: float = MAX_NUMBER) -> None:
    """Raises ValueError where it is not in the limits, or NaN."""
    if not minimum <= number <= maximum:
        raise ValueError(f"{name}: must be {minimum:g} to {maximum:g}, not {number}")
