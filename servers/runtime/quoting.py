"""Bounds what callers write where messages repeat it: a status travels in headers, of which gRPC takes 8 KiB."""

MAX_CHARACTERS = 100
"""Maximum number of characters of a name that a message quotes."""


def quoted(text: str) -> str:
    """In quotes, on one line, and cut where it is long."""
    return repr(text) if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]!r}..."


def shortened(message: object, max_characters: int = 3 * MAX_CHARACTERS) -> str:
    """The message as it is, but cut where it is long; the default length is for libraries' errors about files."""
    text = str(message)
    return text if len(text) <= max_characters else f"{text[:max_characters]}..."
