"""The programs that ask, both in C++, so that they take little of the machine from the server.

h2load (Debian: nghttp2-client) sends one request again and again, each caller on a connection of its own, to any gRPC
server. perf_analyzer sends many over streams, to servers that have ModelConfig and ModelStreamInfer.
"""

import base64
import csv
import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from tests.load.report import quantiles

INFER = "/inference.GRPCInferenceService/ModelInfer"
PATIENCE = 60  # seconds that a client may take beyond its run
WINDOWS = 3  # what perf_analyzer takes its means of


@dataclass(frozen=True)
class LoadResult:
    """What a client saw: answers a second, and their latencies in ms by quantile."""

    per_second: float
    latency_ms: dict[str, float]


def ask(address: str, request: bytes) -> bytes:
    """The serialized answer to a serialized ModelInferRequest."""
    with grpc.insecure_channel(address) as channel:
        infer: Any = channel.unary_unary(INFER)
        return bytes(infer(request, timeout=20))


def h2load(program: str, address: str, request: bytes, callers: int, seconds: float) -> LoadResult:
    """Unary calls in a closed loop. Raises OSError where not all of them are answered as a call beforehand is."""
    expected = len(ask(address, request)) + 5
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
        load = [
            f"--clients={callers}",
            "--max-concurrent-streams=1",
            "--threads=1",
            f"--duration={seconds * 1000:.0f}ms",
        ]
        headers = ["--header=content-type: application/grpc", "--header=te: trailers"]
        files = [f"--data={body}", f"--log-file={log}"]
        said = _run([program, *load, *headers, *files, f"http://{address}{INFER}"], seconds + PATIENCE)
        latency_ms = np.loadtxt(log, usecols=2, ndmin=1) / 1e3
    done, received = int(_find(r"(\d+) done", said)), int(_find(r"\((\d+)\) data", said))
    if not done * expected <= received <= (done + callers) * expected:  # an error has HTTP status 200 too, but no body
        raise OSError(f"{address}: {done} answers of {expected} bytes were expected, but {received} bytes came")
    return LoadResult(done / seconds, quantiles(latency_ms.tolist()))


def perf_analyzer(program: str, address: str, requests: Sequence[bytes], callers: int, seconds: float) -> LoadResult:
    """Requests over ModelStreamInfer in a closed loop. Raises OSError where one fails."""
    with tempfile.TemporaryDirectory() as folder:
        data, table = Path(folder, "data.json"), Path(folder, "table.csv")
        messages = [service_pb2.ModelInferRequest.FromString(request) for request in requests]
        data.write_text(json.dumps({"data": [_tensors(message) for message in messages]}))
        window = [f"--measurement-interval={seconds * 1000 / WINDOWS:.0f}", f"--max-trials={WINDOWS}"]
        load = ["--streaming", f"--concurrency-range={callers}", *window, "--stability-percentage=999"]
        where = ["-m", messages[0].model_name, "-u", address, "-i", "grpc"]
        _run([program, *where, *load, f"--input-data={data}", "-f", str(table)], 2 * seconds + PATIENCE)
        [row] = csv.DictReader(table.read_text().splitlines())
    latency_ms = {name: float(row[f"{name} latency"]) / 1e3 for name in ("p50", "p90", "p95", "p99")}
    return LoadResult(float(row["Inferences/Second"]), latency_ms)


def _tensors(request: service_pb2.ModelInferRequest) -> dict[str, object]:
    """A request in the words of perf_analyzer's --input-data."""
    return {
        tensor.name: {"content": {"b64": base64.b64encode(raw).decode()}, "shape": list(tensor.shape)[1:]}
        for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True)
    }


def _run(command: Sequence[str], timeout: float) -> str:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:  # perf_analyzer waits for ever for a server that crashed
        raise OSError(f"{' '.join(command)} does not end; does its server still run?") from None
    if done.returncode:
        raise OSError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
    return done.stdout


def _find(pattern: str, text: str) -> str:
    if not (found := re.search(pattern, text)):
        raise OSError(f"nothing like {pattern!r} in:\n{text[-2000:]}")
    return found[1]
