"""What callers and files wrote, on a terminal: it obeys control characters, so they are shown as U+FFFD instead."""

import re
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""All but tab and line feed; and those that turn the direction of what follows."""


def printable(text: str) -> str:
    return CONTROL.sub("\ufffd", text)


class Terminal(Console):
    """A console whose texts are printable; styles are still its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
