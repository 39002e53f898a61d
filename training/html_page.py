"""A page of tables and pictures in one HTML file, readable without a network."""

import base64
import html
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import matplotlib
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from servers.runtime.files import written_whole

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, distinct in every form of color blindness."""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 1500px; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse }} caption {{ text-align: left; color: #555 }}
th {{ text-align: left; font-weight: normal; padding-right: 2rem; color: #555 }}
.grid td, .grid th {{ padding: .15rem .8rem; border-bottom: 1px solid #eee; font-size: .9rem; vertical-align: top }}
.grid td {{ font-variant-numeric: tabular-nums }}
main {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 1.5rem; margin-top: 2rem }}
figure {{ margin: 0; border: 1px solid #ddd; border-radius: 6px; padding: .8rem }} img {{ width: 100% }}
figcaption, .note {{ color: #555; font-size: .9rem }} mark {{ background: #ffe9b3 }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """Writes the page; a file that is there already is replaced once the new one is whole."""
    page = PAGE.format(title=html.escape(title), body="\n".join(parts))
    with written_whole(path) as partial:
        partial.write_text(page, encoding="utf-8")


def picture(title: str, caption: str, draw: Callable[[Axes], None]) -> str:
    """A plot inside the page."""
    with matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10}):
        figure = Figure(figsize=(6.4, 4.2), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.set_title(title)
        return image(title, caption, figure)


def image(title: str, caption: str, figure: Figure) -> str:
    """A figure inside the page."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    data = base64.b64encode(content.getvalue()).decode()
    return (
        f"<figure><img alt='{html.escape(title, quote=True)}' src='data:image/png;base64,{data}'>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def facts(values: Iterable[tuple[str, str]]) -> str:
    """A list of names and values."""
    rows = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in values)
    return "<table>\n" + "\n".join(rows) + "\n</table>"


def grid(columns: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table; every cell is text."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "\n".join(map(_table_row, rows))
    return f"<table class='grid'><caption>{html.escape(caption)}</caption><tr>{head}</tr>\n{body}</table>"


def table_grid(table: Table) -> str:
    """A table for the terminal as one of the page."""
    cells = zip(*(map(str, column.cells) for column in table.columns), strict=True)
    return grid([str(column.header) for column in table.columns], list(cells), str(table.title or ""))


def frame_grid(frame: pl.DataFrame, caption: str = "") -> str:
    """A table of a frame; floats with four digits."""
    return grid(frame.columns, (list(map(_shown, row)) for row in frame.iter_rows()), caption)


def _table_row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
