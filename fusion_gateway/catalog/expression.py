"""Conditions on attributes, as filters state them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Quantifier = Literal["all", "any", "none"]


@dataclass(frozen=True)
class TextTest:
    """The attribute is one of these texts, or has one of them where it is a list."""

    attribute: str
    texts: Sequence[str]


@dataclass(frozen=True)
class NumberTest:
    """The attribute is between these, both included."""

    attribute: str
    low: float
    high: float


@dataclass(frozen=True)
class Combination:
    """All, any or none of the parts, of which there is at least one, hold."""

    quantifier: Quantifier
    parts: Sequence["Expression"]


Expression = Combination | TextTest | NumberTest
