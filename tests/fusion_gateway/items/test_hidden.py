"""A hidden, expired or deleted item is in no answer: of no call, by whatever stage, with any of the models away."""

import asyncio
import re
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion_gateway import shadow, trending
from fusion_gateway.items.lists import BUILT_IN
from protos.marquee.v1 import items_pb2 as edits
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.items_pb2_grpc import ItemsStub
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.fusion_gateway.items.drawn import (
    Draw,
    Drawn,
    catalogs,
    draw_edit,
    draw_list,
    draw_recommend,
    draw_search,
    draw_similar,
    publish_drawn,
)
from tests.fusion_gateway.items.editing import followed, gateway_on
from tests.fusion_gateway.world import TinyModel, serving

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

EXAMPLES, REQUESTS = 12, 8
MODELS = ("rating", "sequential", "visual_temporal")
WATCHED = re.compile(r"because you watched (.+?)(?: \(\d+\))?(?: and rated it \d+)?: also")
COUNTS: Counter[str] = Counter()


@dataclass
class Asked:
    """One gateway, and what may be seen through it."""

    stub: "RecommenderAsyncStub"
    drawn: Drawn

    def check(self, call: str, item_ids: list[str]) -> None:
        unseen = set(item_ids) - self.drawn.visible
        assert not unseen, f"{call} answered {unseen}"
        COUNTS[f"answers of {call}"] += 1
        COUNTS["items"] += len(item_ids)

    async def recommend(self, request: pb.RecommendRequest) -> None:
        """And the next page."""
        answer = await self.stub.Recommend(request)
        COUNTS[pb.Fallback.Name(answer.fallback)] += 1
        for page in (answer, await self.stub.Recommend(_after(request, answer))):
            self.check("Recommend", [item.item.id for item in page.items])
            for item in page.items:
                COUNTS["explored"] += item.explored
                if watched := WATCHED.search(item.explanation.reason):
                    self._check_title(watched[1])

    def _check_title(self, title: str) -> None:
        shown = {self.drawn.shown_titles[item_id] for item_id in self.drawn.visible}
        assert title in shown, f"a reason names {title}"
        COUNTS["titles in reasons"] += 1

    async def similar(self, request: pb.SimilarItemsRequest) -> None:
        try:
            answer = await self.stub.SimilarItems(request)
        except grpc.aio.AioRpcError as error:
            COUNTS[f"SimilarItems {error.code().name}"] += 1
            is_unknown = error.code() is grpc.StatusCode.NOT_FOUND
            if error.code() is grpc.StatusCode.UNAVAILABLE or (
                is_unknown and request.item_id not in self.drawn.visible
            ):
                return
            raise
        query = [answer.query.id] if answer.HasField("query") else []
        self.check("SimilarItems", query + [item.item.id for item in answer.items])

    async def list_items(self, request: pb.GetListRequest) -> None:
        """And the next page."""
        answer = await self.stub.GetList(request)
        self.check("GetList", [item.item.id for item in answer.items])
        request.after = answer.recommendation_id
        self.check("GetList", [item.item.id for item in (await self.stub.GetList(request)).items])

    async def search(self, request: pb.SearchItemsRequest) -> None:
        answer = await self.stub.SearchItems(request)
        call = "SearchItems, semantic" if request.semantic else "SearchItems"
        self.check(call, [match.item.id for match in answer.matches])

    async def shown(self) -> set[str]:
        answer = await self.stub.GetItems(pb.GetItemsRequest(item_ids=self.drawn.ids))
        return {item.id for item in answer.items}

    async def lists(self) -> list[str]:
        """Those of editors."""
        return list((await self.stub.GetStatus(pb.GetStatusRequest())).lists[len(BUILT_IN) :])


def _after(request: pb.RecommendRequest, answer: pb.RecommendResponse) -> pb.RecommendRequest:
    following = pb.RecommendRequest()
    following.CopyFrom(request)
    following.after = answer.recommendation_id
    return following


@asynccontextmanager
async def running(draw: Draw, drawn: Drawn, home: Path) -> AsyncIterator[grpc.aio.Channel]:
    """A gateway with some of its models away."""
    publish_drawn(home / "repository", drawn.table)
    up = draw.draw(st.sets(st.sampled_from(MODELS)))
    COUNTS[f"with {len(up)} models"] += 1
    async with AsyncExitStack() as stack:
        flags = [f"--one-round-items={draw.draw(st.sampled_from([0, 5000]))}"]
        for name in MODELS:
            model = TinyModel(name, {n: (n * 7 % 11) / 10 for n in range(1, 17)}, needs_history=name != "rating")
            model.posters = dict(model.scores) if name == "visual_temporal" else {}
            address = await stack.enter_async_context(serving(model)) if name in up else "127.0.0.1:1"
            flags.append(f"--scorer={name}={address}")
        yield await stack.enter_async_context(gateway_on(f"sqlite:///{home}/e.db", home / "repository", *flags))


async def example(draw: Draw, home: Path, shadowed: list[set[str]]) -> None:
    drawn = Drawn(draw.draw(catalogs()))
    async with running(draw, drawn, home) as channel:
        asked = Asked(RecommenderStub(channel), drawn)
        watched = draw.draw(st.lists(st.sampled_from(drawn.ids), max_size=4, unique=True))
        if watched:
            events = [pb.Event(user_id="ann", item_id=item_id) for item_id in watched]
            await asked.stub.RecordEvents(pb.RecordEventsRequest(events=events))
        chosen = edits.ItemList(name="chosen", item_ids=drawn.ids)
        await ItemsStub(channel).UpsertLists(edits.UpsertListsRequest(lists=[chosen]))
        for _ in range(draw.draw(st.integers(1, 6))):
            method, request = draw_edit(draw, drawn)
            await getattr(ItemsStub(channel), method)(request)
            COUNTS[method] += 1
        await followed(asked.shown, drawn.visible)
        await followed(asked.lists, ["chosen"])
        shadowed.clear()
        COUNTS["items that nobody may see"] += len(drawn.ids) - len(drawn.visible)
        for _ in range(REQUESTS):
            await asked.recommend(draw_recommend(draw, drawn))
            await asked.similar(draw_similar(draw, drawn))
            await asked.search(draw_search(draw, drawn))
            await asked.list_items(draw_list(draw))
    for list_ in shadowed:
        asked.check("shadow policy", list(list_))
    COUNTS["examples"] += 1


def test_what_nobody_may_see_is_in_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    shadowed: list[set[str]] = []
    ids_of = shadow._item_ids

    def noted(answer: pb.RecommendResponse) -> set[str]:
        shadowed.append(ids_of(answer))
        return shadowed[-1]

    monkeypatch.setattr(shadow, "_item_ids", noted)
    monkeypatch.setattr(trending, "UPDATE_SECONDS", 0.5)

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
    @given(st.data())
    def drawn(data: Draw) -> None:
        with tempfile.TemporaryDirectory() as home:
            asyncio.run(example(data, Path(home), shadowed))

    drawn()
    print(*(f"{count:7,} {what}" for what, count in sorted(COUNTS.items())), sep="\n")
    assert min(COUNTS[f"answers of {call}"] for call in ("Recommend", "SimilarItems", "SearchItems", "GetList")) > 0
