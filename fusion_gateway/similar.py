"""Movies like a movie: what the models find alike, common genres, a common director; one weight for each."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fusion_gateway.catalog import Catalog
from fusion_gateway.explaining import contributions
from fusion_gateway.fusion import Policy, Scores, fuse
from fusion_gateway.ordering import order
from fusion_gateway.parsing import parse_results, parse_title, parse_weights
from fusion_gateway.recommend import ask
from fusion_gateway.scorers import Answer, Scorer
from fusion_gateway.titles import TitleIndex
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import InvalidArgument, NotFound, Unavailable

GENRES, DIRECTOR = "genres", "director"
MAX_SAME_DIRECTOR = 2
"""So many movies of the same director are lifted, unless nothing else has a weight."""


@dataclass(frozen=True)
class Neighbours:
    """Everything that SimilarItems is answered from."""

    catalog: Catalog
    titles: TitleIndex
    scorers: Mapping[str, Scorer]

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
        kinds = {name: self._of_model(answer) for name, answer in answers.items()}
        kinds[GENRES] = np.asarray(self.catalog.genre_vector @ self.catalog.genre_vector[row], np.float64)
        most = MAX_SAME_DIRECTOR if any(weight and name != DIRECTOR for name, weight in weights.items()) else None
        kinds[DIRECTOR] = self._of_director(row, kinds[GENRES], most)
        policy = Policy(weights, normaliser="minmax")
        if not kinds.keys() & set(policy.models):
            raise Unavailable("; ".join(f"{name}: {reason}" for name, reason in failures.items()))
        fused = fuse(policy, kinds)
        alike = np.where(fused.score > 0, fused.score, -np.inf)
        alike[row] = -np.inf
        places = order(alike, np.arange(len(self.catalog)), self.catalog)[:k]
        items = [
            pb.RankedItem(
                rank=rank,
                item=self.catalog.item(place),
                score=alike[place],
                explanation=pb.Explanation(contributions=contributions(fused, place)),
            )
            for rank, place in enumerate(places.tolist(), 1)
        ]
        degraded = [pb.Degraded(model=model, reason=reason) for model, reason in failures.items()]
        return pb.SimilarItemsResponse(query=self.catalog.item(row), items=items, degraded=degraded)

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
        kinds = [*self.scorers, GENRES, DIRECTOR]
        if unknown := sorted(given.keys() - set(kinds)):
            raise InvalidArgument(f"weights: there is no kind {unknown[0]!r}; there are {', '.join(kinds)}")
        if given and not any(given.values()):
            raise InvalidArgument("weights: at least one must be above 0")
        return dict(given) or dict.fromkeys(kinds, 1.0)

    def _of_model(self, answer: Answer) -> Scores:
        """[items]: items beyond the answer are as alike as the last one in it; all NaN when there is none."""
        scores = np.full(len(self.catalog), answer.score.min() if answer.score.size else np.nan, np.float64)
        known = np.isin(answer.item, self.catalog.number)
        scores[self.catalog.rows_of(answer.item)] = answer.score[known]
        return scores

    def _of_director(self, row: int, genres: Scores, most: int | None) -> Scores:
        """[items]: 1 for the movies of the same director that are most alike by genre, at most so many."""
        scores = np.zeros(len(self.catalog))
        if director := self.catalog.director[row]:
            same = np.flatnonzero([name == director for name in self.catalog.director])
            same = same[same != row]
            scores[same[order(genres[same], same, self.catalog)[:most]]] = 1
        return scores
