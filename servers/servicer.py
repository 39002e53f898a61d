"""The Open Inference Protocol v2: each method hands its request on; there is no logic here."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from importlib.metadata import version as version_of
from typing import Any

from tritonclient.grpc import service_pb2, service_pb2_grpc

from servers.model_control import ModelControl
from servers.runtime import tensors
from servers.runtime.deadline import Deadline
from servers.runtime.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from servers.runtime.health import Health
from servers.runtime.quoting import quoted
from servers.runtime.request_ids import MAX_CHARACTERS, REQUEST_ID
from servers.runtime.status import MESSAGE_BYTES, status_of

SERVICE = "inference.GRPCInferenceService"
EXTENSIONS = ["model_configuration", "model_repository", "schedule_policy", "statistics"]
MAX_CONFIG_CHARACTERS = 10_000
"""Maximum number of characters of a load's `config`."""
STREAM_CALLS = 256
"""Maximum number of calls that one stream holds."""
STREAM_BYTES = 4 << 20
"""Maximum size of the requests and answers that one stream holds; a single one may be larger."""


class _Stream:
    """Calls of one stream, in the order of their requests, with the bytes of their responses; None after the last.

    Once they hold too much, requests are left unread until answers have been sent.
    """

    def __init__(self) -> None:
        self.calls: asyncio.Queue[asyncio.Task[tuple[Any, int]] | None] = asyncio.Queue()
        self._held_calls = self._held_bytes = 0
        self._sent = asyncio.Event()

    def holds(self, calls: int, messages_bytes: int) -> None:
        """Adds calls and bytes to what the stream holds; negative numbers take them away."""
        self._held_calls += calls
        self._held_bytes += messages_bytes
        self._sent.set()

    async def room(self) -> None:
        """Waits until the stream may hold another call."""
        while self._held_calls >= STREAM_CALLS or self._held_bytes >= STREAM_BYTES:
            self._sent.clear()
            await self._sent.wait()

    def unanswered(self) -> Iterator[asyncio.Task[tuple[Any, int]]]:
        while not self.calls.empty():
            if call := self.calls.get_nowait():
                yield call


class InferenceServicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """`explicit`: whether clients may load and unload."""

    def __init__(self, control: ModelControl, health: Health, explicit: bool, timeout: float) -> None:
        """A call without a deadline waits `timeout` seconds for its answer."""
        self._control = control
        self._health = health
        self._explicit = explicit
        self._timeout = timeout
        self._readers: set[asyncio.Task[None]] = set()
        self._closing = False

    def close(self) -> None:
        """Ends all streams once their calls in flight are answered."""
        self._closing = True
        for reader in self._readers:
            reader.cancel()

    async def ServerLive(self, request: Any, context: Any) -> Any:
        return service_pb2.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ServerReadyResponse(ready=self._health.ready())

    async def ModelReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ModelReadyResponse(ready=self._control.is_ready(request.name, request.version))

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        return service_pb2.ServerMetadataResponse(name="marquee", version=version_of("marquee"), extensions=EXTENSIONS)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        return self._control.model(request.name, request.version).metadata()

    async def ModelConfig(self, request: Any, context: Any) -> Any:
        return service_pb2.ModelConfigResponse(config=self._control.model(request.name, request.version).config())

    async def ModelStatistics(self, request: Any, context: Any) -> Any:
        models = [self._control.model(request.name, request.version)] if request.name else self._control.models()
        return service_pb2.ModelStatisticsResponse(model_stats=[model.statistics() for model in models])

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        response, _ = await self._infer(request, Deadline.of(context))
        return response

    async def _infer(self, request: Any, deadline: Deadline) -> tuple[Any, int]:
        """The response, and the bytes of its tensors: its own ByteSize would write it out to count them."""
        _check_size(request)
        model = self._control.model(request.model_name, request.model_version)
        given = tensors.decode(request.inputs, request.raw_input_contents)
        requested = (output.name for output in request.outputs)
        timeout_us = request.parameters["timeout"].int64_param  # 0 where there is none
        if timeout_us > 0:
            deadline = deadline.sooner(timeout_us / 1e6)
        # gRPC itself ends calls at the deadline that their caller has set.
        waiting = asyncio.timeout(self._timeout) if math.isinf(deadline.moment) else nullcontext()
        try:
            async with waiting:
                outputs = await model.infer(given, requested, deadline)
        except TimeoutError:
            raise DeadlineExceeded(f"there was no answer within {self._timeout:g} seconds") from None
        response = tensors.infer_response(model.name, model.version, request.id, outputs)
        return response, sum(array.nbytes for array in outputs.values())

    async def ModelStreamInfer(self, request_iterator: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Answers in the order of the requests; several may be in flight, and a failed one does not end the stream."""
        stream = _Stream()
        reader = asyncio.create_task(self._read(request_iterator, stream, Deadline.of(context)))
        self._readers.add(reader)
        try:
            while call := await stream.calls.get():
                response, size = await call
                yield response
                stream.holds(-1, -size)
        finally:
            # The client may have left: what it no longer waits for is not computed.
            self._readers.discard(reader)
            reader.cancel()
            for call in stream.unanswered():
                call.cancel()
        if self._closing:
            raise Unavailable("this server is stopping; open a stream to another one")
        await reader  # raises what it found wrong with a message

    async def _read(self, requests: AsyncIterator[Any], stream: "_Stream", deadline: Deadline) -> None:
        try:
            async for request in requests:
                size = MESSAGE_BYTES.get()
                stream.holds(1, size)
                stream.calls.put_nowait(asyncio.create_task(self._infer_in_stream(request, size, stream, deadline)))
                del request  # else it is kept until the next one is read
                await stream.room()
        finally:
            stream.calls.put_nowait(None)

    async def _infer_in_stream(
        self, request: Any, request_size: int, stream: "_Stream", deadline: Deadline
    ) -> tuple[Any, int]:
        response, size = await self._response_in_stream(request, deadline)
        stream.holds(0, size - request_size)
        return response, size

    async def _response_in_stream(self, request: Any, deadline: Deadline) -> tuple[Any, int]:
        request_id = request.id[:MAX_CHARACTERS]
        if request_id:
            REQUEST_ID.set(request_id)
        try:
            response, size = await self._infer(request, deadline)
            return service_pb2.ModelStreamInferResponse(infer_response=response), size
        except Exception as error:
            message = status_of(error, request)[1]
            response = service_pb2.ModelInferResponse(id=request_id)
            return service_pb2.ModelStreamInferResponse(error_message=message, infer_response=response), len(message)

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        kind = service_pb2.RepositoryIndexResponse.ModelIndex
        rows = await asyncio.to_thread(self._control.index)
        return service_pb2.RepositoryIndexResponse(
            models=[
                kind(name=name, version=str(number), state=state, reason=reason)
                for name, number, state, reason in rows
                if state == "READY" or not request.ready
            ]
        )

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:
        self._check_control(request.model_name)
        # A client that leaves does not end the loading; the next load waits for it, so one version loads at a time.
        await asyncio.shield(self._control.use(_version_in(request.parameters)))
        return service_pb2.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:
        self._check_control(request.model_name)
        await self._control.unload()
        return service_pb2.RepositoryModelUnloadResponse()

    def _check_control(self, name: str) -> None:
        if not self._explicit:
            raise FailedPrecondition(
                "models cannot be loaded or unloaded here; start with --model-control-mode=explicit"
            )
        self._control.check_name(name)


def _check_size(request: Any) -> None:
    """Raises InvalidArgument for a request whose checking alone would take long."""
    if (length := len(request.id)) > MAX_CHARACTERS:
        raise InvalidArgument(f"id has {length} characters; the limit is {MAX_CHARACTERS}")
    if (count := len(request.outputs)) > tensors.MAX_TENSORS:
        raise InvalidArgument(f"outputs names {count} tensors; the limit is {tensors.MAX_TENSORS}")


def _version_in(parameters: Any) -> int | None:
    """The version that a load names in Triton's way, or None.

    The parameter `config` is JSON such as {"version_policy": {"specific": {"versions": [3]}}}.
    """
    for name in parameters:
        if name != "config":
            raise InvalidArgument(f"unknown parameter {quoted(name)}; only 'config' can be given")
    if "config" not in parameters:
        return None
    config = parameters["config"].string_param
    if len(config) > MAX_CONFIG_CHARACTERS:
        raise InvalidArgument(f"parameter 'config' has {len(config)} characters; the limit is {MAX_CONFIG_CHARACTERS}")
    try:
        (number,) = json.loads(config)["version_policy"]["specific"]["versions"]
    except (ValueError, KeyError, TypeError, RecursionError):
        number = None
    if type(number) is not int or not 0 < number < 10**18:
        raise InvalidArgument("parameter 'config' must be JSON whose version_policy names one specific version")
    return number
