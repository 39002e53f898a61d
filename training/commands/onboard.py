"""python -m training onboard."""

import time
from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import HOME, Repository
from training.progress import console

TABLE_PANEL, STORE_PANEL = "A table", "What a gateway was told (instead of --items)"


def onboard_command(
    items: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet: id, title, and any of year, genres, director, cast, keywords, overview. "
            "Lists are separated by |.",
            exists=True,
            dir_okay=False,
            rich_help_panel=TABLE_PANEL,
        ),
    ] = None,
    posters: Annotated[
        Path | None,
        typer.Option(
            help="Folder of <item id>.jpg, .png or .webp.", exists=True, file_okay=False, rich_help_panel=TABLE_PANEL
        ),
    ] = None,
    from_store: Annotated[
        str,
        typer.Option(
            help="URL of the event store: items that were upserted and are pending.",
            envvar="MARQUEE_EVENT_STORE",
            rich_help_panel=STORE_PANEL,
            metavar="URL",
        ),
    ] = f"sqlite:///{HOME}/events.db",
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until it is stopped.", rich_help_panel=STORE_PANEL)
    ] = False,
    every: Annotated[
        float, typer.Option(help="Seconds between two looks.", min=0.1, max=3600, rich_help_panel=STORE_PANEL)
    ] = 2.0,
    repository: Repository = HOME / "repository",
) -> None:
    """Add items without training: they are embedded and published as new versions, which running servers pick up.

    Items whose id is known stay as they are.
    """
    if items is None:
        if posters:
            raise typer.BadParameter("is for --items; those of the store come from there", param_hint="--posters")
        from training.pipelines.onboard_pending import onboard_pending

        onboard_pending(from_store, repository, every if follow else None)
    elif follow:
        raise typer.BadParameter("is for items of the store; leave out --items", param_hint="--follow")
    else:
        _add(items, posters, repository)


def _add(items: Path, posters: Path | None, repository: Path) -> None:
    from training.artifacts.repository import versions
    from training.pipelines.onboard import onboard, read_new
    from training.recipes import SCORERS

    started = time.monotonic()
    done = onboard(read_new(items, posters), repository)
    for number, id, title in done.items.select("number", "id", "title").iter_rows():
        _say(f"item {number}: {id}, {title}")
    for id, reason in done.refused.items():
        _say(f"refused {id}: {reason}")
    folders = ", ".join(map(str, done.published)) or "nothing"
    seconds = time.monotonic() - started
    _say(f"{len(done.items)} items added, {done.known} known before; published {folders} in {seconds:.1f} s")
    if not any(versions(repository, model) for model in SCORERS):
        _say("no scorer is published: the items can be found, and no model recommends them")


def _say(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
