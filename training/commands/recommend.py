"""python -m training recommend."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import DATA_PANEL, HOME, MODEL_PANEL, Repository
from training.errors import TrainingError
from training.terminal import output

ALL = "all"
LIST_PANEL = "Lists"


def recommend_command(
    out: Annotated[Path, typer.Option(help="Parquet file to write: user, rank, item, score, policy.")],
    users: Annotated[
        str, typer.Option(help="'all' in the store, or a file with one id a line.", rich_help_panel=LIST_PANEL)
    ] = ALL,
    k: Annotated[int, typer.Option(help="Items of a list.", min=1, max=500, rich_help_panel=LIST_PANEL)] = 100,
    exclude_seen: Annotated[
        bool, typer.Option(help="Leave out what the user has had.", rich_help_panel=LIST_PANEL)
    ] = True,
    shard: Annotated[
        str,
        typer.Option(
            help="Only the users of one of several runs: INDEX/COUNT, from 0/4 to 3/4.", rich_help_panel=LIST_PANEL
        ),
    ] = "0/1",
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Do nothing where --out is there.", rich_help_panel=LIST_PANEL)
    ] = False,
    from_store: Annotated[
        str,
        typer.Option(
            help="URL of the event store: histories, and changes to the catalog.",
            envvar="MARQUEE_EVENT_STORE",
            rich_help_panel=DATA_PANEL,
            metavar="URL",
        ),
    ] = f"sqlite:///{HOME}/events.db",
    events: Annotated[
        Path | None,
        typer.Option(
            help="File of events in place of a store, of any form that training reads.", rich_help_panel=DATA_PANEL
        ),
    ] = None,
    repository: Repository = HOME / "repository",
    policies: Annotated[
        Path | None,
        typer.Option(help="File of policies. Default: the newest published ones.", rich_help_panel=MODEL_PANEL),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="Name of a policy. Default: the one that the gateway chooses for each user.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = "",
    scenario: Annotated[str, typer.Option(help="Name of a scenario.", rich_help_panel=MODEL_PANEL)] = "",
) -> None:
    """Write the lists that the gateway would recommend to many users at one time, without a gateway.

    Its settings come from the same MARQUEE_ environment variables as the gateway's.
    """
    from fusion_gateway.settings import GatewaySettings
    from servers.runtime.settings import read
    from training.pipelines.recommend import Lists, Shard, read_users, recommend, recommend_from_file

    chosen = Shard.parse(shard)
    shown = output()
    if skip_existing and out.exists():
        shown.print(f"{out} is there, and is left alone", markup=False, soft_wrap=True)
        return
    if out.is_dir():
        raise TrainingError(f"--out: {out} is a folder; name a file in it")
    listed = None if users == ALL else read_users(Path(users))
    now, began = int(time.time()), time.monotonic()
    lists = Lists(out, k, now, listed, chosen, policy=policy, scenario=scenario, exclude_seen=exclude_seen)
    flags = [f"--event-store={from_store}", f"--model-repository={repository}"]
    settings = read(GatewaySettings, flags + ([f"--policies={policies}"] if policies else []))
    making = recommend_from_file(settings, events, lists) if events else recommend(settings, lists)
    summary = asyncio.run(making)
    for missing, count in summary.missing.items():
        shown.print(f"missing from {count:,} lists: {missing}", markup=False, soft_wrap=True)
    versions = ", ".join(f"{model} {version}" for model, version in sorted(summary.versions.items()))
    seconds = time.monotonic() - began
    shown.print(
        f"{summary.rows:,} rows for {summary.users:,} users in {out}, at {datetime.fromtimestamp(now, UTC):%F %T} UTC, "
        f"by {versions or 'no model'}; {seconds:.0f} s",
        markup=False,
        soft_wrap=True,
    )
