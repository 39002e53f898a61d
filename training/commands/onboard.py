"""python -m training onboard."""

import time
from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import HOME, Repository
from training.progress import console


def onboard_command(
    items: Annotated[
        Path,
        typer.Option(
            help="CSV or Parquet: id, title, and any of year, genres, director, cast, keywords, overview. "
            "Lists are separated by |.",
            exists=True,
            dir_okay=False,
        ),
    ],
    posters: Annotated[
        Path | None, typer.Option(help="Folder of <item id>.jpg, .png or .webp.", exists=True, file_okay=False)
    ] = None,
    repository: Repository = HOME / "repository",
) -> None:
    """Add items without training: they are embedded and published as new versions, which running servers pick up.

    Items whose id is known stay as they are.
    """
    from training.artifacts.repository import versions
    from training.pipelines.onboard import onboard, read_new
    from training.recipes import SCORERS

    started = time.monotonic()
    done = onboard(read_new(items, posters), repository)
    for number, id, title in done.items.select("number", "id", "title").iter_rows():
        console.print(f"item {number}: {id}, {title}", markup=False, highlight=False, soft_wrap=True)
    folders = ", ".join(map(str, done.published)) or "nothing"
    console.print(
        f"{len(done.items)} items added, {done.known} known before; published {folders} "
        f"in {time.monotonic() - started:.1f} s",
        soft_wrap=True,
    )
    if not any(versions(repository, model) for model in SCORERS):
        console.print("no scorer is published: the items can be found, and no model recommends them")
