"""The models that one version of a scorer makes, as clients of the protocol see them."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2

from servers.batcher import Batcher, BatchLimits
from servers.runtime.deadline import Deadline
from servers.scorer import Scorer
from servers.signature import EMBED, RETRIEVE, SCORE, SIMILAR, Arrays, Limits, Signature, Tensor
from servers.statistics import Statistics

PLATFORM = "marquee_onnxruntime"


def names(scorer: str) -> list[str]:
    """What the models of a scorer are called that every version has."""
    return list(signatures(scorer))[:3]


def signatures(scorer: str) -> dict[str, Signature]:
    """The models that a scorer may have: name -> signature."""
    return {scorer: SCORE, f"{scorer}_retrieve": RETRIEVE, f"{scorer}_similar": SIMILAR, f"{scorer}_embed": EMBED}


def computes(name: str, scorer: Scorer) -> dict[str, Callable[[Arrays], Arrays]]:
    """What answers each model of a scorer; the last is there where the version has an item encoder."""
    found = [scorer.score, scorer.retrieve, scorer.similar]
    if scorer.encoder:
        found.append(scorer.encoder.embed)
    return dict(zip(signatures(name), found, strict=False))


@dataclass(frozen=True)
class Execution:
    """What all models of a process share."""

    executor: Executor
    encoder: Executor
    """Of the item encoder, whose images take much longer than all else."""
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
        executor = execution.encoder if signature is EMBED else execution.executor
        self._signature, self._execution = signature, execution
        self._statistics = Statistics(name)
        self._batcher = Batcher(signature, compute, executor, execution.batching, self._statistics)

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
        """A ModelConfig; its parameters tell the limits, as those of an export for Triton do."""
        config = config_of(self.name, self._signature, self._execution.batching)
        config.platform = PLATFORM
        limits = self._execution.limits
        for name, limit in (("max_history", limits.L), ("max_candidates", limits.C), ("max_k", limits.K)):
            config.parameters[name].string_value = str(limit)
        return config

    def statistics(self) -> Any:
        """A ModelStatistics."""
        return self._statistics.message(self.name, self.version)


def config_of(name: str, signature: Signature, batching: BatchLimits) -> Any:
    """A ModelConfig that does not say what runs the model; as in Triton, its dims leave out the batch."""
    return model_config_pb2.ModelConfig(
        name=name,
        max_batch_size=batching.max_batch_size,
        input=[
            model_config_pb2.ModelInput(
                name=t.name, data_type=_data_type(t), dims=[_size(t)], optional=t.default is not None
            )
            for t in signature.inputs
        ],
        output=[
            model_config_pb2.ModelOutput(name=t.name, data_type=_data_type(t), dims=[_size(t)])
            for t in signature.outputs
        ],
        dynamic_batching=model_config_pb2.ModelDynamicBatching(
            max_queue_delay_microseconds=int(batching.max_queue_delay * 1e6)
        ),
    )


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
    """Wires a scorer to its names. Call it in the event loop."""
    signature = signatures(name)
    models = {
        model: Model(model, str(number), signature[model], compute, execution)
        for model, compute in computes(name, scorer).items()
    }
    return LoadedVersion(number, models)
