"""What every model server promises to any client of the Open Inference Protocol, whatever its scorer."""

import asyncio
import queue
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from servers.runtime.tensors import infer_request
from tests.servers import tiny_artifact
from tests.servers.running import Running, k, process, tensors
from tests.servers.tiny_artifact import Tiny

Ask = Callable[..., Any]
"""ask(address, model, arrays, **options) -> InferResult, whichever client is behind it."""


@pytest.fixture(scope="module", params=["rating", "sequential", "visual_temporal", "a_fourth-one"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tiny(name: str, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_artifact.publish(tmp_path_factory.mktemp("repository"), name)


@pytest.fixture(scope="module")
def server(name: str, tiny: Tiny) -> Iterator[Running]:
    flags = ["--max-batch-size", "4", "--max-queue-size", "64", "--max-candidates", "100", "--max-k", "50"]
    flags += ["--max-history", "80", "--max-allowed", "60"]
    with process(name, tiny.folder.parents[1], *flags) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.grpc_address) as client:
        yield client


@pytest.fixture
def stub(server: Running) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def ask_sync(address: str, model: str, arrays: dict[str, Any], **options: Any) -> Any:
    with triton.InferenceServerClient(address) as client:
        return client.infer(model, tensors(arrays), **options)


def ask_aio(address: str, model: str, arrays: dict[str, Any], **options: Any) -> Any:
    async def ask() -> Any:
        async with triton_aio.InferenceServerClient(address) as client:
            return await client.infer(model, tensors(arrays), **options)

    return asyncio.run(ask())


def ask_stream(address: str, model: str, arrays: dict[str, Any], **options: Any) -> Any:
    answers: queue.Queue[Any] = queue.Queue()
    with triton.InferenceServerClient(address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        client.async_stream_infer(model, tensors(arrays), **options)
        result, error = answers.get(timeout=20)
        client.stop_stream()
    if error:
        raise error
    return result


@pytest.fixture(params=[ask_sync, ask_aio, ask_stream])
def ask(request: pytest.FixtureRequest) -> Ask:
    return request.param  # type: ignore[no-any-return]


def test_scores_are_right_with_every_client(server: Running, tiny: Tiny, name: str, ask: Ask) -> None:
    histories = [[0, 3, 5], [999, 9, 9], [0, 0, 0]]
    candidates = [[3, 7, 0, 999]] * 3
    answer = ask(server.grpc_address, name, {"history_item": histories, "candidate": candidates}).as_numpy("score")
    expected = [tiny.score(h, c) for h, c in zip(histories, candidates, strict=True)]
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_retrieval_is_right_with_every_client(server: Running, tiny: Tiny, name: str, ask: Ask) -> None:
    answer = ask(server.grpc_address, f"{name}_retrieve", {"history_item": [[3, 5]], "k": k(6)})
    np.testing.assert_array_equal(answer.as_numpy("item")[0], tiny.best([3, 5], 6))


def test_retrieval_among_allowed_items_with_every_client(server: Running, tiny: Tiny, name: str, ask: Ask) -> None:
    arrays = {"history_item": [[3, 5]] * 3, "k": np.full((3, 1), 4, np.int32)}
    allowed = [[5, 7, 61, 999], [0, 0, 0, 0], [999, 2, 0, 0]]
    answer = ask(server.grpc_address, f"{name}_retrieve", {**arrays, "allowed": allowed}).as_numpy("item")
    best = tiny.best([3, 5], 30)
    np.testing.assert_array_equal(answer[0], [*best[np.isin(best, [7, 61])], 0, 0])
    np.testing.assert_array_equal(answer[1], best[:4])
    np.testing.assert_array_equal(answer[2], [0, 0, 0, 0])


async def test_callers_with_and_without_allowed_items_share_a_batch(server: Running, tiny: Tiny, name: str) -> None:
    best = tiny.best([3], 30)
    allowed = {number: best[number : 2 * number + 1] for number in range(1, 10)}
    async with triton_aio.InferenceServerClient(server.grpc_address) as client:

        async def ask(number: int) -> np.ndarray[Any, Any]:
            limited = {"allowed": allowed[number][None]} if number in allowed else {}
            answer = await client.infer(f"{name}_retrieve", tensors({"history_item": [[3]], "k": k(2), **limited}))
            return answer.as_numpy("item")[0]  # type: ignore[no-any-return]

        answers = await asyncio.gather(*map(ask, range(20)))
    for number, answer in enumerate(answers):
        np.testing.assert_array_equal(answer, allowed.get(number, best)[:2])


def test_similar_items_with_every_client(server: Running, tiny: Tiny, name: str, ask: Ask) -> None:
    answer = ask(server.grpc_address, f"{name}_similar", {"item": [[3]]})
    assert answer.as_numpy("item").shape == (1, 10)
    assert 3 not in answer.as_numpy("item")


def test_ids_are_echoed_and_versions_named(server: Running, name: str, ask: Ask) -> None:
    for version in ("", "1"):
        answer = ask(server.grpc_address, name, {"candidate": [[3]]}, request_id="Ω-7", model_version=version)
        assert (answer.get_response().id, answer.get_response().model_version) == ("Ω-7", "1")


def test_only_the_requested_outputs_are_returned(server: Running, name: str, ask: Ask) -> None:
    requested = [triton.InferRequestedOutput("score")]
    answer = ask(server.grpc_address, f"{name}_retrieve", {"history_item": [[3]]}, outputs=requested)
    assert [output.name for output in answer.get_response().outputs] == ["score"]


def test_strings_are_bytes_of_any_alphabet(server: Running, tiny: Tiny, name: str, ask: Ask) -> None:
    users = np.array([["Zoë".encode()], ["東京 🎬".encode()], [b""], [b"\xff\x00"]], object)
    arrays = {"user_id": users, "history_item": [[3, 5]] * 4, "candidate": [[7]] * 4}
    answer = ask(server.grpc_address, name, arrays).as_numpy("score")
    np.testing.assert_allclose(answer, [tiny.score([3, 5], [7])] * 4, atol=1e-5)


def test_a_timeout_in_microseconds_is_kept_and_unknown_parameters_are_ignored(
    server: Running, name: str, ask: Ask
) -> None:
    with pytest.raises(InferenceServerException, match="the deadline passed while the call waited"):
        ask(server.grpc_address, name, {"candidate": [[3]]}, timeout=1)
    assert ask(server.grpc_address, name, {"candidate": [[3]]}, timeout=10_000_000, parameters={"colour": "blue"})


FLOAT = np.array([[1.0]], np.float32)
BAD_REQUESTS: list[tuple[str, dict[str, Any], str]] = [
    ("", {}, "tensor 'candidate' is missing"),
    ("", {"candidate": FLOAT}, "'candidate' has datatype FP32; it must be INT64"),
    ("", {"candidate": [1, 2]}, r"'candidate' has shape \[2\]; it must be \[B, C\]"),
    ("", {"candidate": [[1]], "junk": [[1]]}, "unknown tensor 'junk'; this model takes candidate"),
    ("", {"candidate": [[1] * 101]}, "'candidate': C = 101 is more than the limit of 100"),
    ("", {"candidate": [[1]] * 5}, "'candidate': B = 5 is more than the limit of 4"),
    ("", {"candidate": [[1]], "history_item": [[1] * 81]}, "'history_item': L = 81 is more than the limit of 80"),
    ("", {"candidate": [[1]], "history_item": [[1]] * 2}, r"'candidate' has shape \[1, 1\]; B must be 2"),
    ("", {"candidate": [[1]], "history_time": [[1]]}, "'history_item' is missing"),
    ("", {"candidate": [[1]], "query_time": [[1, 2]]}, r"'query_time' has shape \[1, 2\]; 1 must be 1"),
    (
        "",
        {"candidate": [[1]], "history_item": [[1, 2]], "history_time": [[1]]},
        r"'history_time' has shape \[1, 1\]; L must be 2",
    ),
    ("", {"candidate": np.zeros((0, 3), np.int64)}, "there must be at least one row"),
    ("_retrieve", {"history_item": [[3]], "k": k(51)}, "'k': K = 51 is more than the limit of 50"),
    ("_retrieve", {"history_item": [[3]], "k": k(0)}, "'k' is 0; it must be at least 1"),
    ("_retrieve", {"history_item": [[3]], "allowed": [[3] * 61]}, "'allowed': A = 61 is more than the limit of 60"),
    ("_retrieve", {"history_item": [[3]], "allowed": np.zeros((1, 0), np.int64)}, "'allowed' has no item in its rows"),
    ("_retrieve", {"history_item": [[3]], "allowed": FLOAT}, "'allowed' has datatype FP32; it must be INT64"),
    ("_similar", {"k": k(3)}, "'item' is missing"),
    ("_retrieve", {}, "there is no tensor; one must be given"),
    ("", {"candidate": [[1]], "x" * 20_000: [[1]]}, r"unknown tensor 'x{100}'\.\.\.; this model takes candidate"),
]


@pytest.mark.parametrize(("suffix", "arrays", "message"), BAD_REQUESTS)
def test_bad_input_is_named_with_its_limit(
    server: Running, name: str, suffix: str, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as caught:
        ask_sync(server.grpc_address, name + suffix, arrays)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_unknown_names_are_reported_to_every_client(server: Running, name: str, ask: Ask) -> None:
    with pytest.raises(InferenceServerException, match=f"no model 'other' here; there are {name}, {name}_retrieve"):
        ask(server.grpc_address, "other", {"candidate": [[3]]})
    with pytest.raises(InferenceServerException, match="has version 1 loaded, not '7'"):
        ask(server.grpc_address, name, {"candidate": [[3]]}, model_version="7")
    with pytest.raises(InferenceServerException, match="unknown output 'item'; this model gives score"):
        ask(server.grpc_address, name, {"candidate": [[3]]}, outputs=[triton.InferRequestedOutput("item")])


@pytest.mark.parametrize(
    ("long", "code"),
    [
        ({"model_name": "x" * 20_000}, "NOT_FOUND"),
        ({"model_version": "9" * 20_000}, "NOT_FOUND"),
        ({"id": "x" * 129}, "INVALID_ARGUMENT"),
        ({"id": "x" * 3_000_000}, "INVALID_ARGUMENT"),
        ({"outputs": [{"name": "x" * 20_000}]}, "INVALID_ARGUMENT"),
        ({"outputs": [{"name": "score"}] * 33}, "INVALID_ARGUMENT"),
        ({"inputs": [{"name": "x" * 20_000, "datatype": "y" * 20_000}]}, "INVALID_ARGUMENT"),
        ({"inputs": [{"name": "x", "datatype": "INT64", "shape": [1] * 500_000}]}, "INVALID_ARGUMENT"),
    ],
)
def test_what_is_too_long_is_refused_in_a_short_message(stub: Any, name: str, long: dict[str, Any], code: str) -> None:
    """A long one would not fit into the headers that a status comes in."""
    request = infer_request(name, {"candidate": np.array([[3]])})
    request.MergeFrom(service_pb2.ModelInferRequest(**long))
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request)
    refusal: Any = caught.value
    assert refusal.code().name == code, refusal.details()
    assert len(refusal.details()) < 500


def test_a_history_may_be_empty(server: Running, name: str, ask: Ask) -> None:
    answer = ask(server.grpc_address, name, {"history_item": np.zeros((1, 0), np.int64), "candidate": [[3]]})
    assert np.isnan(answer.as_numpy("score")).all()


def test_typed_contents_are_taken(stub: Any, tiny: Tiny, name: str) -> None:
    kind = service_pb2.ModelInferRequest.InferInputTensor
    inputs = [
        kind(name="user_id", datatype="BYTES", shape=[1, 1], contents={"bytes_contents": ["Zoë".encode()]}),
        kind(name="history_item", datatype="INT64", shape=[1, 2], contents={"int64_contents": [3, 5]}),
        kind(name="history_rating", datatype="FP32", shape=[1, 2], contents={"fp32_contents": [4, float("nan")]}),
        kind(name="candidate", datatype="INT64", shape=[1, 2], contents={"int64_contents": [7, 9]}),
    ]
    answer = stub.ModelInfer(service_pb2.ModelInferRequest(model_name=name, inputs=inputs))
    score = np.frombuffer(answer.raw_output_contents[0], np.float32)
    np.testing.assert_allclose(score, tiny.score([3, 5], [7, 9]), atol=1e-5)
    assert list(answer.outputs[0].shape) == [1, 2]


def test_a_stream_keeps_several_calls_in_flight_and_survives_their_errors(
    server: Running, tiny: Tiny, name: str
) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with triton.InferenceServerClient(server.grpc_address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number in range(40):
            arrays: dict[str, Any] = {"history_item": [[3]], "candidate": [[3 + 2 * (number % 20)]]}
            if number % 5 == 0:
                arrays["candidate"] = FLOAT
            client.async_stream_infer(name, tensors(arrays), request_id=str(number))
        for number in range(40):
            result, error = answers.get(timeout=20)
            if number % 5 == 0:
                assert "'candidate' has datatype FP32" in str(error)
            else:
                assert result.get_response().id == str(number)
                expected = tiny.score([3], [3 + 2 * (number % 20)])
                np.testing.assert_allclose(result.as_numpy("score")[0], expected, atol=1e-5)
        client.stop_stream()


async def test_streams_of_the_aio_client(server: Running, name: str) -> None:
    async def requests() -> Any:
        for number in range(5):
            inputs = tensors({"candidate": FLOAT if number == 2 else [[3]]})
            yield {"model_name": name, "inputs": inputs, "request_id": str(number)}

    async with triton_aio.InferenceServerClient(server.grpc_address) as client:
        answers = [answer async for answer in client.stream_infer(requests())]
    assert [error is None for _, error in answers] == [True, True, False, True, True]


async def test_a_stream_that_is_left_disturbs_nobody(server: Running, name: str) -> None:
    async with grpc.aio.insecure_channel(server.grpc_address) as channel:
        call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer()
        await call.write(service_pb2.ModelInferRequest(model_name=name))
        assert (await call.read()).error_message == "tensor 'candidate' is missing"
        call.cancel()
    async with triton_aio.InferenceServerClient(server.grpc_address) as client:
        await client.infer(name, tensors({"candidate": [[3]]}))


def test_live_and_ready(client: triton.InferenceServerClient, name: str) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(f"{name}_retrieve", "1")
    assert not client.is_model_ready(name, "2")
    assert not client.is_model_ready("other")


@pytest.mark.parametrize("suffix", ["", "_retrieve", "_similar"])
def test_metadata_and_config_say_the_same(client: triton.InferenceServerClient, name: str, suffix: str) -> None:
    metadata = client.get_model_metadata(name + suffix)
    config = client.get_model_config(name + suffix).config
    assert (metadata.name, list(metadata.versions), config.name) == (name + suffix, ["1"], name + suffix)
    assert config.max_batch_size == 4
    for described, configured in ((metadata.inputs, config.input), (metadata.outputs, config.output)):
        shapes = {tensor.name: [-1, *tensor.dims] for tensor in configured}
        assert {tensor.name: list(tensor.shape) for tensor in described} == shapes
    assert {t.name for t in config.input if not t.optional} == {"": {"candidate"}, "_similar": {"item"}}.get(
        suffix, set()
    )


def test_server_metadata(client: triton.InferenceServerClient) -> None:
    metadata = client.get_server_metadata()
    assert metadata.name == "marquee"
    assert {"model_configuration", "statistics"} <= set(metadata.extensions)


def test_statistics_add_up(client: triton.InferenceServerClient, name: str) -> None:
    def counts() -> np.ndarray[Any, Any]:
        (statistics,) = client.get_inference_statistics(name).model_stats
        stats = statistics.inference_stats
        parts = (stats.success, stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
        assert sum(batch.compute_infer.count for batch in statistics.batch_stats) == statistics.execution_count
        return np.array([statistics.inference_count, *(part.count for part in parts)])

    before = counts()
    for rows in (1, 2, 4):
        client.infer(name, tensors({"candidate": [[3]] * rows}))
    assert (counts() - before).tolist() == [7, 3, 3, 3, 3, 3]
    assert len(client.get_inference_statistics().model_stats) == 3


async def test_statistics_of_concurrent_calls_add_up(server: Running, name: str) -> None:
    async with triton_aio.InferenceServerClient(server.grpc_address) as client:

        async def statistics() -> Any:
            (each,) = (await client.get_inference_statistics(f"{name}_similar")).model_stats
            return each

        before = await statistics()
        request = tensors({"item": [[3], [5]]})
        await asyncio.gather(*(client.infer(f"{name}_similar", request) for _ in range(20)))
        after = await statistics()
    assert after.inference_count - before.inference_count == 40
    assert after.inference_stats.success.count - before.inference_stats.success.count == 20
    assert 10 <= after.execution_count - before.execution_count <= 20  # four rows a batch at most


def test_the_repository_is_listed_but_closed(client: triton.InferenceServerClient, name: str) -> None:
    rows = [(row.name, row.version, row.state) for row in client.get_model_repository_index().models]
    assert rows == [(name, "1", "READY"), (f"{name}_retrieve", "1", "READY"), (f"{name}_similar", "1", "READY")]
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="--model-control-mode=explicit"):
            change(name)


def test_what_is_not_offered_is_unimplemented(client: triton.InferenceServerClient) -> None:
    for call in (
        client.get_system_shared_memory_status,
        client.get_cuda_shared_memory_status,
        client.unregister_system_shared_memory,
        client.get_trace_settings,
        client.get_log_settings,
    ):
        with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
            call()


def test_health_of_the_process_and_of_each_model(server: Running, name: str) -> None:
    with grpc.insecure_channel(server.grpc_address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", name, f"{name}_retrieve", f"{name}_similar"):
            request = health_pb2.HealthCheckRequest(service=service)
            assert health.Check(request).status == health_pb2.HealthCheckResponse.SERVING
            assert next(health.Watch(request)).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="other"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        other = next(health.Watch(health_pb2.HealthCheckRequest(service="other")))
        assert other.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def test_reflection_on_loopback(server: Running) -> None:
    with grpc.insecure_channel(server.grpc_address) as channel:
        services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services


def test_metrics_and_http_health(server: Running, client: triton.InferenceServerClient, name: str) -> None:
    client.infer(name, tensors({"candidate": [[3]]}))

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://{server.http_address}{path}") as answer:
            return str(answer.read().decode())

    assert get("/health/live") == "live\n"
    assert get("/health/ready") == "ready\n"
    metrics = get("/metrics")
    assert f'marquee_model_version{{model="{name}"}} 1.0' in metrics
    assert f'marquee_index_items{{model="{name}"}} 30.0' in metrics
    assert 'marquee_calls_total{code="OK",method="ModelInfer"}' in metrics


def test_a_message_that_is_too_large_is_refused(server: Running, name: str) -> None:
    with pytest.raises(InferenceServerException, match="larger than max"):
        ask_sync(server.grpc_address, name, {"candidate": np.zeros((1, 3_000_000), np.int64)})


def test_the_repository_of_a_test_is_not_touched(tiny: Tiny, server: Running) -> None:
    assert {path.name for path in Path(tiny.folder).iterdir()} == {
        "manifest.json",
        "query_tower.onnx",
        "items.safetensors",
        "users.safetensors",
        "index.faiss",
        "golden.npz",
    }
