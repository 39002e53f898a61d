"""Expert rules: a boost for items of a genre, director or actor, fixed or a favorite of the user (REFERENCE_SYSTEMS.md
S1: if-then rules with degrees of truth).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.fusion import RULES, Number, Rows
from fusion_gateway.scorers.missing import NOT_CONFIGURED, ModelMissing
from fusion_gateway.scorers.scorer import Allowed, Answer, Numbers, Retrieved, UserTensors

Kind = Literal["genre", "director", "actor"]
MAX_BOOST = 1e6
HALF_TRUE = 2
"""Number of liked movies by which a director or an actor is half a favorite."""


@dataclass(frozen=True)
class Rule:
    """If an item has the genre, director or actor, then its score rises by `boost`; falls where that is negative.

    Of a favorite, the boost counts by the degree to which it is one: of genres the share of the movies that the user
    liked, of n liked movies by a director or with an actor n / (n + 2). Liked is what was rated no lower than the
    user's mean, and what was not rated. Of an item's several genres or actors the strongest counts.
    """

    name: str
    boost: Number
    favorite: Kind | None = None
    genre: str = ""
    director: str = ""
    actor: str = ""

    def __post_init__(self) -> None:
        fixed = [kind for kind in ("genre", "director", "actor") if getattr(self, kind)]
        if len(fixed) + (self.favorite is not None) != 1:
            raise ValueError(f"rules: {self.name!r} needs exactly one of favorite, genre, director and actor")
        if not self.name or len(self.name) > 100:
            raise ValueError("rules: name must have 1 to 100 characters")
        if not 0 < abs(self.boost) <= MAX_BOOST:
            raise ValueError(f"rules: boost of {self.name!r} must be up to {MAX_BOOST:g} in magnitude, and not 0")

    @property
    def kind(self) -> Kind:
        if self.favorite:
            return self.favorite
        return "genre" if self.genre else "director" if self.director else "actor"


@dataclass(frozen=True)
class RulesScorer:
    """The rules as a scorer like the others, in this process."""

    rules: Sequence[Rule]
    catalog: Catalog
    version: int = 0
    """That of the policies that the rules stand in."""
    name = RULES

    async def retrieve(self, user: UserTensors, k: int, timeout: float, allowed: Allowed | None = None) -> Retrieved:
        """Proposes nothing: rules order what others propose."""
        return Retrieved(np.zeros(0, np.int64))

    async def score(
        self, user: UserTensors, candidates: Numbers, timeout: float, retrieved: Retrieved | None = None
    ) -> Answer:
        """[C] sums of boosts times their truth. Raises ModelMissing where there are no rules."""
        if not self.rules:
            raise ModelMissing(NOT_CONFIGURED)
        rows = self.catalog.rows_of(candidates)
        score = sum((rule.boost * truth for rule, truth in self.truths(user, rows)), np.zeros(len(rows)))
        return Answer(candidates, score, self.version)

    def truths(self, user: UserTensors, rows: Rows) -> list[tuple[Rule, NDArray[np.float64]]]:
        """Of each rule, how true it is of the items at `rows` [C]: 0 to 1."""
        taste = Taste(self.catalog, user)
        degrees = [(rule, taste.degrees(rule)) for rule in self.rules]
        return [(rule, self._truth(rule.kind, degree, rows)) for rule, degree in degrees]

    def _truth(self, kind: Kind, degree: Mapping[str, float], rows: Rows) -> NDArray[np.float64]:
        if not degree:
            return np.zeros(len(rows))
        return np.array([_strongest(degree, named(self.catalog, kind, row)) for row in rows.tolist()])

    def applied(self, user: UserTensors, rows: Rows) -> Mapping[int, list[str]]:
        """By row, names of the rules that are somewhat true of the item, the largest boost first."""
        truths = self.truths(user, rows)
        names = {}
        for index, row in enumerate(rows.tolist()):
            names[row] = _by_boost([(rule, truth[index]) for rule, truth in truths])
        return names


@dataclass(frozen=True)
class Taste:
    """What the user's history says of genres, directors and actors."""

    catalog: Catalog
    user: UserTensors

    def degrees(self, rule: Rule) -> Mapping[str, float]:
        """How true the rule is of an item that has the name; names are in lower case."""
        if rule.favorite is None:
            return {str(getattr(rule, rule.kind)).casefold(): 1.0}
        liked = self._liked.tolist()
        names = [name for row in liked for name in set(named(self.catalog, rule.favorite, row))]
        if rule.favorite == "genre":
            return {name: count / len(liked) for name, count in Counter(names).items()}
        return {name: count / (count + HALF_TRUE) for name, count in Counter(names).items()}

    @cached_property
    def _liked(self) -> Rows:
        if "history_item" not in self.user.arrays:
            return np.zeros(0, np.int64)
        items, ratings = (self.user.arrays[name][0] for name in ("history_item", "history_rating"))
        rated = ratings[np.isfinite(ratings)]
        mean = rated.mean() if len(rated) else 0.0
        return np.unique(self.catalog.rows_of(items[~(ratings < mean)]))


def _by_boost(truths: Sequence[tuple[Rule, float]]) -> list[str]:
    largest_first = sorted(truths, key=lambda pair: -abs(pair[0].boost * pair[1]))
    return [rule.name for rule, truth in largest_first if truth]


def _strongest(degree: Mapping[str, float], names: Sequence[str]) -> float:
    return max((degree.get(name, 0.0) for name in names), default=0.0)


def named(catalog: Catalog, kind: Kind, row: int) -> list[str]:
    """The item's genres, director or actors in lower case."""
    names = {"genre": catalog.genres, "actor": catalog.cast}
    found = names[kind][row] if kind in names else [catalog.director[row]]
    return [name.casefold() for name in found if name]
