"""A version of a scorer that knows more items than the one it is made from; nothing is trained."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protos.marquee.v1.artifact_pb2 import Manifest
from training.artifacts.faiss_index import write_index
from training.artifacts.item_encoder_files import FILES
from training.artifacts.mapped_items import Arrays, merged, unit
from training.artifacts.repository import publish_after, read_manifest
from training.artifacts.requests import Requests
from training.artifacts.scorer_files import (
    GENRE_TOWER,
    POSTERS,
    RECALL_FLOOR,
    OfflineScorer,
    write_golden,
    write_items,
    write_posters,
)
from training.errors import TrainingError
from training.features import content_map, text_encoder
from training.features.interactions import Floats, Ints
from training.fitting import curve as learning_curve
from training.published import read_arrays, read_tensors

UNCHANGED = ("query_tower.onnx", "users.safetensors")
COPIED_WHERE_PRESENT = (*FILES, *content_map.FILES, *text_encoder.FILES, GENRE_TOWER, learning_curve.FILE)
GOLDEN_EVENTS = 8


def publish_extended(before: Path, added: Arrays, poster: Floats | None = None) -> Path:
    """Publishes the version `before` with more items: `added` are rows of items.safetensors, by ascending number.

    `poster` [P, S] are features of posters alone, zero without one. Raises TrainingError where a tower that reads
    features cannot read a history of the added items, or their numbers are not beyond those it has.
    """
    number, reads_features = added["item_number"], "item_feature" in added
    manifest = read_manifest(before)
    made = Manifest(model=manifest.model, recipe=manifest.recipe, data=manifest.data, metrics=manifest.metrics)
    made.made_from, made.data.items = manifest.version, manifest.data.items + len(number)

    def write(folder: Path) -> None:
        arrays = read_tensors(before / "items.safetensors")
        if reads_features and number[0] <= (last := arrays["item_number"][-1]):
            raise TrainingError(f"item number {number[0]} is not beyond {last}: train {manifest.model} again")
        write_items(merged(arrays, added), folder)
        for name in [*UNCHANGED, *(name for name in COPIED_WHERE_PRESENT if (before / name).is_file())]:
            shutil.copyfile(before / name, folder / name)
        if poster is not None and (before / POSTERS).is_file():
            known = read_tensors(before / POSTERS)["poster_vector"]
            write_posters(np.concatenate([known, unit(poster)]), folder)
        offline = OfflineScorer(folder, manifest.scorer)
        golden = _golden(before, number)
        # The first request is a history of added items alone.
        queries = offline.queries(golden)
        if reads_features and not np.isfinite(queries[0]).all():
            raise TrainingError(f"{before}: the query tower does not read items that it was not trained on")
        made.scorer.CopyFrom(manifest.scorer)
        factory = manifest.scorer.index.factory
        made.scorer.index.CopyFrom(write_index(factory, offline.item_vector, queries, folder, RECALL_FLOOR))
        write_golden(offline, golden, folder)

    return publish_after(before, made, write)


def _golden(before: Path, added: Ints) -> Requests:
    """First the added items as a history, then the golden requests of the version `before`."""
    kept = read_arrays(before / "golden.npz")
    real = kept["history_item"] > 0

    def histories(name: str) -> list[NDArray[Any]]:
        return [row[events] for row, events in zip(kept[name], real, strict=True)]

    user_id, query_time = kept["user_id"].tolist(), kept["query_time"][:, 0]
    added = added[:GOLDEN_EVENTS]
    return Requests(
        ["", *user_id],
        [added, *histories("history_item")],
        [np.full(len(added), np.nan, np.float32), *histories("history_rating")],
        [np.full(len(added), query_time[0]), *histories("history_time")],
        np.concatenate([query_time[:1], query_time]),
    )
