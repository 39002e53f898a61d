"""Gives a tiny scorer an item encoder, whose embedding of a poster is its mean colour beside what is written."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from tests.servers.tiny_artifact import seal

HEIGHT, WIDTH = 48, 32
COLUMNS = 4
"""Width of the metadata: a genre, a word and two for the year."""


def add_encoder(folder: Path) -> None:
    """To a version that nobody serves yet."""
    names = {"genres": ["Drama"], "words": ["space"], "text_model": ""}
    (folder / "content.json").write_text(json.dumps(names))
    one = np.ones((1, 1), np.float32)
    save_file({"idf": one[0], "components": one}, folder / "content.safetensors")
    onnx.save(_encoder(), str(folder / "item_encoder.onnx"))
    seal(folder)


def _encoder() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Cast", ["poster"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["colour"], axes=[2, 3], keepdims=0),
        helper.make_node("Concat", ["colour", "metadata"], ["item_feature"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            value("poster", TensorProto.UINT8, ["B", 3, HEIGHT, WIDTH]),
            value("has_poster", TensorProto.BOOL, ["B"]),
            value("metadata", TensorProto.FLOAT, ["B", COLUMNS]),
        ],
        [value("item_feature", TensorProto.FLOAT, ["B", 3 + COLUMNS])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
