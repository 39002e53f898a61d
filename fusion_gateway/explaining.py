"""Why an item is in the list: contributions that add up, and one sentence in words."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fusion_gateway.candidates import History
from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.fusion import LOCAL, NEW, Candidates, Fused, Mask, Scores
from fusion_gateway.steering import NOT_STEERED, Steered
from protos.marquee.v1.recommender_pb2 import Contribution, Explanation

ROUNDING = 1e-6
SAME_DIRECTOR = 0.5
"""What a common director adds to the likeness of genres, which is 0 to 1."""
DECADE = 0.05
"""What each ten years between two movies take from their likeness."""


@dataclass(frozen=True)
class Explainer:
    """Explains the items of one list."""

    catalog: Catalog
    candidates: Candidates
    history: History
    fused: Fused | None
    liked_genres: Collection[str]
    """Those that decided which items were eligible."""
    facts: Collection[str]
    """Demographic facts in words, such as "gender F"."""
    lift: Scores
    """[C]: how much likelier people of these groups are to watch the candidate, as a logarithm."""

    rules: Mapping[int, list[str]]
    """By row, names of the expert rules that count for the item."""
    steered: Steered = NOT_STEERED

    def explain(self, position: int, explored: bool) -> Explanation:
        """`position` is the item's among the candidates."""
        row = int(self.candidates.rows[position])
        parts = [] if self.fused is None else contributions(self.fused, position)
        reason = self._why_explored(row) if explored else self._reason(position, row, parts)
        if applied := self.rules.get(row):
            reason += f"; by rule: {', '.join(applied)}"
        if position in self.steered.rules.pins.values():
            reason = f"pinned to this rank; {reason}"
        return Explanation(
            contributions=[*parts, *self.steered.contributions(position)],
            bias=self.catalog.weighted_rating[row] if self.fused is None else self.fused.bias,
            retrieved_by=self.candidates.sources(row),
            reason=reason,
        )

    def _why_explored(self, row: int) -> str:
        is_new = NEW in self.candidates.sources(row)
        return "new: nobody has watched it yet" if is_new else "picked at random, to try something different"

    def _reason(self, position: int, row: int, parts: list[Contribution]) -> str:
        catalog = self.catalog
        by_models = [part for part in parts if part.model not in LOCAL]
        if by_models and self.history.events:
            nearest = self._nearest_event(row)
            if nearest is not None:
                return self._because_watched(nearest, row)
            largest = max(by_models, key=lambda part: part.contribution)
            return f"mostly the choice of {largest.model}"
        liked = {genre.casefold() for genre in self.liked_genres}
        if common := [genre for genre in catalog.genres[row] if genre.casefold() in liked]:
            return f"because you like {', '.join(common)}; {_votes(row, catalog)}"
        if self.facts and self.lift[position] > 0:
            return f"watched more than elsewhere by people like you ({', '.join(self.facts)}); {_votes(row, catalog)}"
        return f"widely liked: {_votes(row, catalog)}"

    def _nearest_event(self, row: int) -> int | None:
        """The event whose item is most like this one, of equals the newest; none rated below the user's mean, none that
        has neither a genre nor the director in common, and none whose item is hidden."""
        catalog, seen = self.catalog, self.history.rows
        likeness = catalog.genre_vectors(seen) @ catalog.genre_vectors(np.array([row]))[0]
        likeness = likeness + SAME_DIRECTOR * catalog.directors.among(row, seen).astype(np.float32)
        common = likeness > 0
        if catalog.year[row]:
            apart = np.abs(catalog.year[seen] - catalog.year[row])
            likeness = likeness - np.where(catalog.year[seen] != 0, DECADE * apart / 10, 0.0)
        likeness = np.where(common, np.maximum(likeness, ROUNDING), 0.0)
        likeness[self._disliked | (seen == row) | catalog.hidden[seen]] = 0
        if likeness.max(initial=0) <= 0:
            return None
        from_newest = np.argmax(likeness[::-1])
        return int(len(likeness) - 1 - from_newest)

    @cached_property
    def _disliked(self) -> Mask:
        """[L]: which events were rated below the user's mean."""
        ratings = np.array([np.nan if event.rating is None else event.rating for event in self.history.events])
        if np.isnan(ratings).all():
            return np.zeros(len(ratings), np.bool_)
        return np.asarray(ratings < np.nanmean(ratings) - ROUNDING)

    def _because_watched(self, nearest: int, row: int) -> str:
        catalog, event = self.catalog, self.history.events[nearest]
        seen = int(self.history.rows[nearest])
        year = f" ({catalog.year[seen]})" if catalog.year[seen] else ""
        rated = "" if event.rating is None else f" and rated it {event.rating:g}"
        also = [genre for genre in catalog.genres[row] if genre in catalog.genres[seen]]
        if catalog.director[row] and catalog.director[row] == catalog.director[seen]:
            also.append(f"by {' and '.join(catalog.director[row].split('|'))}")
        return f"because you watched {catalog.title[seen]}{year}{rated}: also {', '.join(also)}"


def contributions(fused: Fused, position: int) -> list[Contribution]:
    """One for each model that scored the item."""
    return [
        Contribution(
            model=model,
            raw_score=fused.raw[m, position],
            normalized_score=fused.normalized[m, position],
            weight=fused.weight[m, position],
            contribution=fused.weight[m, position] * fused.normalized[m, position],
        )
        for m, model in enumerate(fused.models)
        if not np.isnan(fused.raw[m, position])
    ]


def _votes(row: int, catalog: Catalog) -> str:
    return f"{catalog.votes[row]} votes, weighted rating {catalog.weighted_rating[row]:.1f}"
