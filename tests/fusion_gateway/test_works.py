"""A film that is listed under two ids is one work: never beside itself, never twice, seen under either id."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import polars as pl
import pytest

from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.settings import read
from tests.fusion_gateway.world import POLICIES, TAGS, items, publish, publish_catalog

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

FILMS = len(items())
NOWHERE = "127.0.0.1:9"


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator["RecommenderAsyncStub"]:
    """A gateway whose catalog has the films of known years twice, as 3 and b3, and that no model answers."""
    dated = items().filter(pl.col("year") > 0)
    again = dated.with_columns(number=pl.col("number") + FILMS, id="b" + pl.col("id"))
    tags = TAGS | {row + FILMS: words for row, words in TAGS.items()}
    publish_catalog(tmp_path, pl.concat([items(), again]), tags)
    publish(tmp_path, "fusion", {"policies.yaml": POLICIES.encode()})
    flags = [f"--model-repository={tmp_path}", f"--event-store=sqlite:///{tmp_path}/events.db"]
    flags += [f"--scorer=rating={NOWHERE}", "--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0"]
    async with (
        gateway(read(GatewaySettings, flags)) as program,
        program,
        grpc.aio.insecure_channel(program.grpc_address) as channel,
    ):
        yield RecommenderStub(channel)


def explained(ranked: pb.RankedItem) -> float:
    """The score, by its explanation."""
    return sum(part.contribution for part in ranked.explanation.contributions)


async def test_what_was_seen_under_another_id_is_left_out(stub: "RecommenderAsyncStub") -> None:
    history = [pb.Event(item_id="6"), pb.Event(item_id="b3")]
    response = await stub.Recommend(pb.RecommendRequest(history=history, k=100))
    titles = [ranked.item.title for ranked in response.items]
    assert sorted(titles) == sorted({*items()["title"]} - {"Fargo", "Interstellar"})


@pytest.mark.parametrize("weights", [{}, {"director": 1.0}, {"tags": 1.0}, {"genres": 3.0, "director": 0.1}])
async def test_similar_items_are_other_films_each_once_in_descending_order(
    stub: "RecommenderAsyncStub", weights: dict[str, float]
) -> None:
    for film in items()["id"]:
        response = await stub.SimilarItems(pb.SimilarItemsRequest(item_id=film, k=100, weights=weights))
        titles = [response.query.title]
        titles += [ranked.item.title for ranked in response.items]
        assert len(titles) == len({*titles})
        scores = [ranked.score for ranked in response.items]
        assert scores == sorted(scores, reverse=True)
        assert scores == pytest.approx([explained(ranked) for ranked in response.items], abs=1e-6)


async def test_a_common_director_comes_first(stub: "RecommenderAsyncStub") -> None:
    weights = {"genres": 3.0, "director": 0.1}
    response = await stub.SimilarItems(pb.SimilarItemsRequest(item_id="b7", weights=weights))
    assert response.items[0].item.title == "Fargo"
