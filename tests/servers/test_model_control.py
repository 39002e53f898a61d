"""Versions come and go under a server, and no call is lost and no answer mixes two of them."""

import asyncio
import json
import shutil
import time
import weakref
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY
from pydantic import ValidationError
from tritonclient.utils import InferenceServerException

from servers.loading import load
from servers.runtime.errors import RepositoryError
from servers.scorer import LoadedScorer
from tests.servers import tiny_artifact
from tests.servers.in_use import CANDIDATES, HISTORY, infer, until_version
from tests.servers.running import in_process, settings
from training.artifacts.repository import roll_back


async def test_polling_changes_versions_under_load_without_losing_or_mixing_anything(tmp_path: Path) -> None:
    """Version v scales all scores by v, so that each answer shows which version computed it."""
    base = tiny_artifact.publish(tmp_path, version=1).score(HISTORY, CANDIDATES)
    seen: set[int] = set()
    async with in_process(settings(tmp_path, model_control_mode="poll", repository_poll_secs=0.02)) as (_, client):

        async def keep_calling() -> None:
            while max(seen, default=0) < 6:
                version, score = await infer(client)
                np.testing.assert_allclose(score, base * version, atol=1e-4)
                seen.add(version)

        callers = [asyncio.create_task(keep_calling()) for _ in range(4)]
        for version in range(2, 7):
            await asyncio.to_thread(tiny_artifact.publish, tmp_path, version=version, scale=version)
            await until_version(client, version)
        await asyncio.gather(*callers)
        assert seen == {1, 2, 3, 4, 5, 6}
        shutil.rmtree(tmp_path / "rating" / "6")
        await until_version(client, 5)  # taking the newest away goes back to the one before


async def test_a_rollback_is_picked_up_like_any_new_version(tmp_path: Path) -> None:
    base = tiny_artifact.publish(tmp_path, version=1).score(HISTORY, CANDIDATES)
    tiny_artifact.publish(tmp_path, version=2, scale=2)
    async with in_process(settings(tmp_path, model_control_mode="poll", repository_poll_secs=0.02)) as (_, client):
        await until_version(client, 2)
        await asyncio.to_thread(roll_back, tmp_path, "rating")
        await until_version(client, 3)
        np.testing.assert_allclose((await infer(client))[1], base, atol=1e-4)


async def test_clients_load_point_back_and_unload(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    async with in_process(settings(tmp_path, model_control_mode="explicit")) as (program, client):
        tiny_artifact.publish(tmp_path, version=2, scale=2)
        assert (await infer(client))[0] == 1  # nothing changes until it is requested
        await client.load_model("rating_retrieve")  # the three models of a scorer change together
        assert (await infer(client))[0] == 2
        await client.load_model("rating", config=json.dumps({"version_policy": {"specific": {"versions": [1]}}}))
        assert (await infer(client))[0] == 1
        await client.unload_model("rating")
        assert not await client.is_server_ready()
        assert not await client.is_model_ready("rating")
        assert not program.health.serving("rating")
        with pytest.raises(InferenceServerException, match="'rating' is not loaded"):
            await infer(client)
        await client.load_model("rating")
        assert (await infer(client))[0] == 2
        assert await client.is_server_ready()


def policy(version: str) -> str:
    return f'{{"version_policy": {{"specific": {{"versions": [{version}]}}}}}}'


async def test_what_is_unloaded_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_artifact.publish(tmp_path)
    scorers: list[weakref.ref[LoadedScorer]] = []

    def loaded(*arguments: Any, **options: Any) -> LoadedScorer:
        scorer = load(*arguments, **options)
        scorers.append(weakref.ref(scorer))
        return scorer

    monkeypatch.setattr("servers.server.load", loaded)
    async with in_process(settings(tmp_path, model_control_mode="explicit")) as (_, client):
        assert (await infer(client))[0] == 1
        await client.unload_model("rating")
        for metric in ("marquee_model_version", "marquee_model_loaded_timestamp_seconds", "marquee_index_items"):
            assert REGISTRY.get_sample_value(metric, {"model": "rating"}) == 0
        assert REGISTRY.get_sample_value("marquee_waiting_rows", {"model": "rating"}) == 0
        assert [scorer() for scorer in scorers] == [None]


async def test_one_version_is_loaded_at_a_time_though_callers_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_artifact.publish(tmp_path)
    loading, max_loading = [0], [0]

    def slow(*arguments: Any, **options: Any) -> LoadedScorer:
        loading[0] += 1
        max_loading[0] = max(max_loading[0], loading[0])
        time.sleep(0.2)
        loading[0] -= 1
        return load(*arguments, **options)

    monkeypatch.setattr("servers.server.load", slow)
    async with in_process(settings(tmp_path, model_control_mode="explicit")) as (_, client):
        for _ in range(3):
            with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
                await client.load_model("rating", client_timeout=0.05)
        await client.load_model("rating")
    assert max_loading == [1]


async def test_errors_of_load_requests_name_what_is_wrong(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    async with in_process(settings(tmp_path, model_control_mode="explicit")) as (_, client):
        for model, config, message in (
            ("other", None, "no model 'other' here"),
            ("x" * 20_000, None, "no model 'x{100}'... here"),
            ("rating", "{", "'config' must be JSON"),
            ("rating", "[" * 5_000, "'config' must be JSON"),
            ("rating", " " * 20_000, "'config' has 20000 characters; the limit is 10000"),
            *(
                ("rating", policy(number), "one specific version")
                for number in ("1e400", "1.9", "true", "0", "9" * 400)
            ),
            ("rating", json.dumps({"version_policy": {"specific": {"versions": [1, 2]}}}), "one specific version"),
            ("rating", json.dumps({"version_policy": {"specific": {"versions": [9]}}}), "rating/9 is not in the model"),
        ):
            with pytest.raises(InferenceServerException, match=message):
                await client.load_model(model, config=config)
        assert (await infer(client))[0] == 1


async def test_watchers_see_a_model_go_and_come_back(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    async with (
        in_process(settings(tmp_path, model_control_mode="explicit")) as (program, client),
        grpc.aio.insecure_channel(program.grpc_address) as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="rating")
        leaves, stays = stub.Watch(request), stub.Watch(request)
        assert (await leaves.read()).status == (await stays.read()).status == health_pb2.HealthCheckResponse.SERVING
        leaves.cancel()  # must not end the news for the other
        await client.unload_model("rating")
        assert (await stays.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await client.load_model("rating")
        assert (await stays.read()).status == health_pb2.HealthCheckResponse.SERVING


async def test_while_nothing_is_published_a_polling_server_is_alive_and_waits(tmp_path: Path) -> None:
    polling = settings(tmp_path, model_control_mode="poll", repository_poll_secs=0.05)
    async with in_process(polling) as (program, client):
        assert await client.is_server_live()
        assert (await client.is_server_ready(), program.health.ready()) == (False, False)
        assert (program.health.serving(""), program.health.serving("rating")) == (True, False)
        with pytest.raises(InferenceServerException, match="'rating' is not loaded"):
            await infer(client)
        tiny_artifact.publish(tmp_path)
        while not program.health.serving("rating"):
            await asyncio.sleep(0.01)
        assert (await client.is_server_ready(), (await infer(client))[0]) == (True, 1)


async def test_a_server_that_is_not_to_wait_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="no version of 'rating' can be used: there is none"):
        async with in_process(settings(tmp_path, model_control_mode="poll", wait_for_models=False)):
            pass
    with pytest.raises(ValidationError, match="--wait-for-models needs"):
        settings(tmp_path, wait_for_models=True)
