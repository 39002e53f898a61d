"""Ways in which a published version can be broken, and how a model server refuses each."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file

from tests.servers import tiny_artifact
from tests.servers.tiny_artifact import seal


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


def with_an_item_whose_scores_overflow(folder: Path) -> None:
    """The last one, which no golden request is about."""
    change_items(folder, lambda items: items["item_vector"].__setitem__(-1, 3e38))


def with_a_feature_that_is_not_finite(folder: Path) -> None:
    change_items(folder, lambda items: items.update(item_feature=np.full((30, 2), np.inf, np.float32)))


def with_queries_that_overflow(folder: Path) -> None:
    """And golden scores that are as large."""
    tower = onnx.load(str(folder / "query_tower.onnx"))
    table = numpy_helper.to_array(tower.graph.initializer[0]) * np.float32(1e14)
    tower.graph.initializer[0].CopyFrom(numpy_helper.from_array(table, "table"))
    onnx.save(tower, str(folder / "query_tower.onnx"))
    with np.load(folder / "golden.npz") as golden:
        arrays = {name: golden[name] for name in golden.files}
    arrays["score"] *= np.float32(1e14)
    np.savez(folder / "golden.npz", **arrays)
    change_manifest(folder, lambda manifest: manifest["scorer"].update(golden_tolerance=1e10))
    seal(folder)


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


def with_a_tower_index_beyond_its_items(folder: Path) -> None:
    change_items(folder, lambda items: items.update(tower_index=np.arange(len(items["item_number"])) + 2))


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
    (with_an_item_whose_scores_overflow, "malformed", r"item_vector has values beyond 1e\+12"),
    (with_a_feature_that_is_not_finite, "malformed", "item_feature has values that are not finite"),
    (with_queries_that_overflow, "golden", r"a golden user's query has values up to .*; the limit is 1e\+12"),
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
    (with_a_tower_index_beyond_its_items, "malformed", "tower_index does not fit item_number"),
    (with_a_long_header, "size", r"items.safetensors has \d+ bytes of names and shapes; the limit is 1048576"),
    (with_weights_in_another_file, "malformed", "its files cannot be loaded"),
]
"""What breaks a version, the reason that metrics name, and the message."""
