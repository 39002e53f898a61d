"""Where towers and indexes run: on the CPU, or on one NVIDIA GPU. The requested device is used, or nothing starts."""

import os
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import onnxruntime

from servers.runtime.datatypes import Array
from servers.runtime.errors import ConfigurationError
from servers.tables import mapped_tables

Device = Literal["cpu", "cuda"]
CUDA = "CUDAExecutionProvider"
INSTALL = "pip uninstall onnxruntime faiss-cpu, then pip install 'marquee[gpu]'"
MAX_K_ON_GPU = 2048
"""Maximum number of items that FAISS returns for a query on a GPU."""


def check_device(device: Device) -> None:
    """Raises ConfigurationError, saying what is missing for a GPU."""
    if device == "cpu":
        return
    if CUDA not in onnxruntime.get_available_providers():
        raise ConfigurationError(f"--device cuda: this onnxruntime cannot use a GPU; onnxruntime-gpu can: {INSTALL}")
    if not hasattr(faiss, "StandardGpuResources"):
        raise ConfigurationError(f"--device cuda: this FAISS cannot use a GPU; faiss-gpu can: {INSTALL}")
    if not faiss.get_num_gpus():
        raise ConfigurationError("--device cuda: no GPU is visible; see nvidia-smi and CUDA_VISIBLE_DEVICES")
    onnxruntime.preload_dlls()


def load_tower(path: Path, threads: int, device: Device, shared: bool = False) -> Any:
    """An ONNX Runtime session; on a CPU its large tables are `shared` with other processes by mapping the file.

    Raises ConfigurationError where CUDA's libraries do not load.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must not burn CPU
    providers: list[Any] = ["CPUExecutionProvider"]
    if device == "cuda":
        providers.insert(0, (CUDA, {"use_tf32": 0}))  # whose 10 bits would miss the golden scores
    # Weights must be in the file itself, whose sha256 has been checked: in this folder there can be no others.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    tables = mapped_tables(path) if shared and device == "cpu" else {}
    for name, table in tables.items():
        options.add_initializer(name, table)
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=providers)
    session.tables = tables  # which it reads, but does not keep
    session._model_bytes = b""  # which it keeps, for providers that are changed later
    if device == "cuda" and CUDA not in session.get_providers():
        raise ConfigurationError("--device cuda: ONNX Runtime cannot load CUDA or cuDNN; its log says which library")
    return session


def place_index(index: Any, device: Device) -> Any:
    """The index, on the device. Raises ConfigurationError where it cannot be there, such as any but Flat and IVF."""
    if device == "cpu":
        return index
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except RuntimeError as error:
        kind = type(faiss.downcast_index(index)).__name__
        problem = str(error).rpartition(": ")[2]
        message = f"--device cuda: {kind} cannot be on the GPU; Flat and IVF can, where memory suffices ({problem})"
        raise ConfigurationError(message) from None


class FlatIndex:
    """Exact search by inner product, over vectors that it does not copy, as IndexFlatIP does."""

    def __init__(self, vectors: Array) -> None:
        """FP32 [N, D]."""
        self._vectors = np.ascontiguousarray(vectors, np.float32)

    def search(self, query_BD: Array, k: int) -> tuple[Array, Array]:
        """Scores and rows [B, k], best first; -1 where there are fewer."""
        score_BK, row_BK = faiss.knn(query_BD, self._vectors, k, faiss.METRIC_INNER_PRODUCT)
        return score_BK, row_BK


def flat_index(vectors: Array, device: Device) -> Any:
    """For exact search by inner product over FP32 [N, D], on the device."""
    if device == "cpu":
        return FlatIndex(vectors)
    index = place_index(faiss.IndexFlatIP(vectors.shape[1]), device)
    index.add(np.ascontiguousarray(vectors))
    return index


def max_k(device: Device, items: int) -> int:
    """Maximum number of items that one search may return."""
    return items if device == "cpu" else min(items, MAX_K_ON_GPU)
