"""Movies like a movie: what the models find alike, common genres and words, a common director; a weight for each."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.fusion import Rows
from fusion_gateway.large_answers import made
from fusion_gateway.ordering import order
from fusion_gateway.parsing import parse_results, parse_title, parse_weights
from fusion_gateway.reloading import Held
from fusion_gateway.scorers.client import ScorerClient
from fusion_gateway.scorers.fan_out import call_all
from fusion_gateway.scorers.missing import Absences, ModelMissing
from fusion_gateway.scorers.scorer import Answer
from fusion_gateway.similar_posters import similar_posters
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import InvalidArgument, NotFound, Unavailable

GENRES, TAGS, OVERVIEW, TEXT, DIRECTOR = "genres", "tags", "overview", "text", "director"
OF_CATALOG = (GENRES, TAGS, OVERVIEW, TEXT, DIRECTOR)
MIN_RETRIEVED = 100
"""Minimum number of items requested from each model; twice the k of the request where that is more."""
MAX_SAME_DIRECTOR = 2
"""Maximum number of movies by one director that come first (REFERENCE_SYSTEMS.md S3), where something else counts."""
MIN_SHARE = 0.5
"""Of a place."""
ROUNDING = 1e-6
"""Weights are of single precision: a share of places is not more for that."""
Likeness = NDArray[np.float64]


class SimilarityComponent:
    """Similarity to an item of some rows, or of all; rows left out get the lowest value."""

    def __init__(self, weight: float, raw: NDArray[np.floating], rows: Rows | None = None) -> None:
        """`raw` has one value at least; `rows` None: all."""
        self.weight = weight
        self._raw = raw.astype(np.float64, copy=False)  # in float32 the span, or its inverse, may be infinite
        self._rows = rows
        self._low = float(raw.min())
        self._span = float(raw.max()) - self._low or 1.0

    def add_to(self, alike: Likeness) -> None:
        """Adds the weighted likeness, scaled to 0..1, to that of all items."""
        rows = slice(None) if self._rows is None else self._rows
        alike[rows] += (self._raw - self._low) * (self.weight / self._span)

    def contribution(self, name: str, row: int, total: float) -> pb.Contribution:
        """`total` is the sum of all weights."""
        found = self._raw[row] if self._rows is None else self._raw[self._rows == row]
        raw = float(np.max(found, initial=self._low))
        weight = self.weight / total
        scaled = (raw - self._low) / self._span
        return pb.Contribution(
            model=name, raw_score=raw, normalized_score=scaled, weight=weight, contribution=weight * scaled
        )


Components = dict[str, SimilarityComponent]


@dataclass(frozen=True)
class SimilarItems:
    """Everything that SimilarItems is answered from."""

    titles: Held[TitleIndex]
    """Of the catalog."""
    scorers: Mapping[str, ScorerClient]
    absences: Absences = field(default_factory=Absences)

    async def similar(self, request: pb.SimilarItemsRequest, deadline: Deadline) -> pb.SimilarItemsResponse:
        """Raises InvalidArgument, NotFound for an unknown id or title, Unavailable when no weighted kind answers."""
        titles = self.titles.value
        catalog = titles.catalog
        if request.WhichOneof("query") == "image":
            return await self._like_image(request, catalog, deadline)
        row = await asyncio.to_thread(_queried_row, request, titles)
        k = parse_results(request)
        weights = self._weights(parse_weights(request.weights), catalog)
        number, count = int(catalog.number[row]), max(MIN_RETRIEVED, 2 * k)
        answers, missing = await call_all(
            [scorer for name, scorer in self.scorers.items() if weights.get(name)],
            lambda scorer, timeout: scorer.similar(number, count, timeout),
            deadline,
        )
        self.absences.note(missing, answers)
        if missing and not answers and not any(weights.get(name) for name in OF_CATALOG):
            raise Unavailable("; ".join(f"{name}: {reason}" for name, reason in missing.items()))
        components = _components(row, weights, answers, catalog)
        rows = _nearest(row, k, weights, components, request.by_places, catalog)
        response = await _response(rows, components, missing, catalog)
        response.query.CopyFrom(catalog.item(row))
        return response

    async def _like_image(
        self, request: pb.SimilarItemsRequest, catalog: Catalog, deadline: Deadline
    ) -> pb.SimilarItemsResponse:
        """By posters alone, which models know and the catalog does not."""
        k, requested = parse_results(request), parse_weights(request.weights)
        if others := sorted(requested.keys() - self.scorers.keys()):
            raise InvalidArgument(f"weights: an image is compared by {', '.join(self.scorers)}, not by {others[0]!r}")
        weights = self._weights(requested, catalog)
        scorers = [scorer for name, scorer in self.scorers.items() if weights.get(name)]
        answers, missing = await similar_posters(request.image, max(MIN_RETRIEVED, 2 * k), scorers, deadline)
        self.absences.note(missing, answers)
        if missing and not answers:
            raise Unavailable("; ".join(f"{name}: {reason}" for name, reason in missing.items()))
        components = _of_models(weights, answers, catalog)
        rows = _most_alike(_sum_of(components.values(), catalog), np.zeros(0, np.int64), k, catalog)
        return await _response(rows, components, missing, catalog)

    def _weights(self, requested: Mapping[str, float], catalog: Catalog) -> dict[str, float]:
        known = known_kinds(self.scorers, catalog)
        if unknown := sorted(requested.keys() - set(known)):
            raise InvalidArgument(f"weights: there is no kind {unknown[0]!r}; there are {', '.join(known)}")
        if requested and not any(requested.values()):
            raise InvalidArgument("weights: at least one must be above 0")
        return dict(requested) or dict.fromkeys(known, 1.0)


def known_kinds(scorers: Collection[str], catalog: Catalog) -> list[str]:
    """Names of the kinds of likeness that can have a weight."""
    return [*scorers, *_likeness_of_catalog(catalog), DIRECTOR]


def _likeness_of_catalog(catalog: Catalog) -> dict[str, Callable[[int], NDArray[np.floating]]]:
    """The kinds but the director that the catalog can tell, each [items] for a row."""
    texts = catalog.texts
    kinds: dict[str, Callable[[int], NDArray[np.floating]]] = {GENRES: catalog.genre_likeness}
    if texts.tags:
        kinds[TAGS] = texts.tags.likeness
    if texts.overviews:
        kinds[OVERVIEW] = texts.overviews.likeness
    if texts.vectors is not None:
        kinds[TEXT] = catalog.text_likeness
    return kinds


def _queried_row(request: pb.SimilarItemsRequest, titles: TitleIndex) -> int:
    match request.WhichOneof("query"):
        case "item_id":
            row = titles.catalog.visible_row_of(request.item_id)
            if row is None:
                raise NotFound(f"item_id: the catalog has no item {request.item_id[:256]!r}")
            return row
        case "title":
            found = titles.search(parse_title(request.title), 1)
            if not found:
                raise NotFound(f"no movie found with a title similar to {request.title!r}")
            return found[0][0]
        case _:
            raise InvalidArgument("query: one of item_id, title and image is needed")


def _components(row: int, weights: Mapping[str, float], answers: Mapping[str, Answer], catalog: Catalog) -> Components:
    """Those but the director that have a weight and can say something about the item at `row`."""
    components = _of_models(weights, answers, catalog)
    for name, likeness in _likeness_of_catalog(catalog).items():
        if weights.get(name):
            raw = likeness(row)
            raw[row] = 0  # or all others would be unlike beside it
            components[name] = SimilarityComponent(weights[name], raw)
    return components


def _of_models(weights: Mapping[str, float], answers: Mapping[str, Answer], catalog: Catalog) -> Components:
    components: Components = {}
    for name, answer in answers.items():
        if len(rows := catalog.rows_of(answer.item)):
            known = np.isin(answer.item, catalog.number[rows])
            components[name] = SimilarityComponent(weights[name], answer.score[known], rows)
    return components


def _nearest(
    row: int, k: int, weights: Mapping[str, float], components: Components, by_places: bool, catalog: Catalog
) -> list[int]:
    """The k rows most like this one, those of the same director first, each work once; the director becomes one of
    the components.
    """
    alike = _sum_of(components.values(), catalog)
    itself = catalog.of_same_works(np.array([row]))
    first: list[int] = []
    if weights.get(DIRECTOR):
        same = np.setdiff1d(catalog.visible(catalog.directors.same(row)), itself)
        first = _in_order(alike, same, catalog)[: MAX_SAME_DIRECTOR if components else None]
    taken = [*itself, *first]
    if by_places:
        rows = _by_places(taken, k - len(first), components, catalog)
    else:
        rows = _most_alike(alike, catalog.of_same_works(np.array(taken)), k, catalog)
    if weights.get(DIRECTOR):
        # As much as all else together: then scores descend, and still add up.
        weight = sum(component.weight for component in components.values()) or weights[DIRECTOR]
        raw = np.array([0.0, *[1.0] * len(first)])
        components[DIRECTOR] = SimilarityComponent(weight, raw, np.array([row, *first]))
    return [*first, *rows][:k]


def _by_places(taken: list[int], places: int, components: Components, catalog: Catalog) -> list[int]:
    """Rows by one component after the other, each its share of the places by weight (REFERENCE_SYSTEMS.md S3).

    Shares are rounded so that the first ones get more; less than half a place is none, but for the largest share.
    What a component cannot fill goes to the next.
    """
    weights = [component.weight for component in components.values()]
    total, largest = sum(weights), max(weights, default=0)
    rows: list[int] = []
    share = 0.0
    for component in components.values():
        before, share = share, share + component.weight / total * places
        has_place = component.weight == largest or share - before >= MIN_SHARE
        end = ceil((share if has_place else before) - ROUNDING)
        excluded = catalog.of_same_works(np.array([*taken, *rows]))
        rows += _most_alike(_sum_of([component], catalog), excluded, end - len(rows), catalog)
    return rows


def _most_alike(alike: Likeness, excluded: Rows, k: int, catalog: Catalog) -> list[int]:
    """The k works that are most alike, without the excluded rows and the hidden ones."""
    if k < 1:
        return []
    alike[excluded] = 0
    alike[catalog.hidden] = 0
    pool = k + catalog.num_repeats
    lowest = np.partition(alike, -pool)[-pool] if pool < len(alike) else 0  # all its equals are put in order
    rows = np.flatnonzero((alike > 0) & (alike >= lowest))
    return _in_order(alike, rows, catalog)[:k]


def _sum_of(components: Iterable[SimilarityComponent], catalog: Catalog) -> Likeness:
    """[items]: of the weighted likenesses."""
    alike = np.zeros(len(catalog))
    for component in components:
        component.add_to(alike)
    return alike


def _in_order(alike: Likeness, rows: Rows, catalog: Catalog) -> list[int]:
    """The works of `rows`, most alike first."""
    best_first = rows[order(alike[rows], rows, catalog)]
    works: list[int] = best_first[catalog.first_of_works(best_first)].tolist()
    return works


async def _response(
    rows: Sequence[int], components: Components, missing: Mapping[str, ModelMissing], catalog: Catalog
) -> pb.SimilarItemsResponse:
    """Without the movie that was understood."""
    return pb.SimilarItemsResponse(
        items=await made(lambda each: _ranked(*each, components, catalog), enumerate(rows, 1)),
        degraded=[pb.Degraded(component=name, reason=str(why)) for name, why in missing.items()],
    )


def _ranked(rank: int, row: int, components: Components, catalog: Catalog) -> pb.RankedItem:
    total = sum(component.weight for component in components.values())
    parts = [component.contribution(name, row, total) for name, component in components.items()]
    score = sum(part.contribution for part in parts)
    explanation = pb.Explanation(contributions=parts)
    return pb.RankedItem(rank=rank, item=catalog.item(row), score=score, explanation=explanation, propensity=1)
