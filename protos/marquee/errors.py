"""Why a call to a gateway failed. Each error is a grpc.RpcError too, with `code()` and `details()`.

GatewayError
  InvalidArgument      the request is wrong; the message names the field, the problem and the limit
  NotFound             no such title, item or policy
  Unauthenticated      the gateway needs a token, and does not know the one it got
  PermissionDenied     the token may not do this
  Overloaded           refused because too much is waiting, or above the token's rate; try again later
  Unavailable          no gateway can be reached, or it cannot answer now; reads have been tried again
  DeadlineExceeded     no answer in time
"""

from typing import Any

import grpc
from grpc import StatusCode

REQUEST_ID = "x-request-id"


class GatewayError(grpc.aio.AioRpcError):
    """Parent of all, and the error for every other status.

    A blocking client raises it too: asyncio's channel handles no other kind, and one kind is enough to know.
    """

    def __str__(self) -> str:
        return f"{self.code().name}: {self.details()}"

    @property
    def request_id(self) -> str:
        """What the gateway's log calls this call by."""
        return str(dict(self.trailing_metadata()).get(REQUEST_ID, ""))


class InvalidArgument(GatewayError):
    pass


class NotFound(GatewayError):
    pass


class Unauthenticated(GatewayError):
    pass


class PermissionDenied(GatewayError):
    pass


class Overloaded(GatewayError):
    pass


class Unavailable(GatewayError):
    pass


class DeadlineExceeded(GatewayError):
    pass


OF_STATUS: dict[StatusCode, type[GatewayError]] = {
    StatusCode.INVALID_ARGUMENT: InvalidArgument,
    StatusCode.NOT_FOUND: NotFound,
    StatusCode.UNAUTHENTICATED: Unauthenticated,
    StatusCode.PERMISSION_DENIED: PermissionDenied,
    StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    StatusCode.UNAVAILABLE: Unavailable,
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}


def error_of(failed: Any) -> GatewayError:
    """The error for a grpc.RpcError of either kind of channel."""
    kind = OF_STATUS.get(failed.code(), GatewayError)
    initial = grpc.aio.Metadata(*(failed.initial_metadata() or ()))
    trailing = grpc.aio.Metadata(*(failed.trailing_metadata() or ()))
    return kind(failed.code(), initial, trailing, failed.details(), failed.debug_error_string())
