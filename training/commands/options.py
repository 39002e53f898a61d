"""Flags that several commands have."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from training.data.splits import Split, global_time, leave_last_out, no_split

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
