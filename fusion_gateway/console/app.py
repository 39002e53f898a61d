"""Wires the console together; no other module does. It holds no state but caches."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fusion_gateway.console.connect import SERVICE, Connect
from fusion_gateway.console.openapi import PROTO, document
from fusion_gateway.console.posters import Posters
from fusion_gateway.console.settings import ConsoleSettings
from servers.runtime import channels
from servers.runtime.tls import client_credentials

STATIC = Path(__file__).parent / "static"
PAGES = ("/", "/title", "/compare", "/experiments", "/models", "/api")
READY_SECONDS = 1.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
CHANNEL_OPTIONS = [
    *channels.OPTIONS,
    # A gateway that comes back is used again within two seconds.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


def console(settings: ConsoleSettings, on_ready: Callable[[], None] = lambda: None) -> Starlette:
    """The application; `on_ready` is called once it is about to answer. Raises ConfigurationError."""
    credentials = client_credentials(settings.gateway_ca, settings.gateway_certificate, settings.gateway_key)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if credentials:
            channel = grpc.aio.secure_channel(settings.gateway, credentials, CHANNEL_OPTIONS)
        else:
            channel = grpc.aio.insecure_channel(settings.gateway, CHANNEL_OPTIONS)
        async with channel:
            app.state.connect = Connect(channel, settings.read_only, settings.allow_origin)
            app.state.health = HealthStub(channel)
            on_ready()
            yield

    api = document(PROTO.read_text())
    about = {"gateway": settings.gateway, "posters": bool(settings.posters), "readOnly": settings.read_only}
    about["tls"] = credentials is not None

    async def call(request: Request) -> Response:
        return await request.app.state.connect(request)  # type: ignore[no-any-return]

    async def openapi(request: Request) -> Response:
        return JSONResponse(api)

    async def about_console(request: Request) -> Response:
        return JSONResponse(about)

    posters = Posters(settings.posters)
    routes = [
        *(Route(path, _page) for path in PAGES),
        Route("/about.json", about_console),
        Route("/openapi.json", openapi),
        Route("/health/live", _live),
        Route("/health/ready", _ready),
        Route("/metrics", _metrics),
        Route("/posters/{name:path}", posters.__call__),
        Route(f"/{SERVICE.full_name}/{{method}}", call, methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    middleware = [
        Middleware(SecurityHeaders),
        Middleware(GZipMiddleware, compresslevel=5),
        Middleware(TrustedHostMiddleware, allowed_hosts=settings.host_names, www_redirect=False),
        Middleware(
            CORSMiddleware,
            allow_origins=settings.allow_origin,
            allow_methods=["POST"],
            allow_headers=["authorization", "connect-protocol-version", "connect-timeout-ms", "content-type"],
        ),
    ]
    return Starlette(routes=routes, middleware=middleware, lifespan=lifespan)


class SecurityHeaders:
    """Puts HEADERS on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)


async def _page(request: Request) -> Response:
    """One for all addresses: what it shows is read from the address by its own script."""
    return FileResponse(STATIC / "page.html", headers={"Cache-Control": "no-cache"})


async def _live(request: Request) -> Response:
    return PlainTextResponse("live\n")


async def _metrics(request: Request) -> Response:
    """Calls by method and HTTP status, and how long they took."""
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


async def _ready(request: Request) -> Response:
    """Whether the gateway serves."""
    try:
        probe = HealthCheckRequest(service=SERVICE.full_name)
        answer = await request.app.state.health.Check(probe, timeout=READY_SECONDS)
    except grpc.aio.AioRpcError as error:
        return PlainTextResponse(f"not ready: the gateway answers {error.code().name}\n", 503)
    ready = answer.status == HealthCheckResponse.SERVING
    return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)
