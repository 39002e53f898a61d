"""python -m training contact-sheet."""

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import HOME, Data, Repository


def contact_sheet_command(
    out: Annotated[Path, typer.Argument(help="The PNG to write.")],
    data: Data = HOME / "data" / "generated",
    repository: Repository = HOME / "repository",
    seed: Annotated[int, typer.Option(help="Chooses the items.")] = 0,
) -> None:
    """Picture the nearest items of six by poster only, by text only, and by all that the item encoder reads."""
    from training.artifacts.repository import known_numbers
    from training.data.load import load_dataset
    from training.evaluation.contact_sheet import contact_sheet

    dataset = load_dataset(data, numbers=known_numbers(repository))
    contact_sheet(dataset.items, repository, HOME / "cache", out, seed)
