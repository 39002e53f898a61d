"""Policies of a running gateway: changed, broken, split and shadowed."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prometheus_client import REGISTRY

from fusion_gateway.gateway import gateway
from fusion_gateway.reloading import Reloaded, newest_usable
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Repository, Version
from servers.runtime.settings import read
from tests.fusion_gateway.world import TinyModel, publish, publish_world, serving

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

POLICIES = """
default: first
policies:
  first: {normalizer: none, weights: {rating: 1}}
  second: {normalizer: none, weights: {sequential: 1}}
"""
HISTORY = [pb.Event(item_id="1")]


@asynccontextmanager
async def running(tmp_path: Path, *more: str) -> AsyncIterator["RecommenderAsyncStub"]:
    up = {n: n / 10 for n in range(1, 11)}
    down = {n: -score for n, score in up.items()}
    async with AsyncExitStack() as stack:
        addresses = [
            await stack.enter_async_context(serving(TinyModel(*each)))
            for each in (("rating", up), ("sequential", down))
        ]
        flags = [
            f"--scorer={name}={address}" for name, address in zip(("rating", "sequential"), addresses, strict=True)
        ]
        flags += [f"--model-repository={tmp_path}/repository", f"--event-store=sqlite:///{tmp_path}/events.db"]
        flags += ["--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0", "--repository-poll-secs=0.02", *more]
        program = await stack.enter_async_context(gateway(read(GatewaySettings, flags)))
        await stack.enter_async_context(program)
        yield RecommenderStub(await stack.enter_async_context(grpc.aio.insecure_channel(program.grpc_address)))


async def answered(stub: "RecommenderAsyncStub", user: str = "") -> pb.RecommendResponse:
    return await stub.Recommend(pb.RecommendRequest(user_id=user, history=HISTORY, k=5))


async def until_policy(stub: "RecommenderAsyncStub", name: str) -> None:
    async with asyncio.timeout(10):
        while (await answered(stub)).policy != name:
            await asyncio.sleep(0.02)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_changed_file_is_used_and_a_broken_one_is_not(tmp_path: Path) -> None:
    publish_world(tmp_path / "repository")
    path = tmp_path / "policies.yaml"
    path.write_text(POLICIES)
    async with running(tmp_path, f"--policies={path}") as stub:
        assert (await answered(stub)).policy == "first"
        assert (await stub.GetStatus(pb.GetStatusRequest())).fusion_version == 0
        path.write_text(POLICIES.replace("default: first", "default: second"))
        await until_policy(stub, "second")
        refused = metric("marquee_refused_reloads_total", what="policies")
        path.write_text("default: [")
        async with asyncio.timeout(10):
            while metric("marquee_refused_reloads_total", what="policies") == refused:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        assert metric("marquee_refused_reloads_total", what="policies") == refused + 1  # said once
        assert (await answered(stub)).policy == "second"
        path.write_text(POLICIES)
        await until_policy(stub, "first")


async def test_a_file_that_becomes_a_pipe_is_refused_once_and_followed_again(tmp_path: Path) -> None:
    publish_world(tmp_path / "repository")
    path, pipe = tmp_path / "policies.yaml", tmp_path / "pipe"
    path.write_text(POLICIES)
    os.mkfifo(pipe)
    async with running(tmp_path, f"--policies={path}") as stub:
        refused = metric("marquee_refused_reloads_total", what="policies")
        pipe.rename(path)
        async with asyncio.timeout(10):
            while metric("marquee_refused_reloads_total", what="policies") == refused:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        assert metric("marquee_refused_reloads_total", what="policies") == refused + 1
        assert (await answered(stub)).policy == "first"
        path.unlink()
        path.write_text(POLICIES.replace("default: first", "default: second"))
        await until_policy(stub, "second")


async def test_a_newer_published_version_is_used(tmp_path: Path) -> None:
    repository = publish_world(tmp_path / "repository")
    async with running(tmp_path) as stub:
        assert (await answered(stub)).policy == "fitted"
        staged = publish(tmp_path / "aside", "fusion", {"policies.yaml": POLICIES.encode()}, version=2)
        staged.rename(repository / "fusion" / "2")
        await until_policy(stub, "first")
        assert (await stub.GetStatus(pb.GetStatusRequest())).fusion_version == 2


@pytest.mark.parametrize("broken", ["default: 2024-13-45", "default: !!int x", "policies: " + "[" * 5000, "a: \xff"])
async def test_an_older_version_is_used_where_the_newest_is_broken(tmp_path: Path, broken: str) -> None:
    repository = publish_world(tmp_path / "repository")
    publish(repository, "fusion", {"policies.yaml": broken.encode("latin-1")}, version=2)
    async with running(tmp_path) as stub:
        assert (await stub.GetStatus(pb.GetStatusRequest())).fusion_version == 1
        staged = publish(tmp_path / "aside", "fusion", {"policies.yaml": POLICIES.encode()}, version=3)
        staged.rename(repository / "fusion" / "3")
        await until_policy(stub, "first")


def test_whatever_reading_raises_the_old_value_stays_and_a_good_one_is_used() -> None:
    said: list[Any] = [1, RecursionError("deep"), KeyError("maybe"), OverflowError(), ArtifactError("cut", "x"), 2]
    left = iter(said)

    def load() -> int:
        if isinstance(value := next(left), Exception):
            raise value
        return int(value)

    reloaded = Reloaded("tested", itertools.count().__next__, load)
    values = [(reloaded.refresh(), reloaded.value) for _ in said[1:]]
    assert values == [(False, 1)] * 4 + [(True, 2)]
    assert metric("marquee_refused_reloads_total", what="tested") == 4


def test_what_may_pass_is_read_again_without_a_further_change() -> None:
    outcomes: Iterator[str | OSError] = iter(["old", OSError(24, "Too many open files"), "new"])

    def load() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    stamps = iter([1, 2, 2, 2])
    reloaded = Reloaded("policies", lambda: next(stamps), load)
    assert [reloaded.refresh() for _ in range(3)] == [False, True, False]
    assert reloaded.value == "new"


def test_where_no_version_can_be_used_the_start_says_why(tmp_path: Path) -> None:
    repository = publish_world(tmp_path / "repository")

    def read(version: Version) -> int:
        raise RecursionError("deep")

    with pytest.raises(ArtifactError, match="fusion/1: RecursionError: deep"):
        newest_usable(Repository(repository), "fusion", read)


async def test_users_are_split_and_the_answer_names_the_policy(tmp_path: Path) -> None:
    publish_world(tmp_path / "repository")
    path = tmp_path / "policies.yaml"
    path.write_text(POLICIES + "split: {second: 50}\n")
    async with running(tmp_path, f"--policies={path}") as stub:
        first = [(await answered(stub, f"user {number}")).policy for number in range(20)]
        again = [(await answered(stub, f"user {number}")).policy for number in range(20)]
        assert first == again
        assert set(first) == {"first", "second"}


async def test_a_shadow_is_measured_and_never_shown(tmp_path: Path) -> None:
    publish_world(tmp_path / "repository")
    path = tmp_path / "policies.yaml"
    path.write_text(POLICIES + "shadow: {policy: second}\n")
    labels = {"policy": "first", "shadow": "second"}
    before = [metric(f"marquee_shadow_overlap_{name}", **labels) for name in ("count", "sum")]
    async with running(tmp_path, f"--policies={path}") as stub:
        answer = await answered(stub)
        assert [item.item.id for item in answer.items] == ["ten", "9", "8", "7", "6"]  # the shadow's are 2, 3, 4, 5, 6
        assert answer.policy == "first"
        async with asyncio.timeout(10):
            while metric("marquee_shadow_overlap_count", **labels) == before[0]:
                await asyncio.sleep(0.02)
    assert metric("marquee_shadow_overlap_count", **labels) == before[0] + 1
    assert metric("marquee_shadow_overlap_sum", **labels) == pytest.approx(before[1] + 0.2)
