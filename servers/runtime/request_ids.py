"""The id of the call that is being served: on its log lines, in its answer, and passed on to other servers."""

import itertools
import secrets
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc

METADATA = "x-request-id"
MAX_CHARACTERS = 128
"""Maximum number of characters of a request id."""
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Empty outside calls. Every call runs in a context of its own, so it need not be reset."""

_PROCESS = secrets.token_hex(6)
_CALLS = itertools.count(1)


def identify(request: object, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
    """Sets REQUEST_ID to the `id` of an inference request, else to x-request-id, else to a new one.

    The answer to an inference request has a field for it; all others have it in their trailing metadata.
    """
    given: str | None = getattr(request, "id", None)
    if given is not None:
        REQUEST_ID.set(given[:MAX_CHARACTERS] or _new_id())
        return
    sent = [value for name, value in context.invocation_metadata() or () if name == METADATA]
    request_id = str(sent[0])[:MAX_CHARACTERS] if sent else ""
    if not (request_id.isascii() and request_id.isprintable() and request_id.strip()):
        request_id = _new_id()  # gRPC sends back printable ASCII only
    REQUEST_ID.set(request_id)
    context.set_trailing_metadata(((METADATA, request_id),))


def _new_id() -> str:
    return f"{_PROCESS}-{next(_CALLS)}"
