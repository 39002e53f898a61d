"""Which id a call goes by, whatever its caller has sent."""

from typing import Any

import pytest

from servers.runtime.request_ids import MAX_CHARACTERS, METADATA, REQUEST_ID, identify


class Context:
    """As much of gRPC's as is needed; its own client sends none of the ids that are wrong."""

    def __init__(self, given: str | bytes) -> None:
        self.given = given
        self.sent_back: Any = ()

    def invocation_metadata(self) -> Any:
        return ((METADATA, self.given),)

    def set_trailing_metadata(self, metadata: Any) -> None:
        self.sent_back = metadata


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("order-66", True),
        ("with blanks", True),
        ("x" * 1000, True),
        ("", False),
        ("   ", False),
        ("Zoë-1", False),
        ("a\tb", False),
        ("a\nb", False),
        ("\x7f", False),
    ],
)
def test_an_id_that_cannot_be_sent_back_is_replaced(given: str, kept: bool) -> None:
    context: Any = Context(given)
    identify(None, context)
    [(name, sent)] = context.sent_back
    assert (name, sent) == (METADATA, REQUEST_ID.get())
    assert (sent == given[:MAX_CHARACTERS]) is kept
    assert sent.isascii()
    assert sent.isprintable()
