"""GetList: a list that is the same for everybody, past the filters, without what one user has watched."""

from dataclasses import dataclass

import numpy as np

from fusion_gateway.candidates import eligible_items, off_loop
from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.fusion import Mask, Rows, Scores, best_rows
from fusion_gateway.items.lists import BUILT_IN, NEW, POPULAR, TOP_RATED, TRENDING, LiveLists
from fusion_gateway.listing import unknown_names
from fusion_gateway.parsing import check_length, parse_query
from fusion_gateway.recommend import Recommender
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.deadline import Deadline
from servers.runtime.errors import NotFound


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
        by = self._order(request.name, catalog)
        known = await recommender.known(query, catalog, deadline)
        items = await eligible_items(query, known.history, known.left_out, catalog)
        items.mask[known.shown] = False
        rows = await off_loop(catalog, best_works, by, items.mask, catalog, query.constraints.k)
        shown = np.floor(by) if request.name == NEW else by if request.name in BUILT_IN else np.zeros(len(by))
        ranked = [
            pb.RankedItem(rank=rank, item=catalog.item(row), score=shown[row], propensity=1.0)
            for rank, row in enumerate(rows.tolist(), 1)
        ]
        degraded = [pb.Degraded(component=name, reason=str(why)) for name, why in known.missing.items()]
        return pb.GetListResponse(items=ranked, degraded=degraded, unknown_names=unknown_names(of_user, catalog, ()))

    def _order(self, name: str, catalog: Catalog) -> Scores:
        """[items]: what the list is ordered by, the largest first; NaN for what is not in it."""
        if name == TRENDING:
            weights = self.recommender.trending.weights(catalog)
            return np.where(weights > 0, weights, np.nan)
        if name == POPULAR:
            return catalog.votes.astype(np.float64)
        if name == NEW:
            return catalog.year + np.arange(len(catalog)) / len(catalog)
        if name == TOP_RATED:
            return catalog.weighted_rating
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


def _by_position(ids: list[str], catalog: Catalog) -> Scores:
    order = np.full(len(catalog), np.nan)
    for position, item_id in enumerate(ids):
        row = catalog.row_of(item_id)
        if row is not None:
            order[row] = -position
    return order


def best_works(by: Scores, eligible: Mask, catalog: Catalog, k: int) -> Rows:
    """The k eligible [items] with the largest of `by` [items], the largest first, each work once."""
    count = 2 * k
    scores = np.where(eligible, by, np.nan)
    while True:
        rows = best_rows(scores, count)
        works = rows[catalog.first_of_works(rows)]
        if len(works) >= k or len(rows) < count:
            return works[:k]
        count *= 4
