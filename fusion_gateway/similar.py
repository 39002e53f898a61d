"""Movies like a movie: what the models find alike, common genres and words, a common director; a weight for each."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.catalog.catalog import Catalog, Rows
from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.ordering import order
from fusion_gateway.parsing import parse_results, parse_title, parse_weights
from fusion_gateway.scorers.client import Answer, Scorer
from fusion_gateway.scorers.fan_out import ask
from fusion_gateway.scorers.missing import Absences
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import InvalidArgument, NotFound, Unavailable

GENRES, TAGS, DIRECTOR = "genres", "tags", "director"
MAX_SAME_DIRECTOR = 2
"""So many movies of the same director come first (systems.md S3), unless nothing else has a weight."""
Likeness = NDArray[np.float64]


class Kind:
    """One kind of likeness to an item, of some rows or of all; rows that are left out are as alike as the least."""

    def __init__(self, weight: float, raw: NDArray[np.floating], rows: Rows | None = None) -> None:
        """`raw` has one value at least; `rows` None: all."""
        self.weight = weight
        self._raw = raw.astype(np.float64, copy=False)  # in float32 the span, or its inverse, may be infinite
        self._rows = rows
        self._low = float(raw.min())
        self._span = float(raw.max()) - self._low or 1.0

    def add_to(self, alike: Likeness) -> None:
        """Adds the weighted likeness, scaled to 0..1, to that of all items."""
        alike[slice(None) if self._rows is None else self._rows] += (self._raw - self._low) * (self.weight / self._span)

    def contribution(self, name: str, row: int, total: float) -> pb.Contribution:
        """`total` is the sum of all weights."""
        found = self._raw[row] if self._rows is None else self._raw[self._rows == row]
        raw = float(np.max(found, initial=self._low))
        weight, normalised = self.weight / total, (raw - self._low) / self._span
        return pb.Contribution(
            model=name, raw_score=raw, normalised_score=normalised, weight=weight, contribution=weight * normalised
        )


@dataclass(frozen=True)
class Neighbours:
    """Everything that SimilarItems is answered from."""

    catalog: Catalog
    titles: TitleIndex
    scorers: Mapping[str, Scorer]
    absences: Absences = field(default_factory=Absences)

    async def similar(self, request: pb.SimilarItemsRequest, deadline: Deadline) -> pb.SimilarItemsResponse:
        """Raises InvalidArgument, NotFound for an unknown id or title, Unavailable when no weighted kind answers."""
        row = await asyncio.to_thread(self._understood, request)
        k = parse_results(request)
        weights = self._weights(parse_weights(request.weights))
        number, wanted = int(self.catalog.number[row]), max(100, 2 * k)
        answers, failures = await ask(
            [scorer for name, scorer in self.scorers.items() if weights.get(name)],
            lambda scorer, timeout: scorer.similar(number, wanted, timeout),
            deadline,
        )
        self.absences.note(failures, answers)
        if failures and not answers and not any(weights.get(kind) for kind in (GENRES, TAGS, DIRECTOR)):
            raise Unavailable("; ".join(f"{name}: {reason}" for name, reason in failures.items()))
        kinds = self._kinds(row, weights, answers)
        alike = np.zeros(len(self.catalog))
        for kind in kinds.values():
            kind.add_to(alike)
        first: list[int] = []
        if weights.get(DIRECTOR):
            first = self._same_director(row, alike)[: MAX_SAME_DIRECTOR if kinds else None]
            kinds[DIRECTOR] = Kind(weights[DIRECTOR], np.array([0.0, *[1.0] * len(first)]), np.array([row, *first]))
        rows = [*first, *self._nearest(alike, [row, *first], k)][:k]
        degraded = [pb.Degraded(model=model, reason=str(why)) for model, why in failures.items()]
        items = [self._ranked(rank, place, kinds) for rank, place in enumerate(rows, 1)]
        return pb.SimilarItemsResponse(query=self.catalog.item(row), items=items, degraded=degraded)

    def _ranked(self, rank: int, row: int, kinds: Mapping[str, Kind]) -> pb.RankedItem:
        total = sum(kind.weight for kind in kinds.values())
        parts = [kind.contribution(name, row, total) for name, kind in kinds.items()]
        score = sum(part.contribution for part in parts)
        explanation = pb.Explanation(contributions=parts)
        return pb.RankedItem(rank=rank, item=self.catalog.item(row), score=score, explanation=explanation)

    def _kinds(self, row: int, weights: Mapping[str, float], answers: Mapping[str, Answer]) -> dict[str, Kind]:
        """Those but the director that have a weight and can say something about the item at `row`."""
        kinds: dict[str, Kind] = {}
        for name, answer in answers.items():
            if len(rows := self.catalog.rows_of(answer.item)):
                known = np.isin(answer.item, self.catalog.number[rows])
                kinds[name] = Kind(weights[name], answer.score[known], rows)
        likeness = {GENRES: self.catalog.genre_likeness, TAGS: self.catalog.tag_likeness}
        for name, of in likeness.items():
            if weights.get(name):
                raw = of(row)
                raw[row] = 0  # or all others would be unlike beside it
                kinds[name] = Kind(weights[name], raw)
        return kinds

    def _same_director(self, row: int, alike: Likeness) -> list[int]:
        """The other movies of the item's director, those first that are most alike in other ways."""
        same = np.flatnonzero(self.catalog.of_director(row))
        return self._best(alike, same[same != row])

    def _nearest(self, alike: Likeness, but: list[int], k: int) -> list[int]:
        """The k rows that are most alike, without some."""
        alike[but] = 0
        least = np.partition(alike, -k)[-k] if k < len(alike) else 0  # all equals of the k-th are put in order
        return self._best(alike, np.flatnonzero((alike > 0) & (alike >= least)))[:k]

    def _best(self, alike: Likeness, rows: Rows) -> list[int]:
        """`rows`, most alike first."""
        return [int(row) for row in rows[order(alike[rows], rows, self.catalog)]]

    def _understood(self, request: pb.SimilarItemsRequest) -> int:
        match request.WhichOneof("query"):
            case "item_id":
                row = self.catalog.row_of(request.item_id)
                if row is None:
                    raise NotFound(f"item_id: the catalogue has no item {request.item_id[:256]!r}")
                return row
            case "title":
                found = self.titles.search(parse_title(request.title), 1)
                if not found:
                    raise NotFound(f"no movie found with a title similar to {request.title!r}")
                return found[0][0]
            case _:
                raise InvalidArgument("query: one of item_id and title is needed")

    def _weights(self, given: Mapping[str, float]) -> dict[str, float]:
        kinds = [*self.scorers, GENRES, *([TAGS] if self.catalog.has_tags else []), DIRECTOR]
        if unknown := sorted(given.keys() - set(kinds)):
            raise InvalidArgument(f"weights: there is no kind {unknown[0]!r}; there are {', '.join(kinds)}")
        if given and not any(given.values()):
            raise InvalidArgument("weights: at least one must be above 0")
        return dict(given) or dict.fromkeys(kinds, 1.0)
