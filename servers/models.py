"""The models that one version of a scorer makes, as clients of the protocol see them."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2

from servers.batcher import Batcher, BatchLimits
from servers.embedding import GRAPH, has_file
from servers.runtime.deadline import Deadline
from servers.runtime.repository import Version
from servers.scorer import GENRE_TOWER, POSTERS, LoadedScorer
from servers.signature import EMBED, GENRES, POSTER, RETRIEVE, SCORE, SIMILAR, Arrays, Limits, Signature, Tensor
from servers.statistics import Statistics

PLATFORM = "marquee_onnxruntime"


ModelFunction = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class ModelKind:
    """One of the models that a scorer is served as."""

    suffix: str
    """Follows the scorer's name in the model's name."""
    signature: Signature
    function: Callable[[LoadedScorer], ModelFunction | None]
    """What answers its requests; None where the version does not have this model."""
    file: str = ""
    """Of a version that has this model; empty where every version has."""


MODEL_KINDS = (
    ModelKind("", SCORE, lambda scorer: scorer.score),
    ModelKind("_retrieve", RETRIEVE, lambda scorer: scorer.retrieve),
    ModelKind("_similar", SIMILAR, lambda scorer: scorer.similar),
    ModelKind("_embed", EMBED, lambda scorer: scorer.encoder.embed if scorer.encoder else None, GRAPH),
    ModelKind("_similar_poster", POSTER, lambda scorer: scorer.similar_poster, POSTERS),
    ModelKind("_genres", GENRES, lambda scorer: scorer.genres, GENRE_TOWER),
)


def names(scorer: str) -> list[str]:
    """Names of the models that every version of a scorer has."""
    return [scorer + kind.suffix for kind in MODEL_KINDS if not kind.file]


def names_in(version: Version) -> list[str]:
    """Names of the models that this version of a scorer has."""
    return [version.model + kind.suffix for kind in MODEL_KINDS if not kind.file or has_file(version, kind.file)]


def signatures(scorer: str) -> dict[str, Signature]:
    """Signatures of all models that a scorer may have, by the model's name."""
    return {scorer + kind.suffix: kind.signature for kind in MODEL_KINDS}


def functions(name: str, scorer: LoadedScorer) -> dict[str, ModelFunction]:
    """What answers each model of this version of a scorer, by the model's name."""
    found = {name + kind.suffix: kind.function(scorer) for kind in MODEL_KINDS}
    return {model: function for model, function in found.items() if function}


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
        function: ModelFunction,
        execution: Execution,
    ) -> None:
        self.name, self.version = name, version
        executor = execution.encoder if signature in (EMBED, POSTER) else execution.executor
        self._signature, self._execution = signature, execution
        self._statistics = Statistics(name)
        self._batcher = Batcher(signature, function, executor, execution.batching, self._statistics)

    async def infer(self, given: Arrays, outputs: Iterable[str], deadline: Deadline) -> Arrays:
        """The requested outputs, or all where none is named. Raises InvalidArgument, and what the batcher raises."""
        requested = self._signature.select(outputs)
        answer = await self._batcher(self._signature.complete(given, self._execution.limits), deadline)
        return {name: answer[name] for name in requested}

    def metadata(self) -> Any:
        """A ModelMetadataResponse."""
        return service_pb2.ModelMetadataResponse(
            name=self.name,
            versions=[self.version],
            platform=PLATFORM,
            inputs=map(_metadata_of, self._signature.inputs),
            outputs=map(_metadata_of, self._signature.outputs),
        )

    def config(self) -> Any:
        """A ModelConfig; its parameters hold the limits, as those of an export for Triton do."""
        config = config_of(self.name, self._signature, self._execution.batching)
        config.platform = PLATFORM
        limits = self._execution.limits
        axes = {"max_history": limits.L, "max_candidates": limits.C, "max_k": limits.K, "max_allowed": limits.A}
        for name, limit in axes.items():
            config.parameters[name].string_value = str(limit)
        return config

    def statistics(self) -> Any:
        """A ModelStatistics."""
        return self._statistics.message(self.name, self.version)


def _metadata_of(tensor: Tensor) -> Any:
    kind = service_pb2.ModelMetadataResponse.TensorMetadata
    return kind(name=tensor.name, datatype=tensor.datatype, shape=[-1, _size(tensor)])


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


def models_of(name: str, number: int, scorer: LoadedScorer, execution: Execution) -> LoadedVersion:
    """Wires a scorer to its names. Call it in the event loop."""
    signature = signatures(name)
    models = {
        model: Model(model, str(number), signature[model], function, execution)
        for model, function in functions(name, scorer).items()
    }
    return LoadedVersion(number, models)
