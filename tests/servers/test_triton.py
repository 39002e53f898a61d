"""Scorers as models of NVIDIA Triton: what is written, what it answers, and, where there is one, a real Triton.

MARQUEE_TRITON is a command that serves a model repository: it is called with the repository's path and a port for gRPC,
and takes the two ports above it too. The Python of that Triton must find Marquee and its extra `servers`.
"""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import InferenceServerException

from protos.marquee.v1.recommender_pb2 import RecommendResponse
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.datatypes import Array
from servers.runtime.errors import ArtifactError, ConfigurationError, RepositoryError
from servers.settings import ExportSettings
from servers.triton_export import export
from tests.conftest import Published
from tests.load import gateway
from tests.load.model_server import prepare
from tests.load.peers.clients import perf_analyzer
from tests.load.peers.servers import triton_server
from tests.load.processes import FREE_PORTS, started
from tests.load.traffic import Traffic
from tests.servers import tiny_artifact, triton_backend
from tests.servers.running import ROOT, Running, k, process, tensors
from tests.servers.triton_backend import InferenceRequest

TRITON = shlex.split(os.environ.get("MARQUEE_TRITON", ""))
PERF_ANALYZER = os.environ.get("MARQUEE_PERF_ANALYZER", "")
MODELS = ("rating", "rating_retrieve", "rating_similar")
VERSION = 7
REQUESTS: dict[str, list[dict[str, Array]]] = {
    "rating": [
        {"history_item": np.array([[3, 5]]), "candidate": np.array([[7, 9, 11]])},
        {
            "history_item": np.array([[3, 5, 9], [0, 0, 13]]),
            "candidate": np.array([[7], [999]]),
        },
        {"candidate": np.array([[7, 9]])},
        {
            "user_id": np.array([[b"ann"]], object),
            "history_item": np.zeros((1, 0), np.int64),
            "candidate": np.array([[3]]),
        },
    ],
    "rating_retrieve": [
        {"history_item": np.array([[3, 5]]), "k": k(4)},
        {"history_item": np.array([[7, 5, 9]]), "k": k(40)},
        {"history_item": np.array([[11]])},
        {"history_item": np.array([[11]]), "allowed": np.array([[5, 999, 7, 61, 9]])},
        {"history_item": np.array([[11], [13]]), "allowed": np.array([[5], [0]])},
    ],
    "rating_similar": [
        {"item": np.array([[3]]), "k": k(2)},
        {"item": np.array([[999], [5]])},
    ],
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    tiny_artifact.publish(folder, version=VERSION)
    return folder


@pytest.fixture(scope="module")
def exported(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Triton's model repository, elsewhere than it was written."""
    folder = tmp_path_factory.mktemp("exported")
    exporting(repository, folder / "first")
    return (folder / "first").rename(folder / "moved")


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Running]:
    with process("rating", repository) as running:
        yield running


def exporting(repository: Path, out: Path, **options: Any) -> list[tuple[str, int]]:
    settings = ExportSettings(model_repository=str(repository), out=out, **options)
    return [(version.model, version.number) for version in export(settings)]


def model_of(exported: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What Triton makes of a model's folder."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton_backend)
    spec = importlib.util.spec_from_file_location("model", exported / name / str(VERSION) / "model.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    model.initialize(
        {
            "model_name": name,
            "model_version": str(VERSION),
            "model_repository": str(exported / name),
            "model_config": json.dumps(
                json_format.MessageToDict(config(exported, name), preserving_proto_field_name=True)
            ),
        }
    )
    return model


def config(exported: Path, name: str) -> Any:
    text = (exported / name / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def executed(model: Any, calls: Sequence[dict[str, Array]], *outputs: str) -> list[Any]:
    return list(model.execute([InferenceRequest(call, outputs) for call in calls]))


def served(address: str, name: str, call: dict[str, Array]) -> dict[str, Array]:
    with triton.InferenceServerClient(address) as client:
        answer = client.infer(name, tensors(call))
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


def same(left: dict[str, Array], right: dict[str, Array]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].shape == right[name].shape and np.allclose(left[name], right[name], atol=1e-5, equal_nan=True)
        for name in left
    )


def test_three_models_each_whole_in_its_folder(repository: Path, exported: Path) -> None:
    published = {path.name: path.read_bytes() for path in (repository / "rating" / str(VERSION)).iterdir()}
    assert sorted(path.name for path in exported.iterdir()) == sorted(MODELS)
    for name in MODELS:
        assert sorted(path.name for path in (exported / name).iterdir()) == [str(VERSION), "config.pbtxt"]
        artifact = exported / name / str(VERSION) / "artifact"
        assert {path.name: path.read_bytes() for path in artifact.iterdir()} == published


@pytest.mark.parametrize("name", MODELS)
def test_its_configuration_is_the_servers_own_but_for_what_runs_it(exported: Path, server: Running, name: str) -> None:
    found = config(exported, name)
    assert found.backend == "python"
    assert [(group.kind, group.count) for group in found.instance_group] == [
        (model_config_pb2.ModelInstanceGroup.KIND_CPU, 1)
    ]
    assert found.HasField("dynamic_batching")
    with triton.InferenceServerClient(server.grpc_address) as client:
        own = client.get_model_config(name).config
    assert own.parameters
    assert all(found.parameters[each] == own.parameters[each] for each in own.parameters)
    for field in ("backend", "instance_group", "parameters"):
        found.ClearField(field)
    for tensor in found.input:
        assert tensor.allow_ragged_batch
        tensor.allow_ragged_batch = False
    own.ClearField("platform")
    own.ClearField("parameters")
    assert found == own


def test_batching_can_be_left_out(repository: Path, tmp_path: Path) -> None:
    exporting(repository, tmp_path / "out", dynamic_batching=False)
    assert not config(tmp_path / "out", "rating").HasField("dynamic_batching")


@pytest.mark.parametrize("name", MODELS)
def test_calls_of_any_shape_together_are_answered_as_by_the_server(
    exported: Path, server: Running, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = executed(model_of(exported, name, monkeypatch), REQUESTS[name])
    for call, answer in zip(REQUESTS[name], answers, strict=True):
        assert same(answer.arrays(), served(server.grpc_address, name, call))


def test_a_bad_call_harms_only_itself(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(exported, "rating", monkeypatch)
    good = REQUESTS["rating"][0]
    bad: list[dict[str, Array]] = [
        {"candidate": np.array([[7]], np.int32)},
        {"candidate": np.ones((1, 20_001), np.int64)},
        {"candidate": np.array([[7]]), "history_time": np.array([[1]])},
    ]
    first, *refused, last = executed(model, [good, *bad, good])
    assert same(first.arrays(), last.arrays())
    assert [answer.error.code for answer in refused] == ["INVALID_ARG"] * 3
    assert refused[1].error.message == "tensor 'candidate': C = 20001 is more than the limit of 20000"
    assert [answer.error.code for answer in executed(model, bad)] == ["INVALID_ARG"] * 3


def test_an_internal_error_is_reported_without_details(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(exported, "rating", monkeypatch)
    no_bytes = np.empty((1, 1), object)
    no_bytes[0, 0] = []  # as no client could send it
    good, bad = executed(model, [REQUESTS["rating"][0], {"candidate": np.array([[7]]), "user_id": no_bytes}])
    assert good.error is None
    assert (bad.error.code, bad.error.message) == ("INTERNAL", "internal error; the server's log has the details")


def test_only_the_requested_outputs_are_sent(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(exported, "rating_retrieve", monkeypatch)
    [answer] = executed(model, REQUESTS["rating_retrieve"][:1], "score")
    assert answer.arrays().keys() == {"score"}


def test_an_artifact_that_was_changed_is_not_served(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = Path(shutil.copytree(exported, tmp_path / "changed"))
    (changed / "rating" / str(VERSION) / "artifact" / "users.safetensors").write_text("[]")
    with pytest.raises(ArtifactError, match=r"users\.safetensors has 2 bytes instead of"):
        model_of(changed, "rating", monkeypatch)


def test_which_scorers_and_versions_are_written(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    for name, version in (("rating", 1), ("rating", 2), ("other", 1), ("other", 2)):
        tiny_artifact.publish(repository, name, version)
    (repository / "other" / "2" / "users.safetensors").write_text("broken")
    manifest = tiny_artifact.publish(repository, "catalog").folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "scorer": None}))
    assert exporting(repository, tmp_path / "a") == [("other", 1), ("rating", 2)]
    assert exporting(repository, tmp_path / "b", name="rating") == [("rating", 2)]
    assert exporting(repository, tmp_path / "c", name="rating", version=1) == [("rating", 1)]
    assert [path.name for path in sorted((tmp_path / "c" / "rating").iterdir())] == ["1", "config.pbtxt"]


def test_what_cannot_be_written_is_named(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="has no version of 'unknown'"):
        exporting(repository, tmp_path / "out", name="unknown")
    with pytest.raises(ArtifactError, match="rating/8 is not in the model repository"):
        exporting(repository, tmp_path / "out", name="rating", version=8)
    with pytest.raises(RepositoryError, match="has no scorer to export"):
        exporting(tmp_path, tmp_path / "out")
    (tmp_path / "file").touch()
    for taken in (repository, tmp_path / "file"):
        with pytest.raises(ConfigurationError, match="is there and not empty; name another folder"):
            exporting(repository, taken)
    with pytest.raises(ConfigurationError, match="cannot be written: "):
        exporting(repository, tmp_path / "file" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_empty_folder_is_no_obstacle(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    exporting(repository, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(MODELS)


def test_the_program(repository: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "servers", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    where = ["export-triton", "--model-repository", str(repository), "--out", str(tmp_path / "out")]
    assert "export-triton" in run("--help").stdout
    assert "OMP_NUM_THREADS" in run("export-triton", "--help").stdout
    assert run(*where).stdout == f"rating {VERSION}\n"
    again = run(*where)
    assert (again.returncode, again.stderr[:13]) == (1, "error: --out ")
    assert "--version needs --name" in run(*where, "--version", "1").stderr


needs_triton = pytest.mark.skipif(
    not TRITON, reason="NOT CHECKED ON TRITON: MARQUEE_TRITON names no command that serves a model repository"
)


@pytest.fixture(scope="module")
def real_triton(published: Published) -> Iterator[str]:
    """The address of a Triton that serves the trained rating model."""
    with triton_server(TRITON, published.repository) as address:
        yield address


@pytest.fixture(scope="module")
def real_server(published: Published) -> Iterator[str]:
    with process("rating", published.repository) as running:
        yield running.grpc_address


@needs_triton
@pytest.mark.parametrize("name", MODELS)
def test_triton_answers_as_the_server_does(real_triton: str, real_server: str, name: str) -> None:
    for call in REQUESTS[name]:
        assert same(served(real_triton, name, call), served(real_server, name, call))


@needs_triton
def test_triton_batches_calls_of_any_shape_and_keeps_bad_ones_apart(real_triton: str, real_server: str) -> None:
    def ask(number: int) -> bool:
        history, candidate = np.arange(1, 2 + number % 9)[None], np.arange(1, 2 + number % 13)[None]
        call: dict[str, Array] = {"history_item": history, "candidate": candidate}
        if number % 5:
            return same(served(real_triton, "rating", call), served(real_server, "rating", call))
        call["history_rating"] = np.ones((1, 40), np.float32)
        with pytest.raises(InferenceServerException, match="INVALID_ARGUMENT.*'history_rating' has shape"):
            served(real_triton, "rating", call)
        return True

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(200)))
    with triton.InferenceServerClient(real_triton) as client:
        [counted] = client.get_inference_statistics("rating").model_stats
    assert counted.execution_count < counted.inference_count


@needs_triton
@pytest.mark.skipif(not PERF_ANALYZER, reason="MARQUEE_PERF_ANALYZER names no perf_analyzer")
def test_perf_analyzer_drives_triton(published: Published) -> None:
    requests = prepare(Traffic(published.data, published.repository, 0), "rating", candidates=20, k=1)
    with triton_server(TRITON, published.repository, "--no-dynamic-batching") as address:
        assert perf_analyzer(PERF_ANALYZER, address, requests[:10], callers=2, seconds=0.6).per_second > 0


@needs_triton
def test_triton_stands_in_for_a_server_behind_the_gateway(
    published: Published, real_triton: str, real_server: str, tmp_path: Path
) -> None:
    others = [f"--model-repository={published.repository}", *FREE_PORTS, "--log-level=warning"]
    with ExitStack() as stack:
        scorers = [
            f"--scorer={name}={stack.enter_context(started(['-m', 'servers', name, *others])).grpc_address}"
            for name in ("sequential", "visual_temporal")
        ]

        def answers(rating: str, events: str) -> list[RecommendResponse]:
            store = f"--event-store=sqlite:///{tmp_path}/{events}.db"
            arguments = ["-m", "fusion_gateway", *others, f"--scorer=rating={rating}", *scorers, store]
            requests = gateway.prepare(Traffic(published.data, published.repository, 0), k=10, stored_history=False)
            with started(arguments) as running, grpc.insecure_channel(running.grpc_address) as channel:
                stub = RecommenderStub(channel)
                return [stub.Recommend(request, timeout=20) for request in requests[:20]]

        for ours, tritons in zip(answers(real_server, "ours"), answers(real_triton, "triton"), strict=True):
            assert not ours.degraded
            assert not tritons.degraded
            assert tritons.model_versions == ours.model_versions
            assert [item.item.id for item in tritons.items] == [item.item.id for item in ours.items]
            scores = [item.score for item in tritons.items]
            np.testing.assert_allclose(scores, [item.score for item in ours.items], atol=1e-4)
