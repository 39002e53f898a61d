"""Results on standard output, and tables that read at 80 columns."""

import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from servers.runtime.terminal import Terminal

WIDTH_OF_A_FILE = 160


def output() -> Console:
    """Standard output: of the terminal's width; wide when it goes elsewhere."""
    return Terminal(width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)


def narrow_table(title: str, caption: str = "") -> Table:
    """A table without borders. Lines inside a cell hold what would take columns of their own."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False)
    table.pad_edge, table.padding = False, (0, 1, 0, 0)
    table.caption, table.caption_justify = caption, "left"
    return table
