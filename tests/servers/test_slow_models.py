"""A slow model holds up the calls that wait for it, up to their deadlines, and nothing else."""

import asyncio
import threading
from pathlib import Path

import pytest
from tritonclient.utils import InferenceServerException

from servers.scorer import LoadedScorer
from servers.signature import Arrays
from tests.servers import tiny_artifact
from tests.servers.running import in_process, settings, tensors

SLOW = 666
"""The candidate that the model takes long for."""


async def test_a_slow_model_holds_up_nothing_but_the_compute_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_artifact.publish(tmp_path)
    score, busy, go = LoadedScorer.score, threading.Event(), threading.Event()

    def slow(self: LoadedScorer, inputs: Arrays) -> Arrays:
        if SLOW in inputs["candidate"]:
            busy.set()
            assert go.wait(20)
        return score(self, inputs)

    monkeypatch.setattr(LoadedScorer, "score", slow)
    async with in_process(settings(tmp_path)) as (_, client):
        held = asyncio.create_task(client.infer("rating", tensors({"candidate": [[SLOW]]})))
        assert await asyncio.to_thread(busy.wait, 20)
        assert await client.is_server_live()
        assert await client.is_model_ready("rating_similar")
        assert await client.get_inference_statistics("rating")
        with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
            await client.infer("rating_similar", tensors({"item": [[3]]}), client_timeout=0.05)
        waiting = asyncio.create_task(client.infer("rating_similar", tensors({"item": [[3]]})))
        assert not held.done()
        go.set()
        assert (await held).as_numpy("score").shape == (1, 1)
        assert (await waiting).as_numpy("item").shape == (1, 10)


async def test_a_call_without_a_deadline_waits_no_longer_than_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_artifact.publish(tmp_path)
    score, go = LoadedScorer.score, threading.Event()

    def slow(self: LoadedScorer, inputs: Arrays) -> Arrays:
        assert SLOW not in inputs["candidate"] or go.wait(20)
        return score(self, inputs)

    monkeypatch.setattr(LoadedScorer, "score", slow)
    async with in_process(settings(tmp_path, default_timeout_secs=0.2)) as (_, client):
        for _ in range(2):  # the one that is computed, and the one that waits
            with pytest.raises(InferenceServerException, match=r"there was no answer within 0\.2 seconds"):
                await client.infer("rating", tensors({"candidate": [[SLOW]]}))
        go.set()
        assert (await client.infer("rating", tensors({"candidate": [[3]]}))).as_numpy("score").shape == (1, 1)
