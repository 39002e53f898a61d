"""grpc.health.v1 for a whole process and for each of its models.

Written here because the servicer of grpcio-health-checking drops all watchers of a service once one of them leaves,
and keeps Watch calls open while the server waits for its last calls to end.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer

from servers.runtime.errors import NotFound

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class Health(HealthServicer):
    """Statuses by service name; "" is the process. Change them from the event loop's thread only.

    While the process drains, what it serves by name is NOT_SERVING, so that it gets no new clients; "" stays as it is,
    for clients that watch it would leave at once, and may know of no other server yet.
    """

    def __init__(self) -> None:
        self._statuses: dict[str, Literal[1, 2]] = {"": NOT_SERVING}
        self._changed = asyncio.Event()
        self._draining = False
        self._closed = False

    def set(self, service: str, serving: bool) -> None:
        """Once the process drains, nothing can be set to serving again."""
        self._statuses[service] = SERVING if serving and not self._draining else NOT_SERVING
        self._notify()

    def serving(self, service: str = "") -> bool:
        return self._statuses.get(service) == SERVING

    def ready(self) -> bool:
        """Whether new clients are to come here: it does not drain, and serves something by name where it has names."""
        named = [service for service in self._statuses if service]
        return self.serving() and not self._draining and (not named or any(map(self.serving, named)))

    def drain(self) -> None:
        """Tells probers to send new clients elsewhere."""
        self._draining = True
        self._statuses = {**dict.fromkeys(self._statuses, NOT_SERVING), "": self._statuses[""]}
        self._notify()

    def close(self) -> None:
        """Nothing is served from here on: ends all Watch calls with that."""
        self._statuses = dict.fromkeys(self._statuses, NOT_SERVING)
        self._closed = True
        self._notify()

    def _notify(self) -> None:
        # A new event for whoever waits next; the old one wakes all that wait now.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(self, request: HealthCheckRequest, context: Any) -> HealthCheckResponse:
        status = self._statuses.get(request.service)
        if status is None:
            raise NotFound(f"service {request.service!r} is unknown here")
        return HealthCheckResponse(status=status)

    async def Watch(self, request: HealthCheckRequest, context: Any) -> AsyncIterator[HealthCheckResponse]:
        last = None
        while True:
            changed, closed = self._changed, self._closed
            status = self._statuses.get(request.service, HealthCheckResponse.SERVICE_UNKNOWN)
            if status != last:
                yield HealthCheckResponse(status=status)
            last = status
            if closed:  # read before the status, so that even a slow watcher gets the last one
                return
            await changed.wait()
