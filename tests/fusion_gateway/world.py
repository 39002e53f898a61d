"""A small world whose right answers are known: ten movies, and model servers with given answers."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import polars as pl
from google.protobuf import json_format
from grpc_health.v1 import health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from fusion_gateway.catalog.catalog import SCHEMA
from fusion_gateway.catalog.word_weights import SCHEMA as TAG_SCHEMA
from protos.marquee.v1.artifact_pb2 import File, Manifest, Metric
from servers.runtime import tensors
from servers.runtime.health import Health

# id, title, year, genres, director, votes, weighted rating; numbers are 1, 2, 3 ...
MOVIES = [
    ("1", "Toy Story", 1995, ["Animation", "Comedy"], "John Lasseter", 400, 3.9),
    ("2", "The Prestige", 2006, ["Drama", "Thriller"], "Christopher Nolan", 300, 4.1),
    ("3", "Interstellar", 2014, ["Sci-Fi", "Drama"], "Christopher Nolan", 350, 4.0),
    ("4", "Memento", 2000, ["Thriller"], "Christopher Nolan", 200, 4.2),
    ("5", "Inception", 2010, ["Sci-Fi", "Thriller"], "Christopher Nolan", 500, 4.3),
    ("6", "Fargo", 1996, ["Crime", "Drama"], "Joel Coen|Ethan Coen", 250, 4.4),
    ("7", "The Big Lebowski", 1998, ["Comedy", "Crime"], "Joel Coen|Ethan Coen", 260, 3.8),
    ("8", "Amélie", 2001, ["Comedy", "Romance"], "", 150, 3.7),
    ("9", "Up", 2009, ["Animation"], "Pete Docter", 220, 3.6),
    ("ten", "Lost Reel", 0, [], "", 0, 3.5),
]
# Row in MOVIES -> weight of each word, of unit length; the words could be "space", "memory", "dream".
TAGS = {
    2: {0: 0.6, 2: 0.8},
    3: {1: 1.0},
    4: {1: 0.6, 2: 0.8},
    5: {0: 1.0},
}
POLICIES = """
default: fitted
policies:
  fitted: {normalizer: none, weights: {rating: 1, sequential: 1, visual_temporal: 2}}
  rrf: {strategy: rrf, weights: {rating: 1, sequential: 1}}
"""


def items() -> pl.DataFrame:
    rows = [(number, *movie[:5], "poster.jpg", *movie[5:]) for number, movie in enumerate(MOVIES, 1)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def publish(
    repository: Path,
    model: str,
    files: Mapping[str, bytes],
    version: int = 1,
    metrics: Sequence[Metric] = (),
) -> Path:
    """A version of a model, as training publishes it."""
    folder = repository / model / str(version)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    entries = [
        File(path=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    ]
    manifest = Manifest(model=model, version=version, files=entries, metrics=metrics)
    (folder / "manifest.json").write_text(json_format.MessageToJson(manifest, preserving_proto_field_name=True))
    return folder


def publish_catalog(
    repository: Path,
    table: pl.DataFrame,
    tags: Mapping[int, Mapping[int, float]],
    version: int = 1,
    scale: Mapping[str, float] | None = None,
) -> None:
    """`tags`: weight of each word of each row; `scale`: of ratings, for catalogs that have one."""
    rows = [(item, word, weight) for item, words in tags.items() for word, weight in words.items()]
    tables = {"items": table, "tags": pl.DataFrame(rows, TAG_SCHEMA, orient="row").sort("word")}
    written = {f"{name}.parquet": BytesIO() for name in tables}
    for content, frame in zip(written.values(), tables.values(), strict=True):
        frame.write_parquet(content)
    files = {name: content.getvalue() for name, content in written.items()}
    if scale:
        files["rating_scale.json"] = json.dumps(scale).encode()
    publish(repository, "catalog", files, version)


def publish_world(repository: Path) -> Path:
    publish_catalog(repository, items(), TAGS)
    publish(repository, "fusion", {"policies.yaml": POLICIES.encode()})
    return repository


class TinyModel(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """A model whose score of an item is in a table; NaN for others. Likeness is closeness of scores."""

    def __init__(self, name: str, scores: Mapping[int, float], needs_history: bool = False) -> None:
        self.name, self.scores, self.needs_history = name, scores, needs_history
        self.delay = 0.0
        self.posters: dict[int, float] = {}
        """Likeness of each item's poster to any picture; the model compares posters where there are some."""
        self.seen: list[dict[str, tensors.Array]] = []
        """The inputs of every request."""

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        inputs = tensors.decode(request.inputs, request.raw_input_contents)
        self.seen.append(inputs)
        await asyncio.sleep(self.delay)
        task = request.model_name.removeprefix(self.name)
        if inputs.get("image") is not None and inputs["image"][0, 0] == b"broken":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "tensor 'image', row 0 cannot be decoded as PNG")
        answers_of = {"": self._score, "_retrieve": self._retrieve, "_similar": self._similar}
        answer = (answers_of | {"_similar_poster": self._similar_poster})[task]
        answers = []
        for row in range(len(inputs[min(inputs)])):
            answers.append(answer({name: array[[row]] for name, array in inputs.items()}))
        outputs = {}
        for name in answers[0]:
            outputs[name] = _below_each_other([each[name] for each in answers])
        return tensors.infer_response(request.model_name, "7", request.id, outputs)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        compares = bool(self.posters) or not request.name.endswith("_similar_poster")
        return service_pb2.ModelReadyResponse(ready=compares)

    def _similar_poster(self, inputs: dict[str, tensors.Array]) -> dict[str, tensors.Array]:
        best = sorted(self.posters, key=lambda number: -self.posters[number])
        return self._ranked(best, inputs, self.posters)

    def _score(self, inputs: dict[str, tensors.Array]) -> dict[str, tensors.Array]:
        silent = self.needs_history and not np.any(inputs.get("history_item", 0))
        scores = [np.nan if silent else self.scores.get(number, np.nan) for number in inputs["candidate"][0].tolist()]
        return {"score": np.array([scores], np.float32)}

    def _retrieve(self, inputs: dict[str, tensors.Array]) -> dict[str, tensors.Array]:
        silent = self.needs_history and not np.any(inputs.get("history_item", 0))
        seen = inputs.get("history_item", np.zeros((1, 0)))[0].tolist()
        best = sorted((number for number in self.scores if number not in seen), key=lambda number: -self.scores[number])
        return self._ranked([] if silent else best, inputs, self.scores)

    def _similar(self, inputs: dict[str, tensors.Array]) -> dict[str, tensors.Array]:
        number = int(inputs["item"][0, 0])
        likeness: dict[int, float] = {}
        if number in self.scores:
            likeness = {n: -abs(score - self.scores[number]) for n, score in self.scores.items() if n != number}
        return self._ranked(sorted(likeness, key=lambda n: -likeness[n]), inputs, likeness)

    def _ranked(
        self, best: list[int], inputs: dict[str, tensors.Array], scores: Mapping[int, float]
    ) -> dict[str, tensors.Array]:
        k = int(inputs["k"][0, 0])
        best = best[:k]
        padding = k - len(best)
        return {
            "item": np.array([best + [0] * padding], np.int64),
            "score": np.array([[scores[number] for number in best] + [np.nan] * padding], np.float32),
        }


def _below_each_other(rows: list[tensors.Array]) -> tensors.Array:
    longest = max(row.shape[1] for row in rows)
    fill = np.nan if rows[0].dtype == np.float32 else 0
    padded = []
    for row in rows:
        padding = (0, 0), (0, longest - row.shape[1])
        padded.append(np.pad(row, padding, constant_values=fill))
    return np.concatenate(padded)


@asynccontextmanager
async def serving(model: TinyModel, port: int = 0) -> AsyncIterator[str]:
    """A real gRPC server for it, with the health service that channels watch; yields its address."""
    server, health = grpc.aio.server(options=[("grpc.so_reuseport", 0)]), Health()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(model, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    health.set("", True)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        health.close()
        await server.stop(None)
