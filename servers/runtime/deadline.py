"""When an answer stops being useful."""

import time
from dataclasses import dataclass
from typing import Any, Self

import grpc


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock, in seconds; infinity where the caller set none."""

    moment: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        return cls(time.monotonic() + seconds)

    @classmethod
    def of(cls, context: grpc.aio.ServicerContext[Any, Any], default_seconds: float = float("inf")) -> Self:
        """The deadline of a call, or `default_seconds` from now where the caller set none."""
        seconds = context.time_remaining()
        return cls.after(default_seconds if seconds is None else seconds)

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.moment - time.monotonic()

    def passed(self) -> bool:
        return time.monotonic() >= self.moment

    def sooner(self, seconds: float) -> "Deadline":
        """This deadline, or `seconds` from now where that comes first."""
        return min(self, Deadline.after(seconds), key=lambda deadline: deadline.moment)
