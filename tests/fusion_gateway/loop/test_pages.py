"""Not the same list twice, through real gateways."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.fusion import Fused
from fusion_gateway.gateway import gateway
from fusion_gateway.ordering import ListConstraints, rank
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.settings import read
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.world import items

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

PATIENT = 20.0
"""Seconds for a call, so that a busy machine lacks nothing."""
CATALOG = Catalog(items(), 1)
ROWS = np.arange(len(CATALOG))
EVERYTHING = {item for item in CATALOG.id}
scores = st.lists(st.floats(-5, 5, width=16), min_size=10, max_size=10).map(np.array)
page_sizes = st.lists(st.integers(1, 4), min_size=10, max_size=10)


@asynccontextmanager
async def another_gateway(world: World, repository: Path, *flags: str) -> AsyncIterator["RecommenderAsyncStub"]:
    """With the same model servers."""
    given = [f"--scorer={name}={address}" for name, address in world.addresses.items()]
    given += [f"--model-repository={repository}", "--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0", *flags]
    async with AsyncExitStack() as stack:
        program = await stack.enter_async_context(gateway(read(GatewaySettings, given)))
        await stack.enter_async_context(program)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(program.grpc_address))
        yield RecommenderStub(channel)


def ids(response: pb.RecommendResponse) -> list[str]:
    return [item.item.id for item in response.items]


async def pages(stub: "RecommenderAsyncStub", k: int, **request: Any) -> list[list[str]]:
    """All of them, until one is empty."""
    found: list[list[str]] = []
    after = ""
    while not found or found[-1]:
        answer = await stub.Recommend(pb.RecommendRequest(user_id="anna", k=k, after=after, **request), timeout=PATIENT)
        found.append(ids(answer))
        after = answer.recommendation_id
    return found


def fused(score: np.ndarray) -> Fused:
    return Fused(score, ("rating",), score[None], score[None], np.ones((1, len(score))), 0.0)


@given(st.lists(scores, min_size=10, max_size=10), page_sizes)
def test_pages_neither_repeat_nor_skip_whatever_scores_become(versions: list[np.ndarray], sizes: list[int]) -> None:
    """Each page from another model version."""
    shown: list[int] = []
    for size, version in zip(sizes, versions, strict=True):
        ranking = rank(fused(version), ROWS, CATALOG, ListConstraints(size), np.array(shown, np.int64))
        best = [row for row in rank(fused(version), ROWS, CATALOG, ListConstraints(10)).positions if row not in shown]
        assert ranking.positions.tolist() == best[:size]
        shown += ranking.positions.tolist()
    assert len(shown) == len(set(shown)) == min(sum(sizes), len(CATALOG))


@given(scores, st.integers(1, 4))
def test_pages_of_one_version_are_the_ranking_cut(version: np.ndarray, size: int) -> None:
    shown: list[int] = []
    for _ in range(0, 10, size):
        shown += rank(
            fused(version), ROWS, CATALOG, ListConstraints(size), np.array(shown, np.int64)
        ).positions.tolist()
    assert shown == rank(fused(version), ROWS, CATALOG, ListConstraints(10)).positions.tolist()


@pytest.mark.parametrize("k", [1, 3, 10])
async def test_the_union_of_the_pages_is_the_ranking(world: World, k: int) -> None:
    whole = ids(await world.stub.Recommend(pb.RecommendRequest(user_id="anna", k=10), timeout=PATIENT))
    assert set(whole) == EVERYTHING
    found = await pages(world.stub, k)
    assert [item for page in found for item in page] == whole
    assert {len(page) for page in found[:-2]} <= {k}


async def test_a_new_model_version_between_pages_repeats_and_skips_nothing(world: World) -> None:
    first = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", k=4), timeout=PATIENT)
    scores = world.models["rating"].scores
    world.models["rating"].scores = {number: -score for number, score in scores.items()}
    second = await world.stub.Recommend(
        pb.RecommendRequest(user_id="anna", k=4, after=first.recommendation_id), timeout=PATIENT
    )
    third = await world.stub.Recommend(
        pb.RecommendRequest(user_id="anna", k=4, after=second.recommendation_id), timeout=PATIENT
    )
    shown = ids(first) + ids(second) + ids(third)
    assert ids(first)[0] == "ten"
    assert ids(second)[0] == "1"
    assert len(shown) == 10
    assert set(shown) == EVERYTHING


async def test_explored_pages_repeat_nothing(world: World) -> None:
    found = await pages(world.stub, 3, exploration=0.7)
    shown = [item for page in found for item in page]
    assert sorted(shown) == sorted(EVERYTHING)


async def test_a_page_is_the_users_own(world: World) -> None:
    first = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", k=4), timeout=PATIENT)
    for user, after in (("bert", first.recommendation_id), ("anna", "unknown")):
        with pytest.raises(grpc.aio.AioRpcError, match="after: the log has no such answer to this user") as error:
            await world.stub.Recommend(pb.RecommendRequest(user_id=user, after=after), timeout=PATIENT)
        assert error.value.code() == grpc.StatusCode.NOT_FOUND


async def test_nobody_waits_for_an_answer_of_the_future(world: World) -> None:
    forged = f"{int(1000 * (time.time() + 1e8)):012x}70008{0:015x}"
    request = pb.RecommendRequest(user_id="anna", after=forged)
    async with asyncio.timeout(60):
        with pytest.raises(grpc.aio.AioRpcError, match="after: the log has no such answer to this user"):
            await world.stub.Recommend(request, timeout=3600)


async def test_what_was_served_lately_does_not_come_again(world: World) -> None:
    first = await world.stub.Recommend(pb.RecommendRequest(user_id="anna", k=4), timeout=PATIENT)
    request = pb.RecommendRequest(user_id="anna", k=10, exclude_served_seconds=3600)
    assert set(ids(await world.stub.Recommend(request, timeout=PATIENT))) == EVERYTHING - set(ids(first))
    assert ids(await world.stub.Recommend(request, timeout=PATIENT)) == []
    bert = pb.RecommendRequest(user_id="bert", k=10, exclude_served_seconds=3600)
    assert len(ids(await world.stub.Recommend(bert))) == 10
    with pytest.raises(grpc.aio.AioRpcError, match="exclude_served_seconds: requires a user_id"):
        await world.stub.Recommend(pb.RecommendRequest(exclude_served_seconds=1), timeout=PATIENT)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_another_gateway_has_the_next_page(
    world: World, repository: Path, tmp_path: Path, database: str, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/shared.db" if database == "sqlite" else request.getfixturevalue("postgresql")
    store = f"--event-store={url}"
    async with another_gateway(world, repository, store) as one, another_gateway(world, repository, store) as two:
        first = await one.Recommend(pb.RecommendRequest(user_id="of two gateways", k=4), timeout=PATIENT)
        second = await two.Recommend(
            pb.RecommendRequest(user_id="of two gateways", k=10, after=first.recommendation_id), timeout=20
        )
        assert sorted(ids(first) + ids(second)) == sorted(EVERYTHING)
        await asyncio.gather(*(stub.DeleteUser(pb.DeleteUserRequest(user_id="of two gateways")) for stub in (one, two)))


async def test_a_broken_log_costs_what_it_would_leave_out(world: World, repository: Path, tmp_path: Path) -> None:
    flags = (f"--event-store=sqlite:///{tmp_path}/other.db", f"--serving-log=sqlite:///{tmp_path}/served.db")
    async with another_gateway(world, repository, *flags) as stub:
        first = await stub.Recommend(pb.RecommendRequest(user_id="anna", k=4), timeout=PATIENT)
        for path in tmp_path.glob("served.db*"):
            path.unlink()
        (tmp_path / "served.db").mkdir()
        answer = await stub.Recommend(
            pb.RecommendRequest(user_id="anna", k=4, exclude_served_seconds=60), timeout=PATIENT
        )
        assert ids(answer) == ids(first)
        assert [each.component for each in answer.degraded] == ["served"]
        unwritten = pb.RecommendRequest(user_id="anna", k=4, after="not waiting to be written")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.Recommend(unwritten)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        await stub.Recommend(pb.RecommendRequest(user_id="anna", k=4), timeout=PATIENT)


async def test_without_a_log_answers_have_ids_and_no_pages(world: World, repository: Path, tmp_path: Path) -> None:
    flags = (f"--event-store=sqlite:///{tmp_path}/other.db", "--serving-log=off")
    async with another_gateway(world, repository, *flags) as stub:
        answer = await stub.Recommend(pb.RecommendRequest(user_id="anna", k=4), timeout=PATIENT)
        assert answer.recommendation_id
        for request in (pb.RecommendRequest(after="x"), pb.RecommendRequest(user_id="a", exclude_served_seconds=1)):
            with pytest.raises(grpc.aio.AioRpcError, match="this gateway keeps no log of what it served"):
                await stub.Recommend(request)
