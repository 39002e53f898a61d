"""Flags that several commands have."""

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from training.data.splits import Split, global_time, leave_last_out, no_split
from training.errors import TrainingError

HOME = Path(os.environ.get("MARQUEE_HOME", "var"))


class SplitName(StrEnum):
    """How events are held out of training."""

    leave_last_out = "leave-last-out"
    global_time = "global-time"
    none = "none"

    def of(self, events: pl.DataFrame) -> Split:
        if self is SplitName.none:
            return no_split(events)
        return leave_last_out(events) if self is SplitName.leave_last_out else global_time(events)


Data = Annotated[Path, typer.Option(help="Data folder: MovieLens as published, or events.csv / events.parquet.")]
Repository = Annotated[Path, typer.Option(help="The model repository.")]
SplitOption = Annotated[SplitName, typer.Option(help="Rows held out: 'none' to serve, the others to measure.")]
Posters = Annotated[Path | None, typer.Option(help="Folder of <item id>.jpg. Default: found beside the data.")]
Tmdb = Annotated[Path | None, typer.Option(help="TMDB table. Default: found beside the data.")]


def numbers(text: str, name: str = "seeds") -> list[int]:
    """Raises TrainingError where a part is no whole number."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise TrainingError(f"{name} '{text}' are not whole numbers with commas between, such as 0,1,2")
    return [int(part) for part in text.split(",")]
