"""Figures of an evaluation, as a table for people and as JSON to quote from."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
from rich.table import Table

from training.evaluate import Row
from training.metrics import bootstrap
from training.repository import git_commit

RANKING = ("hr@10", "ndcg@10", "mrr")


def as_table(rows: Sequence[Row], title: str) -> Table:
    """Best NDCG@10 first, with 95 % bootstrap intervals over users; the last column is paired by user."""
    table = Table(title=title, title_justify="left")
    for column in ("model", "recipe", "HR@10", "NDCG@10", "95 %", "MRR", "RMSE", "answered", "fused is better by"):
        table.add_column(column, justify="left" if column in ("model", "recipe") else "right")
    fused = next(row for row in rows if row.model == "fused").of("ndcg@10")
    for row in sorted(rows, key=lambda row: -row.of("ndcg@10").mean()):
        hits, gain, reciprocal = (f"{row.of(metric).mean():.4f}" for metric in RANKING)
        rmse = "" if np.isnan(row.rmse) else f"{row.rmse:.4f}"
        lift = "" if row.model == "fused" else _interval(fused - row.of("ndcg@10"))
        answered = f"{row.of('answered').mean():.0%}"
        table.add_row(row.model, row.recipe, hits, gain, _interval(row.of("ndcg@10")), reciprocal, rmse, answered, lift)
    return table


def _interval(values: np.ndarray) -> str:
    low, high = bootstrap(values)
    return f"{low:.4f} to {high:.4f}"


def as_json(rows: Sequence[Row], dataset: str, protocol: str) -> str:
    """What was run, when, on what, and every figure with its interval."""
    figures = [
        {
            "dataset": dataset,
            "protocol": protocol,
            "model": row.model,
            "recipe": row.recipe,
            "metric": metric,
            "value": float(row.of(metric).mean()),
            **dict(zip(("low", "high"), bootstrap(row.of(metric)), strict=True)),
            "seeds": row.seeds,
            "n": row.values.shape[1],
        }
        for row in rows
        for metric in RANKING
    ]
    return run_as_json(figures)


def run_as_json(figures: Sequence[Mapping[str, object]]) -> str:
    """The figures under what was run, when, and on what."""
    run = {
        "command": shlex.join(["python -m training", *sys.argv[1:]]).replace("'", ""),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": git_commit(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }
    return json.dumps({**run, "rows": list(figures)}, indent=2) + "\n"
