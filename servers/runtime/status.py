"""Errors become gRPC statuses here and nowhere else; calls are counted and timed."""

from __future__ import annotations  # grpc.RpcMethodHandler takes its parameters in the stubs only

import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import grpc
import structlog

from servers.runtime import errors, metrics
from servers.runtime.intake import Intake, Parse
from servers.runtime.quoting import shortened
from servers.runtime.receiving import Context
from servers.runtime.request_ids import identify
from servers.runtime.untaken import Untaken

STATUS_CODES: dict[type[BaseException], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    NotImplementedError: grpc.StatusCode.UNIMPLEMENTED,  # what generated servicers raise
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}
log = structlog.get_logger()
MESSAGE_BYTES = ContextVar("MESSAGE_BYTES", default=0)
"""Size of the latest request of a stream, for the handler that has just taken it."""
MAX_MESSAGE = 1000
"""Maximum number of characters of a status message: it may quote callers, and gRPC sends at most 8 KB of metadata."""


def code_of(error: BaseException) -> grpc.StatusCode:
    """INTERNAL for an unexpected error."""
    codes = [STATUS_CODES[kind] for kind in type(error).__mro__ if kind in STATUS_CODES]
    return codes[0] if codes else grpc.StatusCode.INTERNAL


def status_of(error: Exception, request: object) -> tuple[grpc.StatusCode, str]:
    """Status and message for the caller; an unexpected error is logged here, and its internals stay here."""
    if (code := code_of(error)) != grpc.StatusCode.INTERNAL:
        return code, shortened(error, MAX_MESSAGE)
    log.error("unexpected error", request=type(request).__name__, exc_info=error)
    return code, "internal error; the server's log has the details"


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Turns whatever a servicer raises into a status, and counts and times every call.

    Unary requests are read here, so that a call can be refused before its message is received.
    """

    def __init__(self, intake: Intake, untaken: Untaken) -> None:
        self._intake, self._untaken = intake, untaken
        self._handlers: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        method: str = handler_call_details.method
        if method in self._handlers:
            return self._handlers[method]
        handler = await continuation(handler_call_details)
        if handler is None:
            # An unknown method, which gRPC answers with UNIMPLEMENTED. It is not kept: callers choose the name.
            return None
        self._handlers[method] = _Guard(handler, method, self._intake, self._untaken).handler()
        return self._handlers[method]


class _Guard:
    """One method: its calls are let in, their requests parsed, their errors mapped, their outcomes recorded.

    Answers are serialized here: gRPC would keep the message, too, until its bytes have left.
    """

    def __init__(self, handler: Any, method: str, intake: Intake, untaken: Untaken) -> None:
        """`handler` is the grpc.RpcMethodHandler of a servicer that uses asyncio."""
        self._handler = handler
        self._method = method
        self._intake, self._untaken = intake, untaken
        self._serialize: Callable[[Any], bytes] = handler.response_serializer or bytes
        self._parse: Parse = handler.request_deserializer or bytes
        self._requests = intake.requests(method, self._parse, streams=bool(handler.unary_stream))
        self._record = _Record(method)

    def handler(self) -> Any:
        """The method as gRPC is to serve it."""
        if self._handler.unary_unary:
            return grpc.stream_unary_rpc_method_handler(self._unary)
        if self._handler.unary_stream:
            return grpc.stream_stream_rpc_method_handler(self._unary_stream)
        if self._handler.stream_stream and inspect.isasyncgenfunction(self._handler.stream_stream):
            return grpc.stream_stream_rpc_method_handler(self._stream)
        return self._handler

    async def _unary(self, _: AsyncIterator[bytes], context: Context) -> Any:
        request, answer = None, b""
        started = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        connection = context.peer()
        try:
            self._untaken.check(connection)
            async with self._requests.of(context) as request:
                identify(request, context)
                answer = self._serialize(await self._handler.unary_unary(request, context))
            self._untaken.check(connection, len(answer))
            self._untaken.hold_until_done(connection, len(answer))
            code = grpc.StatusCode.OK
            return answer
        except Exception as error:
            code, message = status_of(error, request)
            if request is None:  # it was refused unread
                identify(None, context)
        finally:
            self._record.unary(code.name, started)
        # gRPC keeps what abort raises, and so this frame and the errors it came from, until garbage is collected:
        # a large request must not be among them.
        del request, answer
        self._untaken.hold_until_done(connection, 0)
        return await context.abort(code, message)

    async def _unary_stream(self, _: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async def responses() -> AsyncIterator[Any]:
            async with self._requests.of(context) as request:
                async for response in self._handler.unary_stream(request, context):
                    yield response

        async for answer in self._guarded(context, responses):
            yield answer

    async def _stream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async def messages() -> AsyncIterator[Any]:
            async for content in requests:
                MESSAGE_BYTES.set(len(content))
                yield await self._intake.parsed(content, self._parse, is_of_stream=True)

        async def responses() -> AsyncIterator[Any]:
            with self._intake.stream(context, self._method):
                async for response in self._handler.stream_stream(messages(), context):
                    yield response

        async for answer in self._guarded(context, responses):
            yield answer

    async def _guarded(self, context: Context, responses: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[bytes]:
        connection = context.peer()
        started = time.perf_counter()
        code = grpc.StatusCode.CANCELLED
        identify(None, context)
        try:
            async for response in responses():
                answer = self._serialize(response)
                self._untaken.check(connection, len(answer))
                release = self._untaken.hold(connection, len(answer))
                try:
                    yield answer
                finally:
                    release()
            code = grpc.StatusCode.OK
            return
        except Exception as error:
            code, message = status_of(error, None)
        finally:
            self._record.stream(code.name, started)
        self._untaken.hold_until_done(connection, 0)
        await context.abort(code, message)


class _Record:
    """Where the calls of one method leave a trace: in the metrics, and at level debug in the log."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._timer = metrics.CallTimer(method.rpartition("/")[2])
        self._is_logged = logging.getLogger(__name__).isEnabledFor(logging.DEBUG)

    def unary(self, code: str, started: float) -> None:
        seconds = time.perf_counter() - started
        self._timer.record(code, seconds)
        if self._is_logged:
            self._log(code, seconds)

    def stream(self, code: str, started: float) -> None:
        self._timer.record_stream(code)
        if self._is_logged:
            self._log(code, time.perf_counter() - started)

    def _log(self, code: str, seconds: float) -> None:
        log.debug("call", method=self._method, code=code, milliseconds=round(1000 * seconds, 3))
