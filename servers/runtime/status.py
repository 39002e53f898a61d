"""The one place where errors become gRPC statuses, and where calls are counted and timed."""

from __future__ import annotations  # grpc.RpcMethodHandler takes its parameters in the stubs only

import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import structlog

from servers.runtime import errors, metrics
from servers.runtime.request_ids import identify

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


def status_of(error: Exception, request: object) -> tuple[grpc.StatusCode, str]:
    """Status and message for the caller; an error that nobody planned for is logged here and told without internals."""
    for kind in type(error).__mro__:
        if kind in STATUS_CODES:
            return STATUS_CODES[kind], str(error)
    log.error("unexpected error", request=type(request).__name__, exc_info=error)
    return grpc.StatusCode.INTERNAL, "internal error; the server's log has the details"


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Turns whatever a servicer raises into a status, and counts and times every call."""

    def __init__(self) -> None:
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any] | None] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method: str = handler_call_details.method
        if method in self._handlers:
            return self._handlers[method]
        handler = await continuation(handler_call_details)
        if handler is None:  # an unknown method: gRPC answers UNIMPLEMENTED; not kept, for callers choose the name
            return None
        self._handlers[method] = wrapped = _wrap(handler, method)
        return wrapped


def _wrap(handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
    if handler.unary_unary:
        make, behaviour, guard = grpc.unary_unary_rpc_method_handler, handler.unary_unary, _guard_unary
    elif handler.stream_stream and inspect.isasyncgenfunction(handler.stream_stream):
        make, behaviour, guard = grpc.stream_stream_rpc_method_handler, handler.stream_stream, _guard_stream
    elif handler.unary_stream and inspect.isasyncgenfunction(handler.unary_stream):
        make, behaviour, guard = grpc.unary_stream_rpc_method_handler, handler.unary_stream, _guard_stream
    else:
        return handler
    return make(
        guard(behaviour, _Record(method)),
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


class _Record:
    """Where the calls of one method leave a trace: in the metrics, and at level debug in the log."""

    def __init__(self, method: str) -> None:
        self._method, self._timer = method, metrics.CallTimer(method.rpartition("/")[2])
        self._is_logged = logging.getLogger().isEnabledFor(logging.DEBUG)

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


def _guard_unary(behaviour: Callable[..., Any], record: _Record) -> Callable[..., Any]:
    async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        identify(request, context)
        started, code = time.perf_counter(), grpc.StatusCode.CANCELLED
        try:
            response = await behaviour(request, context)
            code = grpc.StatusCode.OK
            return response
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            code, message = status_of(error, request)
            await context.abort(code, message)
        finally:
            record.unary(code.name, started)

    return guarded


def _guard_stream(behaviour: Callable[..., Any], record: _Record) -> Callable[..., Any]:
    async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        identify(request, context)
        started, code = time.perf_counter(), grpc.StatusCode.CANCELLED
        try:
            async for response in behaviour(request, context):
                yield response
            code = grpc.StatusCode.OK
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            code, message = status_of(error, request)
            await context.abort(code, message)
        finally:
            record.stream(code.name, started)

    return guarded
