"""A broken version is refused with its reason, and changes nothing for callers."""

import asyncio
import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc.aio import InferenceServerClient as Client
from tritonclient.utils import InferenceServerException

from servers.runtime.errors import RepositoryError
from tests.servers import tiny_artifact
from tests.servers.broken_versions import (
    BROKEN,
    bit_flipped,
    truncated,
    with_an_endless_tower,
    with_nan_in_its_items,
    with_other_scores_than_promised,
)
from tests.servers.in_use import CANDIDATES, HISTORY, index, infer, refusals, until_version
from tests.servers.running import in_process, process, settings


@pytest.mark.parametrize(("damage", "reason", "message"), BROKEN)
async def test_a_broken_version_is_refused_and_the_old_one_serves_on(
    tmp_path: Path, damage: Callable[[Path], None], reason: str, message: str
) -> None:
    tiny = tiny_artifact.publish(tmp_path)
    before = refusals(reason)
    async with in_process(settings(tmp_path, model_control_mode="explicit")) as (program, client):
        damage(tiny_artifact.publish(tmp_path, version=2, scale=2).folder)
        with pytest.raises(InferenceServerException, match=message) as caught:
            await client.load_model("rating")
        assert str(tmp_path) not in str(caught.value)
        version, score = await infer(client)
        assert version == 1
        np.testing.assert_allclose(score, tiny.score(HISTORY, CANDIDATES), atol=1e-5)
        assert program.health.serving()
        assert refusals(reason) == before + 1
        states = await index(client)
        assert states["1"] == "READY"
        assert states["2"] in str(caught.value)


async def test_polling_passes_over_a_broken_version_and_takes_the_next(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    async with in_process(settings(tmp_path, model_control_mode="poll", repository_poll_secs=0.02)) as (_, client):
        before = refusals("checksum")
        for version in (2, 3):
            staged = tiny_artifact.publish(tmp_path / "staging", version=version)
            bit_flipped(staged.folder)
            staged.folder.rename(tmp_path / "rating" / str(version))
            while "sha256" not in (await index(client)).get(str(version), ""):
                await asyncio.sleep(0.01)
        assert refusals("checksum") == before + 2  # once each, although they were seen again and again
        assert (await infer(client))[0] == 1
        tiny_artifact.publish(tmp_path, version=4)
        await until_version(client, 4)


async def test_a_version_that_arrives_while_it_is_looked_at_is_used_once_it_is_whole(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    async with in_process(settings(tmp_path, model_control_mode="poll", repository_poll_secs=0.02)) as (_, client):
        whole, arriving = tiny_artifact.publish(tmp_path / "staging", version=2).folder, tmp_path / "rating" / "2"
        arriving.mkdir()
        before = refusals("missing_file")
        for file in sorted(whole.iterdir()):  # as cp does: index.faiss, items.safetensors, manifest.json ...
            shutil.copyfile(file, arriving / file.name)
            if file.name == "manifest.json":
                while "cannot read" not in (await index(client)).get("2", ""):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.2)
                assert refusals("missing_file") == before + 1  # not once a poll: nothing has changed
        await until_version(client, 2)


async def test_a_version_that_could_not_be_read_for_a_while_is_used_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_artifact.publish(tmp_path)
    async with in_process(settings(tmp_path, model_control_mode="poll", repository_poll_secs=0.02)) as (_, client):

        def no_descriptor(path: Path) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr("servers.runtime.repository.open_regular", no_descriptor)
            tiny_artifact.publish(tmp_path, version=2)
            while "Too many open files" not in (await index(client)).get("2", ""):
                await asyncio.sleep(0.01)
        await until_version(client, 2)


async def test_a_version_that_never_finishes_loading_stops_nothing(tmp_path: Path) -> None:
    """Neither calls, nor polling, nor the end of the process."""
    tiny_artifact.publish(tmp_path)
    flags = ["--model-control-mode", "poll", "--repository-poll-secs", "0.05", "--load-timeout-secs", "2"]
    with process("rating", tmp_path, *flags) as server:
        async with Client(server.grpc_address) as client:
            staged = tiny_artifact.publish(tmp_path / "staging", version=2).folder
            with_an_endless_tower(staged)
            staged.rename(tmp_path / "rating" / "2")
            while "not loaded within 2 seconds" not in (await index(client)).get("2", ""):
                assert (await infer(client))[0] == 1
                await asyncio.sleep(0.05)
            tiny_artifact.publish(tmp_path, version=3)
            await until_version(client, 3)
        server.process.terminate()
        assert await asyncio.to_thread(server.process.wait, 20) == 0


async def test_a_start_passes_over_broken_versions(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    truncated(tiny_artifact.publish(tmp_path, version=2).folder)
    with_other_scores_than_promised(tiny_artifact.publish(tmp_path, version=3).folder)
    async with in_process(settings(tmp_path)) as (_, client):
        assert (await infer(client))[0] == 1


async def test_a_start_without_a_whole_version_fails(tmp_path: Path) -> None:
    with_nan_in_its_items(tiny_artifact.publish(tmp_path).folder)
    with pytest.raises(RepositoryError, match="no version of 'rating' can be used: rating/1: item_vector"):
        async with in_process(settings(tmp_path)):
            pass
