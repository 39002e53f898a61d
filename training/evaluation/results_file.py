"""Metrics as JSON to quote from."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from training.artifacts.repository import git_commit


def run_as_json(metrics: Sequence[Mapping[str, object]]) -> str:
    """The metrics under what was run, when, and on what."""
    run = {
        "command": shlex.join(["python -m training", *sys.argv[1:]]).replace("'", ""),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": git_commit(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }
    return json.dumps({**run, "rows": list(metrics)}, indent=2) + "\n"
