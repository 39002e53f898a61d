"""OpenTelemetry: a span for each call, in the caller's trace, sent to a collector by OTLP over gRPC.

Needs the extra `tracing`. Where tracing is off, this module is not imported and no interceptor is installed.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import structlog
from opentelemetry import context as current
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from servers.runtime import channels
from servers.runtime.errors import MarqueeError
from servers.runtime.status import code_of

W3C = TraceContextTextMapPropagator()
OK, CANCELLED = 0, 1
SEND_SECONDS = 3
"""Maximum time that a stop waits for a collector that does not answer."""
Handler = Any
"""grpc.RpcMethodHandler, which takes its parameters in the stubs only."""


class Tracing:
    """The spans of one process. `server` and `client` are interceptors for its server and its channels."""

    def __init__(self, program: str, endpoint: str, sample_ratio: float) -> None:
        sampler = ParentBased(TraceIdRatioBased(sample_ratio))
        resource = Resource.create({"service.name": program})
        self._provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint, timeout=SEND_SECONDS, channel_options=channels.OPTIONS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("marquee")
        self.server = _ServerSpans(self._tracer)
        self.client = _ClientSpans(self._tracer)

    def stage(self, name: str, seconds: float) -> None:
        """A part of the current call that has just ended."""
        end = time.time_ns()
        self._tracer.start_span(name, start_time=end - int(seconds * 1e9)).end(end)

    def close(self) -> None:
        """Sends what has not been sent. Blocking."""
        self._provider.shutdown()


class _ServerSpans(grpc.aio.ServerInterceptor):
    """A span for each unary call, and for each request of a stream whose n-th answer is to its n-th request."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or _is_housekeeping(method):
            return handler
        coders = handler.request_deserializer, handler.response_serializer
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary, method), *coders)
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(self._stream(handler.stream_stream, method), *coders)
        return handler

    def _unary(self, method_handler: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def traced(request: Any, context: Any) -> Any:
            span = self._start(method, context, request)
            code, problem = CANCELLED, ""
            try:
                response = await method_handler(request, context)
                _record_version(span, response)
                code = OK
                return response
            except Exception as error:
                code = code_of(error).value[0]
                problem = str(error) if isinstance(error, MarqueeError) else "internal error"
                raise
            finally:
                _end(span, code, problem)

        return traced

    def _stream(self, method_handler: Callable[..., Any], method: str) -> Callable[..., Any]:
        async def traced(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            spans: deque[Span] = deque()

            async def started() -> AsyncIterator[Any]:
                async for request in requests:
                    spans.append(self._start(method, context, request))
                    yield request  # its reader serves it in this context, or in a task that copies it

            try:
                async for response in method_handler(started(), context):
                    span = spans.popleft()
                    _record_version(span, response.infer_response)
                    _end(span, OK, response.error_message)
                    yield response
            finally:
                for span in spans:
                    _end(span, CANCELLED, "")

        return traced

    def _start(self, method: str, context: Any, request: Any) -> Span:
        """A span that is the current one from here on, in this context."""
        attributes = {"rpc.system": "grpc"}
        if model := getattr(request, "model_name", ""):
            attributes["marquee.model"] = model
        parent = W3C.extract(_own_parent(request) or dict(context.invocation_metadata() or ()), Context())
        span = self._tracer.start_span(method[1:], parent, SpanKind.SERVER, attributes)
        current.attach(set_span_in_context(span))
        structlog.contextvars.bind_contextvars(trace_id=format_trace_id(span.get_span_context().trace_id))
        return span


class _ClientSpans(grpc.aio.UnaryUnaryClientInterceptor):
    """A span for each outgoing call, which the server continues."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        method = client_call_details.method
        name = (method.decode() if isinstance(method, bytes) else method)[1:]
        if _is_housekeeping(f"/{name}"):
            return await continuation(client_call_details, request)
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes={"rpc.system": "grpc"})
        code = CANCELLED
        carrier: dict[str, str] = {}
        W3C.inject(carrier, set_span_in_context(span))
        details = grpc.aio.ClientCallDetails(
            method,
            client_call_details.timeout,
            grpc.aio.Metadata(*(client_call_details.metadata or ()), *carrier.items()),
            client_call_details.credentials,
            client_call_details.wait_for_ready,
        )
        try:
            call = await continuation(details, request)
            code = (await call.code()).value[0]
            return call
        finally:
            _end(span, code, "")


def _is_housekeeping(method: str) -> bool:
    """Health probes, reflection and the gateway's regular ModelConfig calls, whose spans would drown the others."""
    return method.startswith("/grpc.") or method.endswith("/ModelConfig")


def _own_parent(request: Any) -> dict[str, str]:
    """Of a request in a stream, whose metadata were sent with the first one."""
    parameters = getattr(request, "parameters", {})
    return {"traceparent": parameters["traceparent"].string_param} if "traceparent" in parameters else {}


def _record_version(span: Span, response: Any) -> None:
    if version := getattr(response, "model_version", ""):
        span.set_attribute("marquee.version", version)


def _end(span: Span, code: int, problem: str) -> None:
    span.set_attribute("rpc.grpc.status_code", code)
    if code != OK or problem:
        span.set_status(Status(StatusCode.ERROR, problem))
    span.end()
