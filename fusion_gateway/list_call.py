"""GetList: a list that is the same for everybody, past the filters, without what one user has watched."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fusion_gateway.candidates import eligible_items, off_loop
from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.fusion import Eligible, Order, Rows, Scores
from fusion_gateway.items.lists import BUILT_IN, NEW, POPULAR, TOP_RATED, TRENDING, LiveLists
from fusion_gateway.listing import unknown_names
from fusion_gateway.parsing import check_length, parse_query
from fusion_gateway.recommend import Recommender
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import NotFound

PUBLISHED: Mapping[str, Callable[[Catalog, Rows], Scores]] = {
    POPULAR: lambda catalog, rows: catalog.votes[rows].astype(np.float64),
    NEW: lambda catalog, rows: catalog.year[rows] + rows / len(catalog),
    TOP_RATED: lambda catalog, rows: catalog.weighted_rating[rows],
}
"""What lists of the catalog are ordered by, the largest first."""


@dataclass(frozen=True)
class ListCall:
    """Everything that a list is made from."""

    recommender: Recommender
    lists: LiveLists

    async def list_items(self, request: pb.GetListRequest, deadline: Deadline) -> pb.GetListResponse:
        """Raises InvalidArgument and NotFound."""
        recommender, catalog = self.recommender, self.recommender.titles.value.catalog
        check_length("name", request.name)
        of_user = as_recommend(request)
        query = parse_query(of_user, catalog.rating_scale, recommender.event_types, catalog.attributes.kinds)
        by = await self._order(request.name, catalog)
        known = await recommender.known(query, catalog, deadline)
        items = await eligible_items(query, known.history, known.left_out, catalog)
        eligible = items.eligible.without(known.shown)
        rows = await off_loop(catalog, best_works, by, eligible, catalog, query.constraints.k)
        scores = by.score(rows) if request.name in BUILT_IN else np.zeros(len(rows))
        shown = np.floor(scores) if request.name == NEW else scores
        ranked = [
            pb.RankedItem(rank=rank, item=catalog.item(row), score=score, propensity=1.0)
            for rank, (row, score) in enumerate(zip(rows.tolist(), shown.tolist(), strict=True), 1)
        ]
        degraded = [pb.Degraded(component=name, reason=str(why)) for name, why in known.missing.items()]
        return pb.GetListResponse(items=ranked, degraded=degraded, unknown_names=unknown_names(of_user, catalog, ()))

    async def _order(self, name: str, catalog: Catalog) -> Order:
        """Of what is in the list."""
        if name == TRENDING:
            lately = await self.recommender.trending.lately(catalog)
            return Order(lately.best, lambda rows: _above_0(lately.weights_of(catalog.number[rows])))
        if name in PUBLISHED:
            return await off_loop(catalog, catalog.ordered, name, PUBLISHED[name])
        return _by_position(self._ids_in(name), catalog)

    def _ids_in(self, name: str) -> list[str]:
        lists = self.lists.value
        if name not in lists:
            raise NotFound(f"name: there is no list {name!r}; there are {', '.join(BUILT_IN)} and those of GetStatus")
        return list(lists[name])


def as_recommend(request: pb.GetListRequest) -> pb.RecommendRequest:
    """The fields that a request for recommendations has, too."""
    common = pb.RecommendRequest(user_id=request.user_id, filters=request.filters, after=request.after)
    if request.HasField("k"):
        common.k = request.k
    if request.HasField("exclude_seen"):
        common.exclude_seen = request.exclude_seen
    return common


def _above_0(weights: Scores) -> Scores:
    return np.where(weights > 0, weights, np.nan)


def _by_position(ids: list[str], catalog: Catalog) -> Order:
    known = [(catalog.row_of(item_id), position) for position, item_id in enumerate(ids)]
    position_of = {row: position for row, position in known if row is not None}

    def score(rows: Rows) -> Scores:
        return np.array([-position_of.get(row, np.nan) for row in rows.tolist()], np.float64)

    return Order(np.array(sorted(position_of, key=lambda row: position_of[row]), np.int64), score)


def best_works(by: Order, eligible: Eligible, catalog: Catalog, k: int) -> Rows:
    """The first k eligible items of an order, each work once."""
    count = 2 * k
    while True:
        rows = by.first(eligible, count)
        works = rows[catalog.first_of_works(rows)]
        if len(works) >= k or len(rows) < count:
            return works[:k]
        count *= 4
