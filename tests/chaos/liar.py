"""A model server that answers with one lie after the other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from tritonclient.grpc import service_pb2

from servers.runtime.health import Health
from tests.chaos import lies

SERVICE = "inference.GRPCInferenceService"


class Liar:
    """`answers` counts its answers; after the last lie it starts over."""

    def __init__(self) -> None:
        self.answers = 0

    async def infer(self, request: Any, context: Any) -> bytes:
        names = list(lies.LIES)
        name = names[self.answers % len(names)]
        self.answers += 1
        return lies.lie(name, request)

    async def ready(self, request: Any, context: Any) -> Any:
        return service_pb2.ModelReadyResponse(ready=True)


def _handlers(liar: Liar) -> dict[str, Any]:
    infer, ready = service_pb2.ModelInferRequest.FromString, service_pb2.ModelReadyRequest.FromString
    is_ready = service_pb2.ModelReadyResponse.SerializeToString
    return {
        "ModelInfer": grpc.unary_unary_rpc_method_handler(liar.infer, infer, lambda answer: answer),
        "ModelReady": grpc.unary_unary_rpc_method_handler(liar.ready, ready, is_ready),
    }


@asynccontextmanager
async def lying() -> AsyncIterator[tuple[Liar, str]]:
    """The liar and its address."""
    liar, health = Liar(), Health()
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, _handlers(liar))])
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    health.set("", True)
    try:
        yield liar, f"127.0.0.1:{port}"
    finally:
        health.close()
        await server.stop(None)
