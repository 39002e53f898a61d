"""The gateway's side of the Open Inference Protocol: one Scorer for each model server, all alike."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from fusion_gateway.circuit import Circuit
from fusion_gateway.coalescing import Answered, Arrays, Coalescer, Send
from fusion_gateway.events import StoredEvent
from servers.runtime import tensors
from servers.runtime.errors import InvalidArgument, MarqueeError, Unavailable
from servers.runtime.request_ids import REQUEST_ID

Numbers = NDArray[np.int64]
MAX_HISTORY = 2000
"""What model servers take by default."""

SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{"service": "inference.GRPCInferenceService"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}
FAILED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
"""What speaks against a model server; other codes are answers."""
TELLING_SECONDS = 0.05
"""Not to answer in less says more about the caller."""
CHANNEL_OPTIONS = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # With the rest of a circuit, a server that comes back is used again within three seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.dns_min_time_between_resolutions_ms", 2000),
    ("grpc.max_receive_message_length", 16 << 20),
]


@dataclass(frozen=True)
class UserTensors:
    """What the models see of a user: the tensors of shape [1, 1] and, of the newest MAX_HISTORY events, [1, L]."""

    arrays: Mapping[str, tensors.Array]
    items: Numbers
    """All of the catalogue, ascending."""
    scored: dict[str, "Answer"] = field(default_factory=dict)
    """What models have said of all items, by name of the model."""

    @classmethod
    def of(
        cls, user_id: str, now: int, numbers: Numbers, events: Sequence[StoredEvent], items: Numbers
    ) -> "UserTensors":
        """`numbers` [L]: the item numbers of `events`, oldest first."""
        numbers, events = numbers[-MAX_HISTORY:], events[-MAX_HISTORY:]
        arrays: dict[str, tensors.Array] = {
            "user_id": np.array([[user_id.encode()]], object),
            "query_time": np.array([[now]], np.int64),
        }
        if events:
            ratings = [np.nan if event.rating is None else event.rating for event in events]
            arrays["history_item"] = numbers[None]
            arrays["history_rating"] = np.array([ratings], np.float32)
            arrays["history_time"] = np.array([[event.time for event in events]], np.int64)
        return cls(arrays, items)


@dataclass(frozen=True)
class Answer:
    """What a model said: numbers of items and their scores [K], and the version that said it."""

    item: Numbers
    score: NDArray[np.float32]
    version: int


class Scorer:
    """One model server. Every call raises Unavailable, in a few words, when there is no answer in time.

    A catalogue of at most `one_round_items` is scored whole, once, instead of retrieving from it and then scoring
    what all models retrieved: the model computes its query once, and the candidates and scores are the same.
    """

    def __init__(
        self,
        name: str,
        address: str,
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        one_round_items: int = 0,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Opens a channel, with TLS where there are credentials, that connects when it is first used.

        Create it inside the event loop.
        """
        self.name, self.address = name, address
        self._one_round_items = one_round_items
        self.version = 0
        if credentials:
            self._channel = grpc.aio.secure_channel(address, credentials, CHANNEL_OPTIONS, interceptors=interceptors)
        else:
            self._channel = grpc.aio.insecure_channel(address, CHANNEL_OPTIONS, interceptors=interceptors)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._circuit = Circuit(name)
        self._score: Send = Coalescer(partial(self._infer, name))
        self._retrieve: Send = Coalescer(partial(self._infer, f"{name}_retrieve"))
        self._similar: Send = Coalescer(partial(self._infer, f"{name}_similar"))

    async def close(self) -> None:
        await self._channel.close()

    async def score(self, user: UserTensors, candidates: Numbers, timeout: float) -> Answer:
        """Scores [C] of the candidates [C]; NaN where the model abstains."""
        if all_items := user.scored.get(self.name):
            places = np.searchsorted(all_items.item, candidates)
            return Answer(candidates, all_items.score[places], all_items.version)
        outputs, version = await self._score({**user.arrays, "candidate": candidates[None]}, timeout)
        return Answer(candidates, _row(outputs, "score", np.float32, candidates.shape), version)

    async def retrieve(self, user: UserTensors, k: int, timeout: float) -> Answer:
        """The model's own best k items that are not in the history; fewer where there are fewer."""
        if len(user.items) > self._one_round_items:
            return await self._ranked(self._retrieve, {**user.arrays, "k": np.array([[k]], np.int32)}, timeout)
        user.scored[self.name] = answer = await self.score(user, user.items, timeout)
        return _best(answer, user.arrays.get("history_item"), k)

    async def similar(self, number: int, k: int, timeout: float) -> Answer:
        """The k items most like this one; none where the model does not know it."""
        inputs: dict[str, tensors.Array] = {"item": np.array([[number]], np.int64), "k": np.array([[k]], np.int32)}
        return await self._ranked(self._similar, inputs, timeout)

    async def ready(self, timeout: float) -> bool:
        try:
            request = service_pb2.ModelReadyRequest(name=self.name)
            return bool((await self._stub.ModelReady(request, timeout=timeout)).ready)
        except grpc.aio.AioRpcError:
            return False

    async def _ranked(self, ask: Send, inputs: Arrays, timeout: float) -> Answer:
        outputs, version = await ask(inputs, timeout)
        item = _row(outputs, "item", np.int64)
        score = _row(outputs, "score", np.float32, item.shape)
        found = (item != 0) & ~np.isnan(score)
        return Answer(item[found], score[found], version)

    async def _infer(self, model: str, inputs: Arrays, timeout: float) -> Answered:
        self._circuit.check()
        try:
            request = tensors.infer_request(model, inputs, request_id=REQUEST_ID.get())
            response = await self._stub.ModelInfer(request, timeout=timeout)
            outputs = tensors.decode(response.outputs, response.raw_output_contents)
        except grpc.aio.AioRpcError as error:
            self._judge(error.code(), timeout)
            kind = InvalidArgument if error.code() == grpc.StatusCode.INVALID_ARGUMENT else Unavailable
            raise kind(_reason(error)) from None
        except MarqueeError as error:
            raise Unavailable(f"unreadable answer: {error}") from None
        self._circuit.answered()
        self.version = int(response.model_version) if response.model_version.isdecimal() else 0
        return outputs, self.version

    def _judge(self, code: grpc.StatusCode, timeout: float) -> None:
        if code not in FAILED:
            self._circuit.answered()
        elif code != grpc.StatusCode.DEADLINE_EXCEEDED or timeout >= TELLING_SECONDS:
            self._circuit.failed()


def _best(answer: Answer, history: tensors.Array | None, k: int) -> Answer:
    """The k best of all items, ascending numbers, that are scored and not in the history."""
    score = np.where(np.isnan(answer.score), -np.inf, answer.score)
    if history is not None:
        score[np.searchsorted(answer.item, history[0])] = -np.inf
    places = np.argsort(-score, kind="stable")[:k]
    places = places[~np.isneginf(score[places])]
    return Answer(answer.item[places], answer.score[places], answer.version)


def _row(outputs: Mapping[str, tensors.Array], name: str, dtype: type, shape: tuple[int, ...] | None = None) -> Any:
    array = outputs.get(name)
    if array is None or array.dtype != dtype or array.ndim != 2 or (shape is not None and array.shape != (1, *shape)):
        raise Unavailable(f"unreadable answer: {name} is missing, or of another type or shape")
    return array[0]


def _reason(error: grpc.aio.AioRpcError) -> str:
    code = error.code()
    if code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
        return code.name.lower().replace("_", " ")
    return f"{code.name.lower().replace('_', ' ')}: {error.details()}"
