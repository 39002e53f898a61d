"""Times as people read them."""

from datetime import UTC, datetime


def moment(seconds: int) -> str:
    """Date and time in UTC; unix seconds again where the year has more than four digits."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
