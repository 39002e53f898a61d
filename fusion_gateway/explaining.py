"""Why an item is in the list: contributions that add up, and one sentence in words."""

import numpy as np

from fusion_gateway.candidates import Candidates, History
from fusion_gateway.catalog import Catalog
from fusion_gateway.fusion import Fused
from protos.marquee.v1.recommender_pb2 import Contribution, Explanation

SAME_DIRECTOR = 0.5
"""What a common director adds to the likeness of genres, which is 0 to 1."""


def explain(place: int, fused: Fused | None, candidates: Candidates, history: History, catalog: Catalog) -> Explanation:
    """`place` is the item's position among the candidates."""
    row = int(candidates.rows[place])
    explanation = Explanation(
        retrieved_by=candidates.sources(row), reason=_reason(row, fused is not None, history, catalog)
    )
    if fused is not None:
        explanation.bias = fused.bias
        explanation.contributions.extend(contributions(fused, place))
    return explanation


def contributions(fused: Fused, place: int) -> list[Contribution]:
    """One for each model that scored the item."""
    return [
        Contribution(
            model=model,
            raw_score=fused.raw[m, place],
            normalised_score=fused.normalised[m, place],
            weight=fused.weight[m, place],
            contribution=fused.contribution[m, place],
        )
        for m, model in enumerate(fused.models)
        if not np.isnan(fused.raw[m, place])
    ]


def _reason(row: int, scored: bool, history: History, catalog: Catalog) -> str:
    nearest = _nearest_event(row, history, catalog) if scored else None
    if nearest is None:
        return f"widely liked: rated {catalog.weighted_rating[row]:.1f}, weighted by {catalog.votes[row]} votes"
    event, seen = history.events[nearest], catalog.title[history.rows[nearest]]
    return f"because you watched {seen}" + ("" if event.rating is None else f" and rated it {event.rating:g}")


def _nearest_event(row: int, history: History, catalog: Catalog) -> int | None:
    """The event whose item is most like this one, of equals the newest; none rated below the user's mean."""
    ratings = np.array([np.nan if event.rating is None else event.rating for event in history.events])
    likeness = catalog.genre_vector[history.rows] @ catalog.genre_vector[row]
    if catalog.director[row]:
        same = [catalog.director[seen] == catalog.director[row] for seen in history.rows]
        likeness = likeness + SAME_DIRECTOR * np.array(same, np.float32)
    if not np.isnan(ratings).all():
        likeness[ratings < np.nanmean(ratings)] = 0
    likeness[history.rows == row] = 0
    if not likeness.size or likeness.max() <= 0:
        return None
    return int(len(likeness) - 1 - np.argmax(likeness[::-1]))
