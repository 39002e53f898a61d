"""The channel to one model server, its circuit breaker and its limits. Speaks the Open Inference Protocol."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import structlog
from tritonclient.grpc import service_pb2

from fusion_gateway.circuit_breaker import CircuitBreaker
from fusion_gateway.scorers.answers import read_answer
from fusion_gateway.scorers.coalescing import Answered, Arrays, Coalescer, Send
from fusion_gateway.scorers.limits import Limits
from fusion_gateway.scorers.missing import CIRCUIT_OPEN, CROWDED, UNREADABLE, ModelMissing
from fusion_gateway.scorers.recent_calls import RecentCalls
from servers.runtime import tensors
from servers.runtime.errors import InvalidArgument
from servers.runtime.request_ids import REQUEST_ID

SERVICE = "inference.GRPCInferenceService"
SERVICE_CONFIG = {
    # Of several addresses behind a name, those that fail are left alone, as the circuit does with all of them.
    "loadBalancingConfig": [
        {
            "outlier_detection_experimental": {
                "interval": "1s",
                "baseEjectionTime": "15s",
                "maxEjectionTime": "60s",
                "maxEjectionPercent": 90,
                "failurePercentageEjection": {"threshold": 50, "minimumHosts": 2, "requestVolume": 1},
                "childPolicy": [{"round_robin": {}}],
            }
        }
    ],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                # Together longer than a stopping server refuses calls (lifecycle.REFUSING_SECONDS): only once it has
                # closed the connection is its name resolved again.
                "maxAttempts": 4,
                "initialBackoff": "0.02s",
                "maxBackoff": "0.1s",
                "backoffMultiplier": 2,
                # CANCELLED: a server that stops so answers what comes in its very last moment.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 30, "tokenRatio": 0.1},
}
CHANNEL_OPTIONS = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # With the rest of a circuit, a server that comes back is used again within three seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.dns_min_time_between_resolutions_ms", 2000),
    # A connection that died without a word is given up within 13 seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # While gRPC measures the bandwidth by a ping of its own, there is none of keepalive: that one waits a minute.
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a size is limited only once a message is unpacked
]
FAILED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
"""What speaks against a model server; other codes are answers."""
CROWDED_SECONDS = 0.1
log = structlog.get_logger()


@dataclass(frozen=True)
class Connection:
    """How model servers are spoken to."""

    interceptors: Sequence[grpc.aio.ClientInterceptor] = ()
    credentials: grpc.ChannelCredentials | None = None
    """For TLS; None: without it."""
    message_seconds: float = 1.0
    """The longest wait for an answer. A server that says nothing for so long is left alone."""
    max_waiting: int = 32
    """Calls that wait for a server that has said nothing for CROWDED_SECONDS; more go on without it."""


class ModelServer:
    """One address, or one name of several, for models that are left alone together when one of them fails.

    Calls raise ModelMissing where there is no answer in time.
    """

    def __init__(self, model: str, address: str, connection: Connection) -> None:
        """Opens a channel that connects when it is first used; those of one address share connections.

        `model` is whose limits and readiness count. Create it inside the event loop.
        """
        self.version = 0
        """That answered last."""
        self.limits = Limits()
        self.recent = RecentCalls()
        self.model, self._connection = model, connection
        self._circuit = CircuitBreaker(model)
        self._coalescers: list[Coalescer] = []
        self._waiting = 0
        self._probes: set[asyncio.Task[Answered]] = set()
        options: dict[str, Any] = {"options": CHANNEL_OPTIONS, "interceptors": connection.interceptors}
        if connection.credentials:
            self._channel = grpc.aio.secure_channel(address, connection.credentials, **options)
        else:
            self._channel = grpc.aio.insecure_channel(address, **options)
        self._model_infer = self._method("ModelInfer")
        self._model_ready, self._model_config = self._method("ModelReady"), self._method("ModelConfig")

    def _method(self, name: str) -> Any:
        """Its answers stay bytes: gRPC would log those that cannot be parsed, and give None."""
        return self._channel.unary_unary(f"/{SERVICE}/{name}", request_serializer=_serialized)

    @property
    def circuit_open(self) -> bool:
        return self._circuit.is_open

    async def close(self) -> None:
        for probe in self._probes:
            probe.cancel()
        await self._channel.close()

    def sender(self, model: str, max_rows: int | None = None) -> Send:
        """Sends calls to one of its models, at most `max_rows` in a message until the limits are learned."""
        coalescer = Coalescer(partial(self._infer, model), max_rows or self.limits.rows)
        self._coalescers.append(coalescer)
        return partial(self._call, coalescer)

    async def ready(self, timeout: float) -> bool:
        """Whether it serves the model."""
        request = service_pb2.ModelReadyRequest(name=self.model)
        try:
            message = await self._model_ready(request, timeout=timeout)
            return bool(service_pb2.ModelReadyResponse.FromString(message).ready)
        except Exception:  # away, or not understood: both are not ready
            return False

    async def learn_limits(self) -> None:
        """Reads them; they stay as they are where there is no answer, or none that can be read."""
        request = service_pb2.ModelConfigRequest(name=self.model)
        with suppress(grpc.aio.AioRpcError):
            message = await self._model_config(request, timeout=self._connection.message_seconds)
            try:
                limits = Limits.of(service_pb2.ModelConfigResponse.FromString(message).config)
            except Exception as error:
                log.warning("limits of a model server cannot be read", model=self.model, error=str(error)[:200])
                return
            if limits != self.limits:
                log.info("limits of a model server", model=self.model, **vars(limits))
            self.limits = limits
            for coalescer in self._coalescers:
                coalescer.max_rows = limits.rows

    async def _call(self, coalescer: Coalescer, inputs: Arrays, timeout: float) -> Answered:
        if self._circuit.is_open:
            if self._circuit.may_probe():
                self._probe(coalescer, inputs)
            raise ModelMissing(CIRCUIT_OPEN, self._circuit.cause)
        silent = self._circuit.silent_seconds()
        if self._waiting >= self._connection.max_waiting and silent > CROWDED_SECONDS:
            raise ModelMissing(CROWDED, f"nothing has been heard of it for {silent:.1f} s")
        self._waiting += 1
        try:
            return await coalescer(inputs, timeout)
        finally:
            self._waiting -= 1

    def _probe(self, coalescer: Coalescer, inputs: Arrays) -> None:
        """Sends a call that nobody waits for: its outcome moves the circuit breaker only."""
        probe = asyncio.create_task(coalescer.send(inputs))
        self._probes.add(probe)
        probe.add_done_callback(self._probed)

    def _probed(self, probe: asyncio.Task[Answered]) -> None:
        self._probes.discard(probe)
        if not probe.cancelled():
            probe.exception()  # has been looked at

    async def _infer(self, model: str, inputs: Arrays) -> Answered:
        request = tensors.infer_request(model, inputs, request_id=REQUEST_ID.get())
        sent, began, failed = self._circuit.sent(), time.perf_counter(), True
        try:
            message = await self._model_infer(request, timeout=self._connection.message_seconds)
            outputs, self.version = read_answer(message, model, inputs)
            failed = False
        except grpc.aio.AioRpcError as error:
            raise self._failed(error, sent) from None
        except ModelMissing as error:
            self._count_failure(error)
            raise
        finally:
            self._circuit.ended()
            self.recent.add(time.perf_counter() - began, failed)
        self._circuit.answered()
        return outputs, self.version

    def _failed(self, error: grpc.aio.AioRpcError, sent: float) -> InvalidArgument | ModelMissing:
        code, details = error.code(), error.details() or ""
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            self._circuit.answered()
            return InvalidArgument(details)
        missing = _missing(code, details)
        if code in FAILED or missing.reason == UNREADABLE:
            self._count_failure(missing, sent if code == grpc.StatusCode.DEADLINE_EXCEEDED else None)
        else:
            self._circuit.answered()
        return missing

    def _count_failure(self, missing: ModelMissing, unheard_since: float | None = None) -> None:
        if self._circuit.failed(missing.reason, unheard_since):
            for coalescer in self._coalescers:
                coalescer.release(missing)


def _serialized(request: Any) -> bytes:
    return bytes(request.SerializeToString())


def _missing(code: grpc.StatusCode, details: str) -> ModelMissing:
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in details:
        return ModelMissing(UNREADABLE, details)
    tells_addresses = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return ModelMissing(code.name.lower().replace("_", " "), details, tells_addresses)
