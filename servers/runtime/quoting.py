"""Names of others in messages. Whatever their length: a status travels in headers, of which gRPC takes 8 KiB."""

MOST_CHARACTERS = 100


def quoted(text: str) -> str:
    """In quotes, on one line, and cut where it is long."""
    return repr(text) if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]!r}..."


def shortened(message: object, most: int = 3 * MOST_CHARACTERS) -> str:
    """As it is, but cut where it is long; by default for what libraries say of files."""
    text = str(message)
    return text if len(text) <= most else f"{text[:most]}..."
