"""A client of the gateway: the generated stub, over a channel that is set up as a caller needs it.

    from protos.marquee.client import Client
    from protos.marquee.v1.recommender_pb2 import RecommendRequest

    with Client("localhost:8001") as gateway:
        response = gateway.Recommend(RecommendRequest(user_id="42", k=5))

Every RPC of recommender.proto is a method, and raises the errors of protos/marquee/errors.py. It needs grpcio and
protobuf only.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from protos.marquee.addresses import checked_address
from protos.marquee.errors import InvalidArgument, error_of
from protos.marquee.v1.recommender_pb2 import DESCRIPTOR
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub
else:
    RecommenderAsyncStub = RecommenderStub

SERVICE = DESCRIPTOR.services_by_name["Recommender"]
# Sent twice, an event without an event_id is stored twice.
SAFE_TO_REPEAT = [method.name for method in SERVICE.methods if method.name != "RecordEvents"]
SERVICE_CONFIG = {
    # Over all addresses that DNS gives for the name, but those that say that they are stopping.
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": ""},
    "methodConfig": [
        {
            "name": [{"service": SERVICE.full_name, "method": method} for method in SAFE_TO_REPEAT],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # When most calls fail, repeating them makes it worse.
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
}
CHANNEL_OPTIONS = {
    "grpc.service_config": json.dumps(SERVICE_CONFIG),
    # A connection that died without a word is given up within 40 seconds.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
    # A gateway that comes back is found again within five seconds.
    "grpc.max_reconnect_backoff_ms": 5_000,
}
DEFAULT_TIMEOUT = 2.0
"""Seconds, as the gateway's own."""


class Client(RecommenderStub):
    """Blocks until the answer is there. Safe to use from many threads; make one, and keep it."""

    def __init__(
        self,
        address: str,
        *,
        tls: bool | grpc.ChannelCredentials = False,
        token: str = "",
        timeout: float = DEFAULT_TIMEOUT,
        options: Iterable[tuple[str, Any]] = (),
    ) -> None:
        """Connects when it is first called.

        `tls` is True for a certificate of a public authority, or `grpc.ssl_channel_credentials(...)` for one of your
        own. `timeout` is the deadline, in seconds, of calls that have none of their own. `options` are gRPC's, and take
        the place of those in CHANNEL_OPTIONS. Raises ValueError for an `address` that is not host:port, and for a
        `token` that no header can hold.
        """
        address, credentials = checked_address(address), _credentials(tls)
        chosen = _over_defaults(options)
        if credentials:
            self.channel = grpc.secure_channel(address, credentials, chosen)
        else:
            self.channel = grpc.insecure_channel(address, chosen)
        self._interceptor = _Interceptor(_Defaults(token, timeout))
        super().__init__(grpc.intercept_channel(self.channel, self._interceptor))  # type: ignore[call-arg]

    def close(self) -> None:
        """Ends calls that are under way; those made later raise ValueError."""
        self._interceptor.closed = True
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class AsyncClient(RecommenderAsyncStub):
    """The same for asyncio; make it, and use it, inside one event loop."""

    def __init__(
        self,
        address: str,
        *,
        tls: bool | grpc.ChannelCredentials = False,
        token: str = "",
        timeout: float = DEFAULT_TIMEOUT,
        options: Iterable[tuple[str, Any]] = (),
    ) -> None:
        """As Client's."""
        address, credentials = checked_address(address), _credentials(tls)
        chosen = _over_defaults(options)
        interceptors = [_AsyncInterceptor(_Defaults(token, timeout))]
        if credentials:
            self.channel = grpc.aio.secure_channel(address, credentials, chosen, interceptors=interceptors)
        else:
            self.channel = grpc.aio.insecure_channel(address, chosen, interceptors=interceptors)
        super().__init__(self.channel)

    async def close(self) -> None:
        """Ends calls that are under way."""
        await self.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


def _over_defaults(options: Iterable[tuple[str, Any]]) -> Any:
    return tuple({**CHANNEL_OPTIONS, **dict(options)}.items())


def _credentials(tls: bool | grpc.ChannelCredentials) -> grpc.ChannelCredentials | None:
    if isinstance(tls, bool):
        return grpc.ssl_channel_credentials() if tls else None
    return tls


@dataclass(frozen=True)
class _Defaults:
    """What every call gets."""

    token: str
    timeout: float

    def __post_init__(self) -> None:
        if not (self.token.isascii() and self.token.isprintable()):
            raise ValueError("token: must have printable characters of ASCII only, without a line break at its end")

    def timeout_of(self, details: Any) -> float:
        return self.timeout if details.timeout is None else details.timeout

    def metadata_of(self, details: Any) -> list[tuple[str, str]]:
        metadata = list(details.metadata or ())
        if self.token:
            metadata.append(("authorization", f"Bearer {self.token}"))
        return metadata


def _check_type(path: str | bytes, request: Any) -> None:
    """Raises InvalidArgument for another message than the method takes: it could be read as one of those."""
    name = (path.decode() if isinstance(path, bytes) else path).rpartition("/")[2]
    expected = SERVICE.methods_by_name[name].input_type
    if getattr(request, "DESCRIPTOR", None) != expected:
        problem = f"{name} takes a {expected.name}, not a {type(request).__name__}"
        nothing = grpc.aio.Metadata()
        raise InvalidArgument(grpc.StatusCode.INVALID_ARGUMENT, nothing, nothing, problem)


class _Interceptor(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, defaults: _Defaults) -> None:
        self._defaults = defaults
        self.closed = False

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        if self.closed:  # gRPC 1.81 ends the process with a segmentation fault
            raise ValueError("the client is closed: make another one")
        _check_type(client_call_details.method, request)
        details = client_call_details._replace(
            timeout=self._defaults.timeout_of(client_call_details),
            metadata=self._defaults.metadata_of(client_call_details),
        )
        call = continuation(details, request)
        failed = isinstance(call, grpc.RpcError)
        # Calls made with `.future()` are of that class too, and not done yet: their error stays gRPC's own.
        if failed and call.done() and call.exception():
            raise error_of(call) from None
        return call


class _AsyncInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, defaults: _Defaults) -> None:
        self._defaults = defaults

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        _check_type(client_call_details.method, request)
        details = client_call_details._replace(
            timeout=self._defaults.timeout_of(client_call_details),
            metadata=grpc.aio.Metadata(*self._defaults.metadata_of(client_call_details)),
        )
        call = await continuation(details, request)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            raise error_of(error) from None
        return call
