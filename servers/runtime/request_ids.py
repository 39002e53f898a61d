"""The id of the call that is being served: on its log lines, in its answer, and passed on to other servers."""

import itertools
import secrets
from contextvars import ContextVar
from typing import Any

import grpc

METADATA = "x-request-id"
MOST_CHARACTERS = 128
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Empty outside calls. Every call runs in a context of its own, so nobody has to reset it."""

_PROCESS = secrets.token_hex(6)
_CALLS = itertools.count(1)


def identify(request: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Sets REQUEST_ID to the `id` of an inference request, or to x-request-id, or to one that is made up.

    The answer to an inference request has the id in itself, all others in their trailing metadata.
    """
    given: str | None = getattr(request, "id", None)
    if given is not None:
        REQUEST_ID.set(given[:MOST_CHARACTERS] or _made_up())
        return
    told = [value for name, value in context.invocation_metadata() or () if name == METADATA]
    request_id = str(told[0])[:MOST_CHARACTERS] if told else ""
    if not (request_id.isascii() and request_id.isprintable() and request_id.strip()):
        request_id = _made_up()  # what is not printable ASCII cannot be sent back
    REQUEST_ID.set(request_id)
    context.set_trailing_metadata(((METADATA, request_id),))


def _made_up() -> str:
    return f"{_PROCESS}-{next(_CALLS)}"
