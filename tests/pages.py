"""The Markdown pages of the repository, their blocks of code and the commands in them.

A block marked `sh` is run by tests/test_readme.py, one marked `sh no_run` is only checked: its flags must exist.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATED = {"var", "build", "node_modules"}
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`(python -m [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    label: str
    text: str

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block; of a console, those that are typed."""
        lines = self.text.splitlines()
        if self.label == "console":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [line for line in lines if line] if self.label.split()[:1] == ["sh"] else []


def pages(name: str = "*.md") -> list[Path]:
    """All that are written by hand, in every folder."""
    return [path for path in sorted(ROOT.rglob(name)) if _is_written(path.relative_to(ROOT))]


def _is_written(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and not GENERATED & set(path.parts)


def blocks(label: str, name: str = "*.md") -> list[Block]:
    """The blocks with this label."""
    return [block for page in pages(name) for block in blocks_of(page) if block.label == label]


def blocks_of(page: Path) -> Iterator[Block]:
    """All of one page."""
    for label, text in FENCE.findall(page.read_text()):
        yield Block(page, label, text)


def inline_commands(page: Path) -> list[str]:
    """Commands of this repository within the text; those of results are what was run then."""
    text = FENCE.sub("", page.read_text())
    lines = [line for line in text.splitlines() if not line.startswith("[`")]
    return [command for line in lines for command in INLINE.findall(line)]
