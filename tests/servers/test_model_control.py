"""Versions come and go under a server: no call is lost, no answer mixes two, and a broken version changes nothing."""

import asyncio
import errno
import json
import os
import shutil
import struct
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import grpc
import numpy as np
import onnx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnx import TensorProto, helper, numpy_helper
from prometheus_client import REGISTRY
from safetensors.numpy import load_file, save_file
from tritonclient.grpc import service_pb2_grpc
from tritonclient.grpc.aio import InferenceServerClient as Client
from tritonclient.utils import InferenceServerException

from servers.loading import load
from servers.runtime.errors import RepositoryError
from servers.runtime.tensors import infer_request
from servers.scorer import LoadedScorer
from servers.signature import Arrays
from tests.servers import tiny_artifact
from tests.servers.running import in_process, process, settings, tensors
from tests.servers.tiny_artifact import seal

HISTORY, CANDIDATES = [3, 5], [3, 7, 9]
SLOW = 666
ASKED = tensors({"history_item": [HISTORY], "candidate": [CANDIDATES]})


async def ask(client: Client, model: str = "rating") -> tuple[int, Any]:
    """The version that answered, and its scores."""
    answer = await client.infer(model, ASKED)
    return int(answer.get_response().model_version), answer.as_numpy("score")[0]


async def until_version(client: Client, version: int) -> None:
    while (await ask(client))[0] != version:
        await asyncio.sleep(0.01)


async def index(client: Client) -> dict[str, str]:
    """What is said of each version of the scorer."""
    rows = (await client.get_model_repository_index()).models
    return {row.version: row.reason or row.state for row in rows if row.name == "rating"}


def refusals(reason: str) -> float:
    labels = {"model": "rating", "reason": reason}
    return REGISTRY.get_sample_value("marquee_refused_versions_total", labels) or 0


async def test_polling_changes_versions_under_load_without_losing_or_mixing_anything(tmp_path: Path) -> None:
    """Version v scales all scores by v, so that each answer tells which version computed it."""
    base = tiny_artifact.publish(tmp_path, version=1).score(HISTORY, CANDIDATES)
    seen: set[int] = set()
    async with in_process(settings(tmp_path, model_control_mode="poll", repository_poll_secs=0.02)) as (_, client):

        async def keep_asking() -> None:
            while max(seen, default=0) < 6:
                version, score = await ask(client)
                np.testing.assert_allclose(score, base * version, atol=1e-4)
                seen.add(version)

        callers = [asyncio.create_task(keep_asking()) for _ in range(4)]
        for version in range(2, 7):
            await asyncio.to_thread(tiny_artifact.publish, tmp_path, version=version, scale=version)
            await until_version(client, version)
        await asyncio.gather(*callers)
        assert seen == {1, 2, 3, 4, 5, 6}
        shutil.rmtree(tmp_path / "rating" / "6")
        await until_version(client, 5)  # taking the newest away goes back to the one before


def truncated(folder: Path) -> None:
    path = folder / "items.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def bit_flipped(folder: Path) -> None:
    content = bytearray((folder / "query_tower.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "query_tower.onnx").write_bytes(content)


def without_a_file(folder: Path) -> None:
    (folder / "index.faiss").unlink()


def with_a_file_that_no_manifest_names(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["files"].pop(0))


def with_a_path_out_of_its_folder(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["files"][0].update(path="../1/index.faiss"))


def with_a_pipe_for_a_file(folder: Path) -> None:
    (folder / "index.faiss").unlink()
    os.mkfifo(folder / "index.faiss")
    change_manifest(folder, lambda manifest: manifest["files"][1].update(size_bytes=0))


def with_a_pipe_for_a_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


def with_links_in_a_circle(folder: Path) -> None:
    (folder / "index.faiss").unlink()
    (folder / "index.faiss").symlink_to("index.faiss")


def with_a_nul_in_a_path(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["files"][0].update(path="a\0b" + "c" * 20_000))


def with_a_file_twice(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["files"].append({**manifest["files"][0], "path": "./golden.npz"}))


def with_many_files(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["files"].extend(manifest["files"][:1] * 20_000))


def with_a_deep_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[" * 100_000)


def of_another_model(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest.update(model="sequential"))


def of_another_engine(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["scorer"].update(engine="torchscript"))


def with_half_a_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"model": "rating", ')


def with_nan_in_its_items(folder: Path) -> None:
    change_items(folder, lambda items: items["item_vector"].__setitem__((1, 1), np.nan))


def with_nan_in_its_tower(folder: Path) -> None:
    tower = onnx.load(str(folder / "query_tower.onnx"))
    table = numpy_helper.to_array(tower.graph.initializer[0]) * np.float32(np.nan)
    tower.graph.initializer[0].CopyFrom(numpy_helper.from_array(table, "table"))
    onnx.save(tower, str(folder / "query_tower.onnx"))
    seal(folder)


def with_an_endless_tower(folder: Path) -> None:
    """Counts to 2^62 before it answers."""
    tower = onnx.load(str(folder / "query_tower.onnx"))
    body = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("go_on", "value")],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value_out", TensorProto.FLOAT, None),
        ],
    )
    for name, value in (("turns", np.array(2**62)), ("always", np.array(True))):
        tower.graph.initializer.append(numpy_helper.from_array(value, name))
    tower.graph.node[-1].output[0] = "counted"
    tower.graph.node.append(helper.make_node("Loop", ["turns", "always", "counted"], ["query"], body=body))
    onnx.save(tower, str(folder / "query_tower.onnx"))
    seal(folder)


def with_other_scores_than_promised(folder: Path) -> None:
    change_items(folder, lambda items: items["item_vector"].__imul__(1.01))


def with_fewer_similar_vectors(folder: Path) -> None:
    change_items(folder, lambda items: items.update(similar_vector=items["similar_vector"][1:].copy()))


def with_vectors_of_another_width(folder: Path) -> None:
    change_items(folder, lambda items: items.update(item_vector=items["item_vector"][:, 1:].copy()))


def with_items_out_of_order(folder: Path) -> None:
    change_items(folder, lambda items: items.update(item_number=items["item_number"][::-1].copy()))


def with_pickled_golden_samples(folder: Path) -> None:
    with (folder / "golden.npz").open("wb") as stream:
        np.savez(stream, score=np.array([{}], object))
    seal(folder)


def with_an_index(folder: Path, index: Any) -> None:
    index.add(load_file(folder / "items.safetensors")["item_vector"])
    faiss.write_index(index, str(folder / "index.faiss"))
    seal(folder)


def with_an_index_by_distance(folder: Path) -> None:
    with_an_index(folder, faiss.IndexFlatL2(tiny_artifact.DIMENSION))


def with_an_index_of_other_vectors(folder: Path) -> None:
    vectors = load_file(folder / "items.safetensors")["item_vector"]
    index: Any = faiss.IndexFlatIP(tiny_artifact.DIMENSION)
    index.add(np.random.default_rng(1).permutation(vectors))
    faiss.write_index(index, str(folder / "index.faiss"))
    seal(folder)


def with_an_index_that_needs_another_file(folder: Path) -> None:
    vectors = load_file(folder / "items.safetensors")["item_vector"]
    index: Any = faiss.index_factory(tiny_artifact.DIMENSION, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    module: Any = faiss
    inside = module.InvertedListsPtrVector()
    inside.push_back(index.invlists)
    lists: Any = faiss.OnDiskInvertedLists(4, index.code_size, str(folder / "lists.bin"))
    lists.merge_from_multiple(inside.data(), inside.size())
    index.replace_invlists(lists)
    faiss.write_index(index, str(folder / "index.faiss"))
    seal(folder)
    change_manifest(folder, lambda manifest: manifest["files"].pop(3))


def with_an_index_that_declares_gigabytes(folder: Path) -> None:
    path, floats, many = folder / "index.faiss", 30 * tiny_artifact.DIMENSION, 1 << 32
    content = path.read_bytes().replace(struct.pack("<q", 30), struct.pack("<q", many))
    path.write_bytes(content.replace(struct.pack("<q", floats), struct.pack("<q", many * tiny_artifact.DIMENSION)))
    seal(folder)


def with_golden_samples(folder: Path, **changes: Any) -> None:
    with np.load(folder / "golden.npz") as golden:
        np.savez_compressed(folder / "golden.npz", **{**golden, **changes})
    seal(folder)


def with_golden_samples_of_gigabytes(folder: Path) -> None:
    with_golden_samples(folder, padding=np.zeros(100 << 20, np.uint8))


def without_golden_requests(folder: Path) -> None:
    with np.load(folder / "golden.npz") as golden:
        none = {name: array[:0] for name, array in golden.items()}
    with_golden_samples(folder, **none)


def without_golden_candidates(folder: Path) -> None:
    with np.load(folder / "golden.npz") as golden:
        with_golden_samples(folder, candidate=golden["candidate"][:, :0], score=golden["score"][:, :0])


def without_golden_scores(folder: Path) -> None:
    with np.load(folder / "golden.npz") as golden:
        with_golden_samples(folder, history_item=golden["history_item"] * 0, score=golden["score"] * np.float32("nan"))


def with_one_golden_score(folder: Path) -> None:
    with np.load(folder / "golden.npz") as golden:
        with_golden_samples(folder, score=golden["score"][:, :1])


def with_any_golden_score(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["scorer"].update(golden_tolerance=1e30))


def with_an_infinite_tolerance(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["scorer"].update(golden_tolerance="Infinity"))


def with_less_than_no_history(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["scorer"].update(max_history=-5))


def with_a_user_beyond_the_last(folder: Path) -> None:
    users = load_file(folder / "users.safetensors")
    save_file({**users, "user_index": np.array([1, 2, 99])}, folder / "users.safetensors")
    seal(folder)


def with_a_tower_that_does_not_know_the_last_item(folder: Path) -> None:
    change_items(folder, lambda items: items.update({name: np.concatenate([items[name]] * 20) for name in items}))
    change_items(folder, lambda items: items["item_number"][30:].__imul__(0).__iadd__(range(70, 640)))
    with_an_index(folder, faiss.IndexFlatIP(tiny_artifact.DIMENSION))


def with_long_similar_vectors(folder: Path) -> None:
    change_items(folder, lambda items: items["similar_vector"].__imul__(2))


def with_a_long_header(folder: Path) -> None:
    path = folder / "items.safetensors"
    content = path.read_bytes()
    length, blanks = int.from_bytes(content[:8], "little"), 2 << 20
    path.write_bytes(
        (length + blanks).to_bytes(8, "little") + content[8 : 8 + length] + b" " * blanks + content[8 + length :]
    )
    seal(folder)


def with_weights_in_another_file(folder: Path) -> None:
    path = folder / "query_tower.onnx"
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="weights.bin", size_threshold=100)
    seal(folder)


def change_items(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    items = {name: array.copy() for name, array in load_file(folder / "items.safetensors").items()}
    change(items)
    save_file(items, folder / "items.safetensors")
    seal(folder)


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


BROKEN = [
    (truncated, "truncated", "rating/2: items.safetensors has .* bytes instead of"),
    (bit_flipped, "checksum", "rating/2: query_tower.onnx does not match its sha256"),
    (without_a_file, "missing_file", "rating/2: cannot read index.faiss"),
    (with_a_file_that_no_manifest_names, "missing_file", "rating/2: the manifest names no golden.npz"),
    (with_a_path_out_of_its_folder, "manifest", "is outside the version's folder"),
    (with_a_pipe_for_a_file, "missing_file", "rating/2: cannot read index.faiss: not a regular file"),
    (with_a_pipe_for_a_manifest, "missing_file", "rating/2: cannot read manifest.json: not a regular file"),
    (with_links_in_a_circle, "manifest", "rating/2: 'index.faiss' is not a path"),
    (with_a_nul_in_a_path, "manifest", r"rating/2: 'a\\x00bc{97}'... is not a path"),
    (with_a_file_twice, "manifest", "rating/2: its manifest names './golden.npz' twice"),
    (with_many_files, "manifest", "rating/2: its manifest names 20005 files; 1 to 100 are taken"),
    (with_a_deep_manifest, "manifest", "rating/2: manifest.json is malformed"),
    (of_another_model, "manifest", "rating/2: its manifest is of sequential/2"),
    (of_another_engine, "manifest", "engine 'torchscript' is not known"),
    (with_half_a_manifest, "manifest", "rating/2: manifest.json is malformed"),
    (with_nan_in_its_items, "malformed", "item_vector has values that are not finite"),
    (with_nan_in_its_tower, "golden", "golden scores are off by more than 0.0001"),
    (with_other_scores_than_promised, "golden", "golden scores are off"),
    (with_fewer_similar_vectors, "malformed", "similar_vector does not fit item_number"),
    (with_vectors_of_another_width, "malformed", r"item_vector is not \[30, 4\]"),
    (with_items_out_of_order, "malformed", "item_number is not ascending from 1"),
    (with_pickled_golden_samples, "malformed", "its files cannot be loaded"),
    (with_an_index_by_distance, "malformed", "index.faiss is not by inner product"),
    (with_an_index_of_other_vectors, "golden", r"the index finds 0\.\d\d of the items with the best scores"),
    (with_an_index_that_needs_another_file, "manifest", "index.faiss needs a file that no manifest names"),
    (with_an_index_that_declares_gigabytes, "malformed", "its files cannot be loaded"),
    (with_golden_samples_of_gigabytes, "size", r"golden.npz has \d+ bytes of arrays; the limit is 67108864"),
    (without_golden_requests, "malformed", "its files cannot be loaded"),
    (without_golden_candidates, "golden", "there is no golden score"),
    (without_golden_scores, "golden", "there is no golden score"),
    (with_one_golden_score, "golden", r"golden scores are \[3, 1\]; their requests make \[3, 7\]"),
    (with_any_golden_score, "golden", r"golden scores may be off by 1e\+30; the limit is 0.01"),
    (with_an_infinite_tolerance, "golden", "golden scores may be off by inf; the limit is 0.01"),
    (with_less_than_no_history, "malformed", "max_history is -5"),
    (with_a_user_beyond_the_last, "malformed", "its files cannot be loaded"),
    (with_a_tower_that_does_not_know_the_last_item, "malformed", "its files cannot be loaded"),
    (with_long_similar_vectors, "malformed", "similar_vector is not of unit length"),
    (with_a_long_header, "size", r"items.safetensors has \d+ bytes of names and shapes; the limit is 1048576"),
    (with_weights_in_another_file, "malformed", "its files cannot be loaded"),
]


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
        version, score = await ask(client)
        assert version == 1
        np.testing.assert_allclose(score, tiny.score(HISTORY, CANDIDATES), atol=1e-5)
        assert program.health.serving()
        assert refusals(reason) == before + 1
        told = await index(client)
        assert told["1"] == "READY"
        assert told["2"] in str(caught.value)


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
        assert (await ask(client))[0] == 1
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
                assert (await ask(client))[0] == 1
                await asyncio.sleep(0.05)
            tiny_artifact.publish(tmp_path, version=3)
            await until_version(client, 3)
        server.process.terminate()
        assert await asyncio.to_thread(server.process.wait, 20) == 0


async def test_clients_load_point_back_and_unload(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    async with in_process(settings(tmp_path, model_control_mode="explicit")) as (program, client):
        tiny_artifact.publish(tmp_path, version=2, scale=2)
        assert (await ask(client))[0] == 1  # nothing changes until it is asked for
        await client.load_model("rating_retrieve")  # the three models of a scorer change together
        assert (await ask(client))[0] == 2
        await client.load_model("rating", config=json.dumps({"version_policy": {"specific": {"versions": [1]}}}))
        assert (await ask(client))[0] == 1
        await client.unload_model("rating")
        assert not await client.is_server_ready()
        assert not await client.is_model_ready("rating")
        assert not program.health.serving("rating")
        with pytest.raises(InferenceServerException, match="'rating' is not loaded"):
            await ask(client)
        await client.load_model("rating")
        assert (await ask(client))[0] == 2
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
        assert (await ask(client))[0] == 1
        await client.unload_model("rating")
        for metric in ("marquee_model_version", "marquee_model_loaded_timestamp_seconds", "marquee_index_items"):
            assert REGISTRY.get_sample_value(metric, {"model": "rating"}) == 0
        assert REGISTRY.get_sample_value("marquee_waiting_rows", {"model": "rating"}) == 0
        assert [scorer() for scorer in scorers] == [None]


async def test_one_version_is_loaded_at_a_time_though_callers_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_artifact.publish(tmp_path)
    loading, most = [0], [0]

    def slow(*arguments: Any, **options: Any) -> LoadedScorer:
        loading[0] += 1
        most[0] = max(most[0], loading[0])
        time.sleep(0.2)
        loading[0] -= 1
        return load(*arguments, **options)

    monkeypatch.setattr("servers.server.load", slow)
    async with in_process(settings(tmp_path, model_control_mode="explicit")) as (_, client):
        for _ in range(3):
            with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
                await client.load_model("rating", client_timeout=0.05)
        await client.load_model("rating")
    assert most == [1]


async def test_bad_load_requests_are_told_what_is_wrong(tmp_path: Path) -> None:
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
        assert (await ask(client))[0] == 1


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


async def test_calls_of_a_stream_that_is_left_are_not_computed(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)

    def told(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, {"model": "rating", **labels}) or 0

    before = told("marquee_refused_calls_total", reason="CancelledError")
    async with (
        in_process(settings(tmp_path, max_queue_delay_us=5_000_000)) as (program, _),
        grpc.aio.insecure_channel(program.grpc_address) as channel,
    ):
        stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer()
        for _ in range(3):
            await stream.write(infer_request("rating", {"candidate": np.array([[3]])}))
        while told("marquee_waiting_rows") < 3:
            await asyncio.sleep(0.01)
        stream.cancel()
        while told("marquee_waiting_rows"):
            await asyncio.sleep(0.01)
    assert told("marquee_refused_calls_total", reason="CancelledError") == before + 3


async def test_a_stream_whose_answers_nobody_reads_is_left_unread(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    sent, request = 60, infer_request("rating", {"candidate": np.full((10, 20_000), 3)})  # 1.6 MB, answered with half
    async with (
        in_process(settings(tmp_path)) as (program, client),
        grpc.aio.insecure_channel(program.grpc_address) as channel,
    ):
        stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer()

        async def answered() -> int:
            return int((await client.get_inference_statistics("rating")).model_stats[0].inference_stats.success.count)

        async def send() -> None:
            for _ in range(sent):
                await stream.write(request)
            await stream.done_writing()

        sending = asyncio.create_task(send())
        while await answered() < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        assert await answered() < 15
        answers = [answer async for answer in stream]
        await sending
    assert [answer.error_message for answer in answers] == [""] * sent


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


async def test_a_message_in_a_stream_that_cannot_be_read_is_an_invalid_argument(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    async with (
        in_process(settings(tmp_path)) as (program, _),
        grpc.aio.insecure_channel(program.grpc_address) as channel,
    ):
        stream: Any = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
        call = stream()
        await call.write(infer_request("rating", {"candidate": np.array([[3]])}).SerializeToString())
        await call.write(b"\xff\xff\xff")
        assert await call.read()
        assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_start_passes_over_broken_versions(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    truncated(tiny_artifact.publish(tmp_path, version=2).folder)
    with_other_scores_than_promised(tiny_artifact.publish(tmp_path, version=3).folder)
    async with in_process(settings(tmp_path)) as (_, client):
        assert (await ask(client))[0] == 1


async def test_a_start_without_a_whole_version_fails(tmp_path: Path) -> None:
    with_nan_in_its_items(tiny_artifact.publish(tmp_path).folder)
    with pytest.raises(RepositoryError, match="no version of 'rating' can be used: rating/1: item_vector"):
        async with in_process(settings(tmp_path)):
            pass
