"""A scorer's model inside NVIDIA Triton's Python backend; triton_export.py writes the models that use it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as backend

from servers.batcher import compute
from servers.loading import load
from servers.models import functions, signatures
from servers.runtime.errors import InvalidArgument
from servers.runtime.repository import verify
from servers.runtime.status import status_of
from servers.signature import Arrays, Limits
from servers.statistics import Times


class TritonPythonModel:
    """What Triton makes of a model folder, and calls."""

    def initialize(self, args: dict[str, str]) -> None:
        """Raises ArtifactError; Triton then reports it and does not serve the model."""
        name, version = args["model_name"], args["model_version"]
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        artifact = verify(Path(args["model_repository"], version, "artifact"), parameters["scorer"], int(version))
        self._signature = signatures(parameters["scorer"])[name]
        self._function = functions(parameters["scorer"], load(artifact, int(parameters["threads"])))[name]
        self._limits = Limits(
            B=config["max_batch_size"],
            L=int(parameters["max_history"]),
            C=int(parameters["max_candidates"]),
            K=int(parameters["max_k"]),
            A=int(parameters.get("max_allowed", 0)),  # exports of before have none, nor the tensor
        )

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """A response for each request; those that can be answered are computed together."""
        calls = [self._complete(request) for request in requests]
        complete = [call for call in calls if not isinstance(call, Exception)]
        times = Times(time.perf_counter_ns())
        answers = iter(compute(self._signature, self._function, complete, times) if complete else [])
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
        requested = self._signature.select(request.requested_output_names())
        return backend.InferenceResponse([backend.Tensor(name, outcome[name]) for name in requested])


def _error(error: Exception, request: Any) -> Any:
    kind = backend.TritonError
    code = kind.INVALID_ARG if isinstance(error, InvalidArgument) else kind.INTERNAL
    return kind(status_of(error, request)[1], code)
