"""Broken versions, published while the system serves. Each is followed by a good one, which must be used."""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from shutil import copytree

import faiss
import grpc
import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper
from tritonclient.grpc import service_pb2, service_pb2_grpc

from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.chaos.attacks.target import Answers, Attack, Target, channel_to
from tests.servers import tiny_artifact
from training.artifacts.repository import versions
from training.recipes import SCORERS

USED, NOT_USED, WRONG = "used", "not used", "the broken one is used"
LOOK_SECONDS = 1.5
"""Time for the server to see the broken version, at a poll every half second."""
USED_SECONDS = 20.0
Change = Callable[[Path], None]
"""Spoils the files of a version that is not published yet."""


def nothing(folder: Path) -> None:
    """Leaves a version good."""


def broken_then_good(model: str, before: Change, after: Change, target: Target) -> Answers:
    """Whether the version after the broken one is used. `before` and `after` are those of `publish`."""
    newest = versions(target.repository, model)[-1]
    good = target.repository / model / str(newest)
    publish(good, newest + 1, before, after)
    time.sleep(LOOK_SECONDS)
    is_wrong = model in SCORERS and asyncio.run(_served(model, target)) == newest + 1
    publish(good, newest + 2)
    until = time.monotonic() + USED_SECONDS
    while asyncio.run(_served(model, target)) != newest + 2:
        if time.monotonic() > until:
            return Counter({NOT_USED: 1})
        time.sleep(0.2)
    return Counter({WRONG if is_wrong else USED: 1})


def publish(good: Path, number: int, before: Change = nothing, after: Change = nothing) -> None:
    """Publishes a spoilt copy of the version in the folder `good` under another number.

    `before` and `after` the manifest is made, they spoil the copy.
    """
    hidden = good.with_name(f"{number}.partial")
    copytree(good, hidden)
    manifest = hidden / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"version": "{good.name}"', f'"version": "{number}"'))
    before(hidden)
    tiny_artifact.seal(hidden)
    after(hidden)
    hidden.rename(good.with_name(str(number)))


async def _served(model: str, target: Target) -> int:
    """The version in use; 0 without an answer."""
    async with channel_to(target) as channel:
        with contextlib.suppress(grpc.aio.AioRpcError):
            if model in ("catalog", "fusion"):
                status = await RecommenderStub(channel).GetStatus(pb.GetStatusRequest(), timeout=2)
                return int(status.catalog_version if model == "catalog" else status.fusion_version)
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            metadata = await stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=model), timeout=2)
            return int(metadata.versions[-1])
    return 0


def other_index(folder: Path) -> None:
    """An index of other vectors than the scores are made from."""
    index = faiss.read_index(str(folder / "index.faiss"))
    built = faiss.IndexFlatIP(index.d)
    built.add(np.random.default_rng(0).normal(size=(index.ntotal, index.d)).astype(np.float32))
    faiss.write_index(built, str(folder / "index.faiss"))


def half_an_index(folder: Path) -> None:
    content = (folder / "index.faiss").read_bytes()
    (folder / "index.faiss").write_bytes(content[: len(content) // 2])


def endless_tower(folder: Path) -> None:
    """An ONNX Loop of 2^62 rounds in front of the query."""
    tower = onnx.load(str(folder / "query_tower.onnx"))
    constant = partial(helper.make_tensor, dims=[], data_type=TensorProto.INT64)
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes_on"]), helper.make_node("Identity", ["carried"], ["out"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("out", TensorProto.FLOAT, None),
        ],
    )
    query = tower.graph.output[0].name
    [last] = [node for node in tower.graph.node if query in node.output]
    last.output[list(last.output).index(query)] = "before"
    tower.graph.initializer.append(constant("rounds", vals=[2**62]))
    tower.graph.initializer.append(helper.make_tensor("true", TensorProto.BOOL, [], [True]))
    tower.graph.node.append(helper.make_node("Loop", ["rounds", "true", "before"], [query], body=body))
    onnx.save(tower, str(folder / "query_tower.onnx"))


def empty_index(folder: Path) -> None:
    (folder / "index.faiss").write_bytes(b"")


def fifo(folder: Path) -> None:
    """A pipe where the empty index was: whoever opens it waits."""
    (folder / "index.faiss").unlink()
    os.mkfifo(folder / "index.faiss")


def many_rows(folder: Path) -> None:
    """20 million rows that are small in the file and large in memory."""
    items = pl.read_parquet(folder / "items.parquet")
    rows = pl.DataFrame(
        {
            name: pl.repeat(items[name][0], 20_000_000, eager=True, dtype=items.schema[name])
            if name == "number"
            else pl.repeat(None, 20_000_000, eager=True, dtype=items.schema[name])
            for name in items.columns
        }
    )
    content = BytesIO()
    rows.write_parquet(content)
    (folder / "items.parquet").write_bytes(content.getvalue())


def null_genre(folder: Path) -> None:
    items = pl.read_parquet(folder / "items.parquet")
    items.with_columns(genres=pl.lit([None], pl.List(pl.String))).write_parquet(folder / "items.parquet")


def null_tag_word(folder: Path) -> None:
    tags = pl.read_parquet(folder / "tags.parquet")
    tags.with_columns(word=pl.lit(None, tags.schema["word"])).write_parquet(folder / "tags.parquet")


def nul_in_the_manifest(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"path": "', '"path": "\\u0000', 1))


def policies(text: str) -> Change:
    def write(folder: Path) -> None:
        (folder / "policies.yaml").write_text(text)

    return write


POLICIES = {
    "an impossible date": "default: 2024-13-45",
    "!!int x": "default: !!int x",
    "!!float x": "default: !!float x",
    "!!bool maybe": "default: !!bool maybe",
    "!!timestamp x": "default: !!timestamp x",
    "5,000 digits": f"default: {'9' * 5000}",
    "a deep list": "[" * 20_000,
    "a deep mapping": "\n".join(" " * depth + "a:" for depth in range(2000)),
    "100,000 policies": "default: a\npolicies:\n"
    + "".join(f" p{n}: {{weights: {{rating: 1}}}}\n" for n in range(100_000)),
}
SPOILT: dict[str, dict[str, tuple[Change, Change]]] = {
    "rating": {
        "an index of other vectors": (other_index, nothing),
        "half an index": (half_an_index, nothing),
        "an endless tower": (endless_tower, nothing),
        "a FIFO": (empty_index, fifo),
        "NUL in its manifest": (nothing, nul_in_the_manifest),
    },
    "catalog": {
        "20 M rows": (many_rows, nothing),
        "a null genre": (null_genre, nothing),
        "a null tag word": (null_tag_word, nothing),
        "NUL in its manifest": (nothing, nul_in_the_manifest),
    },
    "fusion": {name: (policies(text), nothing) for name, text in POLICIES.items()},
}
ATTACKS = [
    Attack(f"version with {name}", model, partial(broken_then_good, model, *changes), frozenset({USED}))
    if model in SCORERS
    else Attack(f"{model} with {name}", "gateway", partial(broken_then_good, model, *changes), frozenset({USED}))
    for model, broken in SPOILT.items()
    for name, changes in broken.items()
]
