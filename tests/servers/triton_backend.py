"""Stands in for `triton_python_backend_utils`, which exists only inside Triton: the parts that triton_model.py uses."""

from dataclasses import dataclass, field

from servers.runtime.datatypes import Array


@dataclass
class Tensor:
    tensor_name: str
    array: Array

    def name(self) -> str:
        return self.tensor_name

    def as_numpy(self) -> Array:
        return self.array


@dataclass
class TritonError:
    INTERNAL, INVALID_ARG = "INTERNAL", "INVALID_ARG"
    message: str
    code: str


@dataclass
class InferenceResponse:
    tensors: list[Tensor] = field(default_factory=list)
    error: TritonError | None = None

    def arrays(self) -> dict[str, Array]:
        """What Triton would send."""
        assert self.error is None, self.error
        return {tensor.tensor_name: tensor.array for tensor in self.tensors}


@dataclass
class InferenceRequest:
    given: dict[str, Array]
    requested: tuple[str, ...]

    def inputs(self) -> list[Tensor]:
        return [Tensor(name, array) for name, array in self.given.items()]

    def requested_output_names(self) -> tuple[str, ...]:
        return self.requested
