"""Movies like a movie: what the models find alike, common genres and words, a common director; a weight for each."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil

import numpy as np
from numpy.typing import NDArray

from fusion_gateway.candidates import off_loop
from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.catalog.genre_classes import GenreClasses
from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.fusion import Eligible, Rows
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
    """Similarity of items to one of them, by the rows of the catalog; those that it says nothing of are least alike."""

    def __init__(self, weight: float, raw: NDArray[np.floating], listed: Rows | None = None) -> None:
        """`raw` has one value at least: of the rows `listed`, each once; None: of all rows."""
        self.weight = weight
        self.listed = listed
        self._raw: Likeness = raw.astype(np.float64)  # in float32 the span, or its inverse, may be infinite
        self._low = float(self._raw.min())
        self._span = float(self._raw.max()) - self._low or 1.0
        if listed is not None:
            order = np.argsort(listed)
            self._ascending, self._raw = listed[order], self._raw[order]

    def _raw_at(self, rows: Rows) -> Likeness:
        if self.listed is None:
            return self._raw[rows]
        index = np.searchsorted(self._ascending, rows).clip(max=len(self._ascending) - 1)
        return np.where(self._ascending[index] == rows, self._raw[index], self._low)

    def at(self, rows: Rows) -> Likeness:
        """The weighted likeness [R] of `rows` [R], scaled to 0..1."""
        found: Likeness = (self._raw_at(rows) - self._low) * (self.weight / self._span)
        return found

    def contribution(self, name: str, row: int, total: float) -> pb.Contribution:
        """`total` is the sum of all weights."""
        raw = float(self._raw_at(np.array([row]))[0])
        weight = self.weight / total
        scaled = (raw - self._low) / self._span
        return pb.Contribution(
            model=name, raw_score=raw, normalized_score=scaled, weight=weight, contribution=weight * scaled
        )


class GenreComponent(SimilarityComponent):
    """Similarity of genres to those of the item at `row`, which is unlike itself: all others would be, beside it."""

    def __init__(self, weight: float, row: int, classes: GenreClasses) -> None:
        self._row, self._classes, self._likeness = row, classes, classes.likeness(row).astype(np.float64)
        raw, own = self._likeness, classes.of_row[row]
        if len(classes.members(own)) == 1:
            raw = np.delete(raw, own)
        super().__init__(weight, np.append(raw, 0.0))

    def _raw_at(self, rows: Rows) -> Likeness:
        return np.where(rows == self._row, 0.0, self._likeness[self._classes.of_row[rows]])

    def best(self, eligible: Eligible, k: int, catalog: Catalog) -> Rows:
        """Rows among which are the k eligible works that are most alike: others of equal likeness are rated lower."""
        likeness = self._likeness
        found, last = np.zeros(0, np.int64), np.inf
        for number in np.argsort(-likeness, kind="stable").tolist():
            enough = likeness[number] < last and len(catalog.first_of_works(found)) >= k
            if likeness[number] <= self._low or enough:
                break
            found = np.append(found, _first_works(self._classes.members(number), eligible, k, catalog))
            last = likeness[number]
        return found


def _first_works(order: Rows, eligible: Eligible, k: int, catalog: Catalog) -> Rows:
    """The first eligible rows of an order, so many that k works are among them, as far as there are so many."""
    count = k
    while True:
        rows = eligible.first(order, count)
        if len(rows) < count or len(catalog.first_of_works(rows)) >= k:
            return rows
        count *= 4


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
        compare = partial(_compared, row, k, weights, answers, catalog, by_places=request.by_places)
        components, rows = await off_loop(catalog, compare) if catalog.slow_to_compare else compare()
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
        rows = _most_alike(list(components.values()), np.zeros(0, np.int64), k, catalog)
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
    return [*scorers, *_kinds_of_catalog(catalog), DIRECTOR]


def _kinds_of_catalog(catalog: Catalog) -> list[str]:
    """Those but the director that the catalog can tell."""
    texts = catalog.texts
    there = {GENRES: True, TAGS: texts.tags, OVERVIEW: texts.overviews, TEXT: texts.vectors is not None}
    return [name for name, is_there in there.items() if is_there]


def _component_of(name: str, weight: float, row: int, catalog: Catalog) -> SimilarityComponent:
    """Of a kind that the catalog can tell."""
    if name == GENRES:
        return GenreComponent(weight, row, catalog.genre_classes())
    if name == TEXT:
        raw = catalog.text_likeness(row)
        raw[row] = 0  # or all others would be unlike beside it
        return SimilarityComponent(weight, raw)
    words = catalog.texts.tags if name == TAGS else catalog.texts.overviews
    assert words
    rows, raw = words.likeness(row)
    # The item itself is as unlike as those that have none of its words.
    others = rows != row
    return SimilarityComponent(weight, np.append(raw[others], 0.0), np.append(rows[others], row))


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


def _compared(
    row: int,
    k: int,
    weights: Mapping[str, float],
    answers: Mapping[str, Answer],
    catalog: Catalog,
    by_places: bool,
) -> tuple[Components, list[int]]:
    """What the item at `row` is compared by, and the rows that are most like it."""
    components = _components(row, weights, answers, catalog)
    return components, _nearest(row, k, weights, components, by_places, catalog)


def _components(row: int, weights: Mapping[str, float], answers: Mapping[str, Answer], catalog: Catalog) -> Components:
    """Those but the director that have a weight and can say something about the item at `row`."""
    of_catalog = [name for name in _kinds_of_catalog(catalog) if weights.get(name)]
    components = {name: _component_of(name, weights[name], row, catalog) for name in of_catalog}
    return _of_models(weights, answers, catalog) | components


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
    itself = catalog.of_same_works(np.array([row]))
    first: list[int] = []
    if weights.get(DIRECTOR):
        same = np.setdiff1d(catalog.visible(catalog.directors.same(row)), itself)
        alike = _sum_of(components.values(), same)
        first = _in_order(alike, same, catalog)[: MAX_SAME_DIRECTOR if components else None]
    taken = [*itself, *first]
    if by_places:
        rows = _by_places(taken, k - len(first), components, catalog)
    else:
        rows = _most_alike(list(components.values()), catalog.of_same_works(np.array(taken)), k, catalog)
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
        rows += _most_alike([component], excluded, end - len(rows), catalog)
    return rows


def _most_alike(components: Sequence[SimilarityComponent], excluded: Rows, k: int, catalog: Catalog) -> list[int]:
    """The k works that are most alike, without the excluded rows and the hidden ones."""
    if k < 1:
        return []
    eligible = Eligible(catalog.all_visible, np.unique(excluded))
    rows = eligible.only(_worth_comparing(components, eligible, k, catalog))
    alike = _sum_of(components, rows)
    return _in_order(alike[alike > 0], rows[alike > 0], catalog)[:k]


def _worth_comparing(components: Sequence[SimilarityComponent], eligible: Eligible, k: int, catalog: Catalog) -> Rows:
    """Rows among which the k most alike are: what one component lists, and of the others those with the best genres."""
    found = [np.zeros(0, np.int64)]
    for component in components:
        if isinstance(component, GenreComponent):
            found.append(component.best(eligible, k, catalog))
        elif component.listed is None:
            return np.arange(len(catalog))
        else:
            found.append(component.listed)
    return np.unique(np.concatenate(found))


def _sum_of(components: Iterable[SimilarityComponent], rows: Rows) -> Likeness:
    """[R]: of the weighted likenesses of `rows` [R]."""
    alike = np.zeros(len(rows))
    for component in components:
        alike += component.at(rows)
    return alike


def _in_order(alike: Likeness, rows: Rows, catalog: Catalog) -> list[int]:
    """The works of `rows` [R], most alike [R] first."""
    best_first = rows[order(alike, rows, catalog)]
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
