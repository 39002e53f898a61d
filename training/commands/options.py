"""Flags that several commands have.

Commands import what they run when they are called: --help must not wait for torch and Polars.
"""

import os
import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.errors import TrainingError

if TYPE_CHECKING:
    import polars as pl

    from training.data.splits import Split

DATA_PANEL, MODEL_PANEL, RUN_PANEL = "Data", "Model", "Run"
"""Groups of options in --help."""
HOME = Path(os.environ.get("MARQUEE_HOME", "var"))


class SplitName(StrEnum):
    """How events are held out of training."""

    leave_last_out = "leave-last-out"
    global_time = "global-time"
    shares = "70-15-15"
    none = "none"

    def of(self, events: "pl.DataFrame") -> "Split":
        from training.data.splits import global_time, leave_last_out, no_split, shares_in_time

        made: dict[SplitName, Callable[[pl.DataFrame], Split]] = {
            SplitName.leave_last_out: leave_last_out,
            SplitName.global_time: global_time,
            SplitName.shares: shares_in_time,
            SplitName.none: no_split,
        }
        return made[self](events)


Data = Annotated[
    Path,
    typer.Option(
        help="Data folder: MovieLens as published, or events.csv / events.parquet.", rich_help_panel=DATA_PANEL
    ),
]
Repository = Annotated[Path, typer.Option(help="The model repository.")]
SplitOption = Annotated[
    SplitName,
    typer.Option(help="Rows held out: 'none' to serve, the others to measure.", rich_help_panel=DATA_PANEL),
]
Posters = Annotated[
    Path | None,
    typer.Option(help="Folder of <item id>.jpg. Default: found beside the data.", rich_help_panel=DATA_PANEL),
]
Tmdb = Annotated[
    Path | None, typer.Option(help="TMDB table. Default: found beside the data.", rich_help_panel=DATA_PANEL)
]


def numbers(text: str, name: str = "seeds") -> list[int]:
    """Raises TrainingError where a part is no whole number."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise TrainingError(f"{name} '{text}' are not whole numbers with commas between, such as 0,1,2")
    return [int(part) for part in text.split(",")]
