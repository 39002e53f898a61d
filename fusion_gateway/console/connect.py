"""The gateway's calls as JSON over HTTP, by the unary rules of the Connect protocol (connectrpc.com/docs/protocol)."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from protos.marquee.v1.recommender_pb2 import DESCRIPTOR
from servers.runtime.metrics import CallTimer

SERVICE = DESCRIPTOR.services_by_name["Recommender"]
WRITES = frozenset({"RecordEvents", "DeleteUser"})
PASSED_ON = ("authorization", "x-request-id", "traceparent", "tracestate")
"""Headers that the gateway reads."""
MAX_BODY_BYTES = 4 << 20
"""As the gateway has it."""
MAX_VALUES = 50_000
"""Of a request, twice as many as the largest call that the gateway takes: each becomes an object."""
LARGE_BYTES = 16 << 10
"""Requests of more are parsed one after the other, beside the event loop."""
MAX_BODIES_BYTES = 64 << 20
"""Of all requests that are being read or answered, with VALUE_BYTES for each comma: more are refused."""
VALUE_BYTES = 128
SMALL_BYTES = 64 << 10
"""Requests of less do not count: there are no more of them than connections."""
MAX_TIMEOUT_DIGITS = 10
MAX_CALLS = 100
"""At once; others wait. A gateway takes 128 of one connection, and breaks those off that come beyond."""

Code = Literal[
    "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
    "permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range",
    "unimplemented", "internal", "unavailable", "data_loss", "unauthenticated",
]  # fmt: skip
HTTP_STATUS: Mapping[str, int] = {
    "canceled": 499, "unknown": 500, "invalid_argument": 400, "deadline_exceeded": 504, "not_found": 404,
    "already_exists": 409, "permission_denied": 403, "resource_exhausted": 429, "failed_precondition": 400,
    "aborted": 409, "out_of_range": 400, "unimplemented": 501, "internal": 500, "unavailable": 503,
    "data_loss": 500, "unauthenticated": 401,
}  # fmt: skip


class ConnectError(Exception):
    """What a caller receives in place of an answer."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    def response(self, metadata: Mapping[str, str] | None = None) -> Response:
        content = {"code": self.code, "message": self.message}
        return JSONResponse(content, HTTP_STATUS[self.code], headers=_trailers(metadata or {}))


class Connect:
    """Passes calls on to the gateway of a channel."""

    def __init__(self, channel: grpc.aio.Channel, read_only: bool, origins: Collection[str]) -> None:
        """`origins`: of other pages that may call, such as https://shop.example."""
        self._read_only, self._origins = read_only, origins
        self._calls = {method.name: _callable(channel, method) for method in SERVICE.methods}
        self._timers = {method.name: CallTimer(method.name) for method in SERVICE.methods}
        self._held = 0
        """Bytes of requests."""
        self._turns, self._large_turn = asyncio.Semaphore(MAX_CALLS), asyncio.Semaphore(1)

    async def __call__(self, request: Request) -> Response:
        """POST /marquee.v1.Recommender/{method}"""
        method = SERVICE.methods_by_name.get(request.path_params["method"])
        if method is None:
            return Response(f"{SERVICE.full_name} has no such method; it has {', '.join(self._calls)}\n", 404)
        began = time.monotonic()
        answer = await self._answer(request, method)
        self._timers[method.name].record(str(answer.status_code), time.monotonic() - began)
        return answer

    async def _answer(self, request: Request, method: MethodDescriptor) -> Response:
        if (sent := request.headers.get("content-type", "").partition(";")[0].strip().lower()) != "application/json":
            # What a form of another site can send without asking first is refused here, too.
            return Response(
                f"Content-Type: {sent!r} is not application/json\n", 415, {"Accept-Post": "application/json"}
            )
        try:
            self._check(request, method.name)
            async with self._body(request) as body:
                message = await self._parse(method, body)
                answer, trailing = await self._call(request, method.name, message)
        except ConnectError as error:
            return error.response()
        except grpc.aio.AioRpcError as error:
            return _error_of(error).response(_text_of(error.trailing_metadata()))
        except ClientDisconnect:
            return Response(status_code=HTTP_STATUS["canceled"])
        text = json_format.MessageToJson(answer, indent=None, ensure_ascii=False)
        return Response(text, media_type="application/json", headers=_trailers(trailing))

    def _check(self, request: Request, method: str) -> None:
        """Raises ConnectError for what is refused before it is read."""
        if self._read_only and method in WRITES:
            raise ConnectError("permission_denied", f"{method}: this console is read-only")
        origin = request.headers.get("origin")
        own = f"{request.url.scheme}://{request.url.netloc}"
        if origin and origin != own and origin not in self._origins:
            raise ConnectError("permission_denied", f"pages of {origin} may not call through this console")
        if (version := request.headers.get("connect-protocol-version", "1")) != "1":
            raise ConnectError("invalid_argument", f"Connect-Protocol-Version: must be 1, not {version!r}")
        if (encoding := request.headers.get("content-encoding", "identity")) != "identity":
            raise ConnectError("unimplemented", f"Content-Encoding: {encoding!r} is not taken; send it unpacked")
        for name in PASSED_ON:
            value = request.headers.get(name, "")
            if not (value.isascii() and value.isprintable()):  # which gRPC does not send
                raise ConnectError("invalid_argument", f"{name}: must have printable characters of ASCII only")

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """What is sent, which counts until this is left. Raises ConnectError for too much, also of all together."""
        parts, size, needed, held = [], 0, 0, 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise ConnectError("resource_exhausted", f"the request is larger than {MAX_BODY_BYTES} bytes")
                needed += len(part) + VALUE_BYTES * part.count(b",")
                if needed > SMALL_BYTES:
                    if self._held + needed - held > MAX_BODIES_BYTES:
                        raise ConnectError("unavailable", "too many large requests at once; try again later")
                    self._held += needed - held
                    held = needed
                parts.append(part)
            yield b"".join(parts)
        finally:
            self._held -= held

    async def _parse(self, method: MethodDescriptor, body: bytes) -> Any:
        if body.count(b",") > MAX_VALUES:
            raise ConnectError(
                "resource_exhausted", f"the request has more than {MAX_VALUES:,} values; send less in one call"
            )
        if len(body) <= LARGE_BYTES:
            return _parsed(method, body)
        async with self._large_turn:
            return await asyncio.to_thread(_parsed, method, body)

    async def _call(self, request: Request, method: str, message: Any) -> tuple[Any, Mapping[str, str]]:
        metadata = [(name, value) for name in PASSED_ON if (value := request.headers.get(name))]
        async with self._turns:
            call = self._calls[method](message, timeout=_timeout(request), metadata=metadata)
            return await call, _text_of(await call.trailing_metadata())


def _callable(channel: grpc.aio.Channel, method: MethodDescriptor) -> Any:
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    return channel.unary_unary(
        f"/{SERVICE.full_name}/{method.name}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )


def _parsed(method: MethodDescriptor, body: bytes) -> Any:
    message = GetMessageClass(method.input_type)()
    if not body.lstrip().startswith(b"{"):
        raise ConnectError(
            "invalid_argument", f"not the JSON of {method.input_type.name}: must be an object, such as {{}}"
        )
    try:
        # Fields of a newer client are passed over, as in protobuf's binary form.
        return json_format.Parse(body, message, ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise ConnectError(
            "invalid_argument", f"not the JSON of {method.input_type.name}: {str(error)[:300]}"
        ) from None


def _timeout(request: Request) -> float | None:
    """Seconds; None where the caller sets none."""
    text = request.headers.get("connect-timeout-ms")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_TIMEOUT_DIGITS):
        raise ConnectError("invalid_argument", f"Connect-Timeout-Ms: {text[:20]!r} is not a number of 1 to 10 digits")
    return int(text) / 1000


def _error_of(error: grpc.aio.AioRpcError) -> ConnectError:
    name = error.code().name.lower()
    code: Any = "canceled" if name == "cancelled" else name
    return ConnectError(code, error.details() or "")


def _text_of(metadata: Any) -> dict[str, str]:
    return {name: value for name, value in metadata or () if isinstance(value, str)}


def _trailers(metadata: Mapping[str, str]) -> dict[str, str]:
    return {f"trailer-{name}": value for name, value in metadata.items()}
