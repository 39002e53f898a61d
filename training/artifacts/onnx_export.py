"""Query towers and item encoders as ONNX graphs."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxscript import opset18
from onnxscript.values import Op, Opset
from torch import Tensor, nn

from training.errors import TrainingError

PARITY = 1e-4
"""Largest absolute difference between the graph and eager torch."""

_MICROSOFT = Opset("com.microsoft", 1)
_INVERSE_SCHEMA = onnx.defs.OpSchema(
    "Inverse",
    "com.microsoft",
    1,
    inputs=[onnx.defs.OpSchema.FormalParameter("X", "T")],
    outputs=[onnx.defs.OpSchema.FormalParameter("Y", "T")],
    type_constraints=[("T", ["tensor(float)"], "")],
)
_INVERSE = Op(_MICROSOFT, "Inverse", _INVERSE_SCHEMA)


def _inverse(matrix: object) -> object:
    """ONNX has no inverse; every ONNX Runtime build brings this one."""
    return _INVERSE(matrix)


def _inverse_unchecked(matrix: object, check_errors: bool = False) -> tuple[object, object]:
    return _INVERSE(matrix), opset18.Constant(value_ints=[0])


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.linalg_inv.default: _inverse,
    torch.ops.aten.linalg_inv_ex.default: _inverse_unchecked,
}


def export_tower(tower: nn.Module, example: Mapping[str, Tensor], path: Path, output: str = "query") -> None:
    """Writes `tower(**example)` as a graph whose first two axes (users B, history L) are free, and its only `output`.

    Raises TrainingError where the graph and eager torch differ by more than PARITY, on the example or parts of it.
    """
    _export(tower, example, [output], free_axes(example), path)
    _check_parity(tower, _sizes(example), path)


def export_rows(module: nn.Module, example: Mapping[str, Tensor], outputs: Sequence[str], path: Path) -> None:
    """As export_tower for a module whose inputs and outputs (a tuple) have one free axis, the first."""
    rows: dict[str, dict[int, object]] = {name: {0: torch.export.Dim.DYNAMIC} for name in example}
    _export(module, example, outputs, rows, path)
    _check_parity(module, [example, {name: value[:1] for name, value in example.items()}], path)


def _export(
    module: nn.Module,
    example: Mapping[str, Tensor],
    outputs: Sequence[str],
    free: dict[str, dict[int, object]],
    path: Path,
) -> None:
    """Writes `module(**example)` as a graph; `free` are the axes of each input that may have any size."""
    module.eval()
    with _quiet():
        program = torch.onnx.export(
            module,
            (),
            kwargs=dict(example),
            dynamo=True,
            dynamic_shapes=free,
            input_names=list(example),
            output_names=list(outputs),
            custom_translation_table=TRANSLATIONS,
            verbose=False,
        )
    assert program is not None
    program.save(str(path))


def free_axes(example: Mapping[str, Tensor]) -> dict[str, dict[int, object]]:
    """For torch.export: B is free, and L, but not the second axis of inputs that are [B, 1]."""
    return {name: {0: torch.export.Dim.DYNAMIC} | _history_axis(value) for name, value in example.items()}


def _history_axis(value: Tensor) -> dict[int, object]:
    return {1: torch.export.Dim.DYNAMIC} if value.shape[1] > 1 else {}


def session(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """A CPU session. `threads` 0 leaves the choice to ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _check_parity(module: nn.Module, samples: Iterable[Mapping[str, Tensor]], path: Path) -> None:
    graph = session(path)
    # Shapes that were not traced may still be wrong in the graph.
    for sample in samples:
        with torch.no_grad():
            answer = module(**sample)
        served = graph.run(None, {name: value.numpy() for name, value in sample.items()})
        for eager, given in zip(answer if isinstance(answer, tuple) else (answer,), served, strict=True):
            if not np.allclose(eager.numpy(), given, atol=PARITY, equal_nan=True):
                worst = np.nanmax(np.abs(eager.numpy() - given))
                raise TrainingError(f"the exported graph differs from the model by {worst:.2g} (limit {PARITY})")


def _sizes(example: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The example, its first user alone, and each history cut to its last event."""
    yield dict(example)
    yield {name: value[:1] for name, value in example.items()}
    yield {name: value[:, -1:] for name, value in example.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns about its own internals and about torchvision, which is not used here."""
    loggers: Sequence[logging.Logger] = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
