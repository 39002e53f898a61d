"""What every trial of the system has in common, be it an attack or a fault."""

from collections.abc import Iterator, Sequence

WARM_SECONDS = 20.0
"""Maximum time until a system that has just started answers everything."""
MAX_LOG_BYTES = 256 << 10
"""Maximum size of what one process logs in one trial."""


def is_chosen(name: str, parts: Sequence[str]) -> bool:
    """Whether a trial is to run: its name contains one of the parts, or there are none."""
    return not parts or any(part in name for part in parts)


def log_faults(log_bytes: int, odd_lines: Sequence[str]) -> Iterator[str]:
    """What is wrong with the log of a trial."""
    if log_bytes > MAX_LOG_BYTES:
        yield f"{log_bytes >> 10} KiB of log"
    if odd_lines:
        yield "log lines that are not JSON"
