"""A scorer as an artifact: written by training, and run offline by the evaluator.

The layout of the files is stated in artifact.proto.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor, from_numpy, nn

from fusion_gateway.ingest.checks import MAX_ID_BYTES
from protos.marquee.v1.artifact_pb2 import Scorer
from training.artifacts.faiss_index import write_index
from training.artifacts.item_encoder_files import ItemEncoderParts
from training.artifacts.mapped_items import Arrays, fit_map, unit, with_mapped
from training.artifacts.onnx_export import export_tower, session
from training.artifacts.repository import read_manifest
from training.artifacts.requests import Requests, pad_front
from training.artifacts.text_encoder_files import write_text_encoder
from training.errors import TrainingError
from training.features.interactions import Floats, Ints
from training.fitting.curve import LearningCurve
from training.published import read_tensors, regular

GOLDEN_TOLERANCE = 1e-3
"""Of scores up to USUAL_SCORE, and in proportion of larger ones, such as ratings from 0 to 10,000."""
USUAL_SCORE = 100.0
RECALL_FLOOR = 0.98
GENRE_TOWER, POSTERS = "genre_tower.onnx", "posters.safetensors"


@dataclass(frozen=True)
class ScorerParts:
    """What a model has to hand over to be served. Legend: N items, D dimension, F features, S similarity dimension."""

    tower: nn.Module
    """Named inputs (see artifact.proto) to query [B, D]."""
    inputs: Sequence[str]
    item_number: Ints
    """[N] ascending."""
    item_vector: Floats
    """[N, D]."""
    similar_vector: Floats
    """[N, S], any length; normalized when written."""
    learned: NDArray[np.bool_] | None = None
    """[N] items whose vectors come of events; by default all."""
    text_model: str = ""
    """A sentence-transformers model that reads the items' text; none for TF-IDF."""
    user_ids: Sequence[str] = ()
    item_feature: Floats | None = None
    """[N, F], for towers with the input history_feature."""
    item_encoder: ItemEncoderParts | None = None
    """Where items can be added without training."""
    poster_vector: Floats | None = None
    """[N, S], any length, zero without a poster; normalized when written."""
    genre_tower: nn.Module | None = None
    """The inputs of `tower` to probability [B, G]."""
    max_history: int = 0
    index_factory: str = "Flat"
    """FAISS factory string and search-time parameters: see index.GOOD_INDEXES."""
    recall_floor: float = RECALL_FLOOR
    curve: LearningCurve | None = None
    """Where it was trained in epochs."""


def write_scorer(parts: ScorerParts, golden: Requests, folder: Path, catalog: pl.DataFrame | None = None) -> Scorer:
    """Writes the files of a version and returns the manifest's scorer part.

    Items of the `catalog`, as in Dataset.items, that were not learned have vectors that are made of their content.

    Raises TrainingError where a weight is not finite, the graph differs from the model, or the index misses too much.
    """
    arrays: Arrays = {
        "item_number": parts.item_number,
        "item_vector": np.ascontiguousarray(parts.item_vector, np.float32),
        "similar_vector": unit(parts.similar_vector),
    }
    if parts.item_feature is not None:
        arrays["item_feature"] = np.ascontiguousarray(parts.item_feature, np.float32)
    write_items(arrays, folder)
    save_file(_users(parts.user_ids), folder / "users.safetensors")
    tower = _Inputs(list(parts.user_ids), arrays, parts.inputs, parts.max_history)
    example = {name: _two_events(name, from_numpy(value)) for name, value in tower(golden).items()}
    export_tower(parts.tower, example, folder / "query_tower.onnx")
    if parts.item_encoder:
        parts.item_encoder.write(folder)
    if parts.genre_tower:
        export_tower(parts.genre_tower, example, folder / GENRE_TOWER, "probability")
    if parts.poster_vector is not None:
        write_posters(unit(parts.poster_vector), folder)
    if parts.curve:
        parts.curve.write(folder)
    scorer = Scorer(
        engine="onnxruntime",
        inputs=parts.inputs,
        dimension=arrays["item_vector"].shape[1],
        max_history=parts.max_history,
    )
    offline = OfflineScorer(folder, scorer)
    queries = offline.queries(golden)
    if catalog is not None:
        learned = np.ones(len(parts.item_number), np.bool_) if parts.learned is None else parts.learned
        fitted = fit_map(arrays, learned, catalog, queries, parts.text_model)
        if fitted is not None:
            fitted.write(folder)
            write_items(with_mapped(arrays, learned, catalog, fitted), folder)
            offline = OfflineScorer(folder, scorer)
    if parts.text_model:
        write_text_encoder(parts.text_model, folder)
    scorer.index.CopyFrom(write_index(parts.index_factory, offline.item_vector, queries, folder, parts.recall_floor))
    largest = write_golden(offline, golden, folder)
    scorer.golden_tolerance = max(GOLDEN_TOLERANCE, GOLDEN_TOLERANCE * largest / USUAL_SCORE)
    return scorer


def _two_events(name: str, value: Tensor) -> Tensor:
    """Histories of at least two events, the first one twice: in the graph an axis of length 1 would not be free."""
    return torch.cat([value[:, :1], value], 1) if name.startswith("history") and value.shape[1] == 1 else value


def write_items(arrays: Arrays, folder: Path) -> None:
    """Raises TrainingError where a value is not finite."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise TrainingError(
                f"{name} has values that are not finite: the training diverged, lower the learning rate"
            )
    save_file(arrays, folder / "items.safetensors")


def write_posters(vectors: Floats, folder: Path) -> None:
    """Of length 1, or zero."""
    save_file({"poster_vector": vectors}, folder / POSTERS)


def _users(user_ids: Sequence[str]) -> Arrays:
    encoded = np.array([user.encode() for user in user_ids], np.bytes_)
    order = np.argsort(encoded)
    width = max(1, encoded.dtype.itemsize)
    if width > MAX_ID_BYTES:
        raise TrainingError(f"a user id has {width} bytes; the limit is {MAX_ID_BYTES}")
    ids = np.ascontiguousarray(encoded[order].astype(f"S{width}")).view(np.uint8).reshape(-1, width)
    return {"user_id": ids, "user_index": order + 1}


def _user_ids(users: Arrays) -> list[str]:
    """In the order of their index."""
    encoded = users["user_id"].view(f"S{users['user_id'].shape[1]}")[:, 0]
    return [user.decode() for user in encoded[np.argsort(users["user_index"])].tolist()]


def write_golden(offline: "OfflineScorer", golden: Requests, folder: Path) -> float:
    """64 candidates a request, one of them unknown, and the scores the offline scorer gives them.

    Returns the largest score without its sign.
    """
    rows = np.arange(min(len(golden), 16))
    golden = golden.select(rows)
    random = np.random.default_rng(0)
    columns = random.integers(0, len(offline.item_number), (len(golden), 63))
    unknown = np.full((len(golden), 1), offline.item_number[-1] + 1)
    score = np.take_along_axis(offline.scores(golden), columns, axis=1)
    np.savez(
        folder / "golden.npz",
        user_id=np.array(golden.user_id),
        history_item=pad_front(golden.history_item, 0, np.int64),
        history_rating=pad_front(golden.history_rating, np.nan, np.float32),
        history_time=pad_front(golden.history_time, 0, np.int64),
        query_time=golden.query_time[:, None],
        candidate=np.hstack([offline.item_number[columns], unknown]),
        score=np.hstack([score, np.full((len(golden), 1), np.nan, np.float32)]),
    )
    return float(np.abs(score[np.isfinite(score)]).max(initial=0))


class _Inputs:
    """Turns requests into the tower's inputs: unknown items dropped, the last `max_history` kept, padded in front."""

    def __init__(self, user_ids: list[str], arrays: Arrays, inputs: Sequence[str], max_history: int) -> None:
        self._user_index = {user: index for index, user in enumerate(user_ids, start=1)}
        number = arrays["item_number"]
        # Those that the tower knows are in its order.
        self._number: Ints = number[arrays["tower_index"] > 0] if "tower_index" in arrays else number
        feature = arrays.get("item_feature")
        self._feature = None if feature is None else np.vstack([np.zeros_like(feature[:1]), feature])
        self._inputs, self._max_history = inputs, max_history

    def __call__(self, requests: Requests) -> Arrays:
        known = [self._known(items) for items in requests.history_item]
        index = pad_front(
            [np.searchsorted(self._number, i[k]) + 1 for i, k in zip(requests.history_item, known, strict=True)],
            0,
            np.int64,
        )
        everything: Arrays = {
            "user_index": np.array([[self._user_index.get(user, 0)] for user in requests.user_id], np.int64),
            "history_index": index,
            "history_rating": pad_front(
                [r[k] for r, k in zip(requests.history_rating, known, strict=True)], np.nan, np.float32
            ),
            "history_time": pad_front([t[k] for t, k in zip(requests.history_time, known, strict=True)], 0, np.int64),
            "query_time": requests.query_time[:, None],
        }
        if self._feature is not None:
            everything["history_feature"] = self._feature[index]
        return {name: everything[name] for name in self._inputs}

    def _known(self, items: Ints) -> Ints:
        """Positions of the events to use."""
        return np.flatnonzero(np.isin(items, self._number))[-self._max_history :]


class OfflineScorer:
    """A scorer without a server. Scores are those a server gives, item for item."""

    def __init__(self, folder: Path, scorer: Scorer | None = None) -> None:
        scorer = scorer or read_manifest(folder).scorer
        arrays = read_tensors(folder / "items.safetensors")
        self.item_number: Ints = arrays["item_number"]
        self.item_vector: Floats = arrays["item_vector"]
        user_ids = _user_ids(read_tensors(folder / "users.safetensors"))
        self._inputs = _Inputs(user_ids, arrays, scorer.inputs, scorer.max_history)
        self._session = session(regular(folder / "query_tower.onnx"))
        self._genre_tower = folder / GENRE_TOWER

    def queries(self, requests: Requests, batch: int = 64) -> Floats:
        """[B, D]; a NaN row abstains."""
        queries = np.empty((len(requests), self.item_vector.shape[1]), np.float32)
        for rows, some in requests.batches(batch):
            queries[rows] = self._session.run(["query"], self._inputs(some))[0]
        return queries

    def scores(self, requests: Requests) -> Floats:
        """[B, N] in the order of `item_number`."""
        return np.asarray(self.queries(requests) @ self.item_vector.T, np.float32)

    def genres(self, requests: Requests, batch: int = 64) -> Floats | None:
        """Probability [B, G] of the genres that are watched next; None where the version does not predict any."""
        if not self._genre_tower.is_file():
            return None
        tower = session(regular(self._genre_tower))
        found = np.empty((len(requests), tower.get_outputs()[0].shape[-1]), np.float32)
        for rows, some in requests.batches(batch):
            found[rows] = tower.run(["probability"], self._inputs(some))[0]
        return found
