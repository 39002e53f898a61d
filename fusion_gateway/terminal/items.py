"""python -m fusion_gateway items: changes the catalog of a running gateway from a terminal."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from fusion_gateway.ingest.errors import DataError
from fusion_gateway.terminal import client, tables
from fusion_gateway.terminal.client import (
    CONNECT,
    DEFAULT_ADDRESS,
    Address,
    Authority,
    Certificate,
    Connection,
    Key,
    Token,
    connected,
)
from fusion_gateway.terminal.item_files import batches, posters_in, read_documents, with_posters, write_items
from protos.marquee.v1 import items_pb2 as pb
from protos.marquee.v1.items_pb2_grpc import ItemsStub
from servers.runtime.command_line import App
from servers.runtime.terminal import printable

ITEMS_A_CALL, BYTES_A_CALL = 1000, 2 << 20
"""A gateway takes 1,000 items, and messages of 4 MiB."""
DEFAULT_TIMEOUT = 30.0
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Item ids.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for each answer.", rich_help_panel=CONNECT)]

app = App(
    help="Change, hide, list, import and export the items of a running gateway.",
    no_args_is_help=True,
    epilog="Example: python -m fusion_gateway items hide 42 --reason 'licence ended'",
)


@app.callback()
def connection(token: Token = "", ca: Authority = None, certificate: Certificate = None, key: Key = None) -> None:
    """Changes the catalog of a running gateway. Needs the role admin where tokens are required."""
    client.CONNECTION.set(Connection(token, ca, certificate, key))


@app.command("import", epilog="Example: python -m fusion_gateway items import items.csv")
def import_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV, Parquet or JSON lines: id, and any of title, year, genres, director, cast, keywords, overview, "
            "poster_url, available_from, available_until; any other column is an attribute.",
            exists=True,
            dir_okay=False,
        ),
    ],
    posters: Annotated[
        Path | None,
        typer.Option(help="Folder of <item id>.jpg, .png or .webp.", exists=True, file_okay=False),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Upsert the items of a file, 1,000 at a time. What is empty is left as it is published.

    An import that ends early can be run again.
    """
    try:
        documents = read_documents(file)
        images = posters_in(posters) if posters else {}
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    done, states = 0, dict.fromkeys(pb.ItemState.values(), 0)
    with connected(address) as channel, Progress(disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("upserting", total=len(documents))
        stub = ItemsStub(channel)
        for batch in batches(with_posters(documents, images), ITEMS_A_CALL, BYTES_A_CALL):
            try:
                changes = stub.UpsertItems(pb.UpsertItemsRequest(items=batch), timeout=timeout).changes
            except BaseException:
                print(f"{done} of {len(documents)} items are upserted; items[0] is {batch[0].id!r}", file=sys.stderr)
                raise
            done += len(changes)
            progress.update(bar, completed=done)
            for change in changes:
                states[change.state] += 1
    counts = ", ".join(f"{count} {_state(state)}" for state, count in states.items() if count)
    print(f"{done} items upserted: {counts or 'the file has none'}")


@app.command("export", epilog="Example: python -m fusion_gateway items export items.parquet")
def export_command(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or JSON lines, by its suffix: .csv, .parquet, .jsonl.")],
    changes: Annotated[bool, typer.Option("--changes", help="Only what was upserted, to import it elsewhere.")] = False,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Write the catalog to a file that `items import` and `training data import` read, without deleted items."""
    with connected(address) as channel:
        listed = _all(ItemsStub(channel), timeout)
        gone = (pb.ITEM_STATE_DELETED, pb.ITEM_STATE_UNKNOWN)
        try:
            count = write_items((item for item in listed if item.state not in gone), file, changes)
        except (DataError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
    print(f"{count} items are in {file}")


@app.command(epilog="Example: python -m fusion_gateway items hide 42 43 --reason 'licence ended' --until 2027-01-31")
def hide(
    ids: Ids,
    reason: Annotated[str, typer.Option(help="For editors.")] = "",
    until: Annotated[datetime | None, typer.Option(help="Shown again from then on, UTC. Default: never.")] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Take items out of every answer."""
    moment = int(until.replace(tzinfo=UTC).timestamp()) if until else None
    with connected(address) as channel:
        request = pb.HideItemsRequest(item_ids=ids, reason=reason, until=moment)
        _show(ItemsStub(channel).HideItems(request, timeout=timeout), "hidden")


@app.command(epilog="Example: python -m fusion_gateway items show 42 43")
def show(ids: Ids, address: Address = DEFAULT_ADDRESS, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
    """End what `items hide` did."""
    with connected(address) as channel:
        _show(ItemsStub(channel).ShowItems(pb.ShowItemsRequest(item_ids=ids), timeout=timeout), "shown")


@app.command("list", epilog="Example: python -m fusion_gateway items list --changes")
def list_command(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID...]", help="Only these.")] = None,
    changes: Annotated[bool, typer.Option("--changes", help="Only those that editors have changed.")] = False,
    limit: Annotated[int, typer.Option(help="Number of items.", min=1)] = 100,
    address: Address = DEFAULT_ADDRESS,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List items with their state, in the order of their ids."""
    with connected(address) as channel:
        stub = ItemsStub(channel)
        if ids:
            found = iter(stub.GetItems(pb.GetCatalogItemsRequest(item_ids=ids), timeout=timeout).items)
        else:
            found = _all(stub, timeout)
        chosen = (item for item in found if item.version or not changes)
        shown = [item for item, _ in zip(chosen, range(limit), strict=False)]
    tables.console().print(tables.catalog_items(shown))


def _all(stub: ItemsStub, timeout: float) -> Iterator[pb.CatalogItem]:
    page = ""
    while True:
        response = stub.ListItems(pb.ListItemsRequest(limit=ITEMS_A_CALL, page_token=page), timeout=timeout)
        yield from response.items
        page = response.next_page_token
        if not page:
            return


def _show(response: pb.ItemChangesResponse, done: str) -> None:
    print(f"{len(response.changes)} items are {done}")
    for ids, meaning in ((response.unknown_ids, "unknown"), (response.same_work_ids, "the same movies, still shown")):
        if ids:
            print(printable(f"{meaning}: {', '.join(ids)}"))


def _state(state: int) -> str:
    return tables.state_name(state)
