"""Publishes small scorers whose right answers are known by construction.

`publish` makes a tower whose query is the mean of the item vectors of the history, times `scale`; without a history it
abstains. `publish_probe` makes a tower whose query shows what the server fed into it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import onnx
from google.protobuf import json_format
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from protos.marquee.v1.artifact_pb2 import File, Index, Manifest, Scorer

Array = NDArray[Any]
USERS = ["ann", "bob", "Zoë"]
DIMENSION = 4
FEATURES = 2
TOLERANCE = 1e-4
MAX_TRAINED = 1 << 18
"""Maximum number of vectors that an index is trained on."""
TYPES = {
    "user_index": (TensorProto.INT64, ["B", 1]),
    "history_index": (TensorProto.INT64, ["B", "L"]),
    "history_rating": (TensorProto.FLOAT, ["B", "L"]),
    "history_time": (TensorProto.INT64, ["B", "L"]),
    "query_time": (TensorProto.INT64, ["B", 1]),
    "history_feature": (TensorProto.FLOAT, ["B", "L", FEATURES]),
}
PROBED = list(TYPES)


@dataclass(frozen=True)
class Tiny:
    """What was published, and what it must answer."""

    folder: Path
    numbers: Array
    vectors: Array
    scale: float = 1.0

    def query(self, history: Iterable[int]) -> Array:
        known = [self.vectors[self.row(number)] for number in history if number in self.numbers]
        return self.scale * np.mean(known, axis=0) if known else np.full(self.vectors.shape[1], np.nan)

    def score(self, history: Iterable[int], candidates: Iterable[int]) -> Array:
        """NaN for unknown candidates and without a known history."""
        query = self.query(history)
        scores = [query @ self.vectors[self.row(c)] if c in self.numbers else np.nan for c in candidates]
        return np.array(scores, np.float32)

    def best(self, history: Sequence[int], k: int) -> Array:
        """The k best numbers outside the history."""
        left = np.setdiff1d(self.numbers, history)
        return left[np.argsort(-self.score(history, left), kind="stable")[:k]]

    def row(self, number: int) -> int:
        return int(np.searchsorted(self.numbers, number))


@dataclass(frozen=True)
class Spec:
    """How a tiny scorer is made."""

    item_numbers: Sequence[int] = tuple(range(3, 63, 2))
    """Ascending; the same numbers always get the same vectors."""
    scale: float = 1.0
    index: str = "Flat"
    """FAISS factory string, and search-time parameters after a space."""
    max_history: int = 0
    dimension: int = DIMENSION
    vectors: Array | None = None
    """[items, dimension]; None: random ones."""


class Golden(NamedTuple):
    """Requests and the scores they must give."""

    histories: Array
    candidates: Array
    scores: Array


def publish(repository: Path, model: str = "rating", version: int = 1, **changes: Any) -> Tiny:
    """A scorer whose query is the mean of a history's item vectors; `changes` are fields of Spec."""
    spec = Spec(**changes)
    numbers = np.array(spec.item_numbers, np.int64)
    vectors = spec.vectors
    if vectors is None:
        vectors = np.random.default_rng(7).normal(size=(len(numbers), spec.dimension)).astype(np.float32)
    tiny = Tiny(repository / model / str(version), numbers, vectors, spec.scale)
    unknown = 2**40
    histories = np.array(
        [
            [0, 0, numbers[0], numbers[1]],
            [0, numbers[-1], unknown, numbers[2]],
            [0, 0, 0, 0],
        ]
    )
    candidates = np.array([*numbers[:5], 0, unknown])
    scores = np.stack([tiny.score(history, candidates.tolist()) for history in histories.tolist()])
    golden = Golden(histories, np.tile(candidates, (len(histories), 1)), scores)
    _write(tiny, _mean_tower(vectors, spec.scale), ["history_index"], spec, golden)
    return tiny


def publish_probe(repository: Path, model: str = "rating", version: int = 1, *, max_history: int = 0) -> Tiny:
    """A scorer whose score of its j-th item is the sum over the j-th input of the tower, in the order of PROBED.

    NaN counts as 100 there, and the feature of an item is its row.
    """
    numbers = np.array([10, 20, 30, 40, 50, 60], np.int64)
    tiny = Tiny(repository / model / str(version), numbers, np.eye(6, dtype=np.float32))
    scores = np.array([[0, 0, 100, 0, 1000, 0]], np.float32)  # user "", no history, no rating, query_time 1000
    golden = Golden(np.zeros((1, 1), np.int64), numbers[None], scores)
    _write(tiny, _probe_tower(), PROBED, Spec(max_history=max_history), golden)
    return tiny


def seal(folder: Path) -> None:
    """Makes the manifest agree with files that a test has changed."""
    manifest = json_format.Parse((folder / "manifest.json").read_bytes(), Manifest())
    del manifest.files[:]
    for path in sorted(folder.iterdir()):
        if path.name != "manifest.json":
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            manifest.files.append(File(path=path.name, size_bytes=len(content), sha256=digest))
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True)
    (folder / "manifest.json").write_text(text)


def _write(tiny: Tiny, tower: onnx.ModelProto, inputs: list[str], spec: Spec, golden: Golden) -> None:
    folder = tiny.folder.with_suffix(".partial")
    folder.mkdir(parents=True)
    onnx.save(tower, str(folder / "query_tower.onnx"))
    similar = tiny.vectors / np.linalg.norm(tiny.vectors, axis=1, keepdims=True)
    items = {"item_number": tiny.numbers, "item_vector": tiny.vectors, "similar_vector": similar}
    if "history_feature" in inputs:
        rows = np.arange(1, len(tiny.numbers) + 1, dtype=np.float32)
        items["item_feature"] = np.repeat(rows[:, None], FEATURES, axis=1)
    save_file(items, folder / "items.safetensors")
    ids = np.array(sorted(user.encode() for user in USERS), np.bytes_)
    users = np.array([1 + USERS.index(user.decode()) for user in ids.tolist()], np.int64)
    raw = ids.view(np.uint8).reshape(len(ids), -1)
    save_file({"user_id": raw, "user_index": users}, folder / "users.safetensors")
    factory, _, parameters = spec.index.partition(" ")
    built: Any = faiss.index_factory(tiny.vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    built.train(tiny.vectors[:MAX_TRAINED])
    built.add(tiny.vectors)
    if parameters:
        search: Any = faiss.ParameterSpace()
        search.set_index_parameters(built, parameters)
    faiss.write_index(built, str(folder / "index.faiss"))
    np.savez(
        folder / "golden.npz",
        user_id=np.array([""] * len(golden.histories)),
        history_item=golden.histories,
        history_rating=np.full(golden.histories.shape, np.nan, np.float32),
        history_time=np.zeros(golden.histories.shape, np.int64),
        query_time=np.full((len(golden.histories), 1), 1000),
        candidate=golden.candidates,
        score=golden.scores,
    )
    scorer = Scorer(
        engine="onnxruntime",
        inputs=inputs,
        dimension=tiny.vectors.shape[1],
        max_history=spec.max_history,
        index=Index(factory=spec.index, recall_at_100=1, recall_queries=1),
        golden_tolerance=TOLERANCE,
    )
    manifest = Manifest(model=tiny.folder.parent.name, version=int(tiny.folder.name), scorer=scorer)
    (folder / "manifest.json").write_text(json_format.MessageToJson(manifest, preserving_proto_field_name=True))
    seal(folder)
    folder.rename(tiny.folder)


def _tower(
    nodes: list[onnx.NodeProto], inputs: list[str], dimension: int, constants: dict[str, Array]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "tower",
        [helper.make_tensor_value_info(name, *TYPES[name]) for name in inputs],
        [helper.make_tensor_value_info("query", TensorProto.FLOAT, ["B", dimension])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    tower = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(tower)
    return tower


def _mean_tower(vectors: Array, scale: float) -> onnx.ModelProto:
    padding = np.zeros((1, vectors.shape[1]), np.float32)
    constants = {
        "table": np.concatenate([padding, vectors * np.float32(scale)]),
        "zero": np.array(0, np.int64),
        "events": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "history_index"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "events"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["history_index", "zero"], ["known"]),
        helper.make_node("Cast", ["known"], ["known_float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["known_float", "events"], ["count"], keepdims=1),
        helper.make_node("Div", ["sum", "count"], ["query"]),
    ]
    return _tower(nodes, ["history_index"], vectors.shape[1], constants)


def _probe_tower() -> onnx.ModelProto:
    constants: dict[str, Array] = {
        "hundred": np.array(100, np.float32),
        "one": np.array([1], np.int64),
        "flat": np.array([0, -1]),
    }
    nodes = []
    for name in PROBED:
        nodes += [
            helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT),
            helper.make_node("IsNaN", [f"{name}_float"], [f"{name}_nan"]),
            helper.make_node("Where", [f"{name}_nan", "hundred", f"{name}_float"], [f"{name}_filled"]),
            helper.make_node("Reshape", [f"{name}_filled", "flat"], [f"{name}_flat"]),
            helper.make_node("ReduceSum", [f"{name}_flat", "one"], [f"{name}_sum"], keepdims=1),
        ]
    nodes.append(helper.make_node("Concat", [f"{name}_sum" for name in PROBED], ["query"], axis=1))
    return _tower(nodes, PROBED, len(PROBED), constants)
