"""Retrieval that is limited to some items finds their best, however few or many they are."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import polars as pl
import pytest

from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.fusion import Eligible
from fusion_gateway.gateway import gateway
from fusion_gateway.scorers.client import ScorerClient
from fusion_gateway.scorers.scorer import Allowed, UserTensors
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.settings import read
from tests.fusion_gateway.world import POLICIES, items, publish, publish_catalog
from tests.servers import tiny_artifact
from tests.servers.running import Running, process
from tests.servers.tiny_artifact import Tiny

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

ITEMS, MAX_K, K = 400, 100, 20
NUMBERS = np.arange(1, 1 + ITEMS)
HISTORY = [7, 8]


def catalog() -> pl.DataFrame:
    """Items that differ by their number, which is their id and their year, too."""
    every = pl.concat([items().head(1)] * ITEMS)
    texts = pl.Series([str(number) for number in NUMBERS])
    numbers = pl.Series(NUMBERS)
    return every.with_columns(number=numbers, id=texts, title=texts, year=numbers.cast(pl.Int32))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limited")
    publish_catalog(folder, catalog(), {})
    publish(folder, "fusion", {"policies.yaml": POLICIES.encode()})
    return folder


@pytest.fixture(scope="module")
def tiny(repository: Path) -> Tiny:
    return tiny_artifact.publish(repository, item_numbers=NUMBERS.tolist())


@pytest.fixture(scope="module")
def server(repository: Path, tiny: Tiny) -> Iterator[Running]:
    with process("rating", repository, f"--max-k={MAX_K}") as running:
        yield running


def best_of(tiny: Tiny, allowed: np.ndarray) -> np.ndarray:
    best = tiny.best(HISTORY, ITEMS)
    return best[np.isin(best, allowed)]


def some(tiny: Tiny, which: str) -> np.ndarray:
    """Numbers that a filter could leave; of `worst half`, over-fetching finds none."""
    best = tiny.best(HISTORY, ITEMS)
    random = np.random.default_rng(0).permutation(NUMBERS)
    chosen = {"one": best[-1:], "worst half": best[ITEMS // 2 :]}
    chosen |= {"few": random[:30], "many": random[:300]}
    return np.sort(chosen[which])


@pytest.mark.parametrize("which", ["one", "few", "many", "worst half"])
async def test_a_model_retrieves_the_best_of_the_allowed(server: Running, tiny: Tiny, which: str) -> None:
    client = ScorerClient("rating", server.grpc_address)
    await client.learn_limits()
    left = some(tiny, which)
    allowed = Allowed(NUMBERS, Eligible.of_mask(np.isin(NUMBERS, left)))
    user = UserTensors.of("", 1000, np.array(HISTORY), events_of(HISTORY), NUMBERS)
    found = (await client.retrieve(user, K, 10, allowed)).item
    assert found.tolist() == best_of(tiny, left)[:K].tolist()
    # A server that cannot be told which items are allowed is over-fetched as far as it goes.
    client.server.limits = replace(client.server.limits, allowed=0)
    found = (await client.retrieve(user, K, 10, allowed)).item
    reached = tiny.best(HISTORY, MAX_K)
    assert found.tolist() == reached[np.isin(reached, left)][:K].tolist()
    await client.close()


def events_of(numbers: list[int]) -> list[StoredEvent]:
    return [StoredEvent("", str(number), None, 100, str(number)) for number in numbers]


@asynccontextmanager
async def recommending(repository: Path, server: Running, *flags: str) -> AsyncIterator["RecommenderAsyncStub"]:
    flags += (f"--scorer=rating={server.grpc_address}", f"--model-repository={repository}", "--event-store=sqlite://")
    flags += (f"--retrieve-k={K}", "--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0")
    async with (
        gateway(read(GatewaySettings, flags)) as program,
        program,
        grpc.aio.insecure_channel(program.grpc_address) as channel,
    ):
        yield RecommenderStub(channel)


@pytest.mark.parametrize("which", ["one", "few", "many", "worst half"])
async def test_recommend_lists_the_models_best_of_what_a_filter_leaves(
    repository: Path, server: Running, tiny: Tiny, which: str
) -> None:
    """However the models are called: of a filtered list, popular items are no part."""
    left = some(tiny, which)
    among = pb.OneOfTest(attribute="id", texts=[str(number) for number in left])
    request = pb.RecommendRequest(
        history=[pb.Event(item_id=str(number)) for number in HISTORY],
        k=10,
        weights={"rating": 1, "sequential": 0, "visual_temporal": 0},
        filters=pb.Filters(expression=pb.Expression(one_of=among)),
    )
    for flag in ("--one-round-items=0", "--one-round-items=5000"):
        async with recommending(repository, server, flag) as stub:
            answer = await stub.Recommend(request)
            assert [int(ranked.item.id) for ranked in answer.items] == best_of(tiny, left)[:10].tolist()
            assert answer.candidates == min(len(np.setdiff1d(left, HISTORY)), K)


async def test_a_filter_that_leaves_nothing_asks_no_model(repository: Path, server: Running) -> None:
    request = pb.RecommendRequest(history=[pb.Event(item_id="7")], filters=pb.Filters(year_min=5000))
    async with recommending(repository, server, "--one-round-items=0") as stub:
        answer = await stub.Recommend(request)
    assert (len(answer.items), answer.candidates, len(answer.degraded)) == (0, 0, 2)
