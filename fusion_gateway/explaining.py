"""Why an item is in the list: contributions that add up, and one sentence in words."""

import numpy as np

from fusion_gateway.candidates import Candidates, History
from fusion_gateway.catalog import Catalog
from fusion_gateway.fusion import Fused
from protos.marquee.v1.recommender_pb2 import Contribution, Explanation

ROUNDING = 1e-6
SAME_DIRECTOR = 0.5
"""What a common director adds to the likeness of genres, which is 0 to 1."""


def explain(place: int, fused: Fused | None, candidates: Candidates, history: History, catalog: Catalog) -> Explanation:
    """`place` is the item's position among the candidates."""
    row = int(candidates.rows[place])
    parts = [] if fused is None else contributions(fused, place)
    return Explanation(
        contributions=parts,
        bias=0.0 if fused is None else fused.bias,
        retrieved_by=candidates.sources(row),
        reason=_reason(row, parts, history, catalog),
    )


def contributions(fused: Fused, place: int) -> list[Contribution]:
    """One for each model that scored the item."""
    return [
        Contribution(
            model=model,
            raw_score=fused.raw[m, place],
            normalised_score=fused.normalised[m, place],
            weight=fused.weight[m, place],
            contribution=fused.weight[m, place] * fused.normalised[m, place],
        )
        for m, model in enumerate(fused.models)
        if not np.isnan(fused.raw[m, place])
    ]


def _reason(row: int, parts: list[Contribution], history: History, catalog: Catalog) -> str:
    if not parts or not history.events:
        return f"widely liked: {catalog.votes[row]} votes, weighted rating {catalog.weighted_rating[row]:.1f}"
    nearest = _nearest_event(row, history, catalog)
    if nearest is None:
        return f"mostly the choice of {max(parts, key=lambda part: part.contribution).model}"
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
        likeness[ratings < np.nanmean(ratings) - ROUNDING] = 0
    likeness[history.rows == row] = 0
    if not likeness.size or likeness.max() <= 0:
        return None
    return int(len(likeness) - 1 - np.argmax(likeness[::-1]))
