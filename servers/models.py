"""The three models that one version of a scorer makes, as clients of the protocol see them."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2

from servers.batcher import Batcher, BatchLimits
from servers.runtime.deadline import Deadline
from servers.scorer import Scorer
from servers.signature import RETRIEVE, SCORE, SIMILAR, Arrays, Limits, Signature, Tensor
from servers.statistics import Statistics

PLATFORM = "marquee_onnxruntime"


def names(scorer: str) -> list[str]:
    """What the models of a scorer are called."""
    return [scorer, f"{scorer}_retrieve", f"{scorer}_similar"]


@dataclass(frozen=True)
class Execution:
    """What all models of a process share."""

    executor: Executor
    limits: Limits
    batching: BatchLimits


class Model:
    """One model of one version. Its answers come from that version alone."""

    def __init__(
        self,
        name: str,
        version: str,
        signature: Signature,
        compute: Callable[[Arrays], Arrays],
        execution: Execution,
    ) -> None:
        self.name, self.version = name, version
        self._signature, self._execution = signature, execution
        self._statistics = Statistics(name)
        self._batcher = Batcher(signature, compute, execution.executor, execution.batching, self._statistics)

    async def infer(self, given: Arrays, outputs: Iterable[str], deadline: Deadline) -> Arrays:
        """The outputs asked for, or all. Raises InvalidArgument, and what the batcher raises."""
        wanted = self._signature.select(outputs)
        answer = await self._batcher(self._signature.complete(given, self._execution.limits), deadline)
        return {name: answer[name] for name in wanted}

    def metadata(self) -> Any:
        """A ModelMetadataResponse."""
        kind = service_pb2.ModelMetadataResponse.TensorMetadata
        inputs, outputs = (
            [kind(name=t.name, datatype=t.datatype, shape=[-1, _size(t)]) for t in tensors]
            for tensors in (self._signature.inputs, self._signature.outputs)
        )
        return service_pb2.ModelMetadataResponse(
            name=self.name, versions=[self.version], platform=PLATFORM, inputs=inputs, outputs=outputs
        )

    def config(self) -> Any:
        """A ModelConfig; as in Triton, its dims leave out the batch."""
        return model_config_pb2.ModelConfig(
            name=self.name,
            platform=PLATFORM,
            max_batch_size=self._execution.batching.max_batch_size,
            input=[
                model_config_pb2.ModelInput(
                    name=t.name, data_type=_data_type(t), dims=[_size(t)], optional=t.default is not None
                )
                for t in self._signature.inputs
            ],
            output=[
                model_config_pb2.ModelOutput(name=t.name, data_type=_data_type(t), dims=[_size(t)])
                for t in self._signature.outputs
            ],
            dynamic_batching=model_config_pb2.ModelDynamicBatching(
                max_queue_delay_microseconds=int(self._execution.batching.max_queue_delay * 1e6)
            ),
        )

    def statistics(self) -> Any:
        """A ModelStatistics."""
        return self._statistics.message(self.name, self.version)


def _size(tensor: Tensor) -> int:
    return 1 if tensor.axis == "1" else -1


def _data_type(tensor: Tensor) -> int:
    name = "TYPE_STRING" if tensor.datatype == "BYTES" else f"TYPE_{tensor.datatype}"
    return int(model_config_pb2.DataType.Value(name))


@dataclass(frozen=True)
class LoadedVersion:
    """What is replaced in one assignment when a version changes."""

    number: int
    models: dict[str, Model]


def models_of(name: str, number: int, scorer: Scorer, execution: Execution) -> LoadedVersion:
    """Wires a scorer to its three names. Call it in the event loop."""
    computes = [(SCORE, scorer.score), (RETRIEVE, scorer.retrieve), (SIMILAR, scorer.similar)]
    models = {
        model: Model(model, str(number), signature, compute, execution)
        for model, (signature, compute) in zip(names(name), computes, strict=True)
    }
    return LoadedVersion(number, models)
