"""A scorer's model inside NVIDIA Triton's Python backend; triton_export.py writes the models that use it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as backend

from servers.batcher import compute
from servers.loading import load
from servers.models import computes, signatures
from servers.runtime.errors import InvalidArgument
from servers.runtime.repository import verify
from servers.runtime.status import status_of
from servers.signature import Arrays, Limits
from servers.statistics import Times


class TritonPythonModel:
    """What Triton makes of a model folder, and calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Raises ArtifactError; Triton then tells it and does not serve the model."""
        name, version = args["model_name"], args["model_version"]
        config = json.loads(args["model_config"])
        said = {key: value["string_value"] for key, value in config["parameters"].items()}
        artifact = verify(Path(args["model_repository"], version, "artifact"), said["scorer"], int(version))
        self._signature = signatures(said["scorer"])[name]
        self._compute = computes(said["scorer"], load(artifact, int(said["threads"])))[name]
        self._limits = Limits(
            B=config["max_batch_size"],
            L=int(said["max_history"]),
            C=int(said["max_candidates"]),
            K=int(said["max_k"]),
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """A response for each request; those that can be answered are computed together."""
        calls = [self._complete(request) for request in requests]
        good = [call for call in calls if not isinstance(call, Exception)]
        answers = iter(compute(self._signature, self._compute, good, Times(time.perf_counter_ns())) if good else [])
        outcomes = [call if isinstance(call, Exception) else next(answers) for call in calls]
        return [self._response(*pair) for pair in zip(requests, outcomes, strict=True)]

    def _complete(self, request: Any) -> Arrays | Exception:
        try:
            given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            return self._signature.complete(given, self._limits)
        except Exception as error:
            return error

    def _response(self, request: Any, outcome: Arrays | Exception) -> Any:
        if isinstance(outcome, Exception):
            return backend.InferenceResponse(error=_error(outcome, request))
        wanted = self._signature.select(request.requested_output_names())
        return backend.InferenceResponse([backend.Tensor(name, outcome[name]) for name in wanted])


def _error(error: Exception, request: Any) -> Any:
    kind = backend.TritonError
    code = kind.INVALID_ARG if isinstance(error, InvalidArgument) else kind.INTERNAL
    return kind(status_of(error, request)[1], code)
