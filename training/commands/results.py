"""python -m training results."""

from pathlib import Path
from typing import Annotated

import typer

from training.benchmark.result_tables.files import Results
from training.benchmark.result_tables.pages import FOLDER, PAGES, rendered
from training.errors import TrainingError


def results_command(
    write: Annotated[bool, typer.Option("--write", help="Write them; otherwise only compare.")] = False,
    root: Annotated[Path, typer.Option(help="The repository's folder.")] = Path(),
) -> None:
    """Compare the READMEs' tables of results with the JSON files in training/results, or write them."""
    for path in PAGES:
        page = (root / path).read_text()
        new = rendered(page, Results(root / FOLDER))
        if write:
            (root / path).write_text(new)
        elif page != new:
            raise TrainingError(f"{path}: tables differ from training/results; run python -m training results --write")
