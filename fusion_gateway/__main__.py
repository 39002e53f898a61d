"""python -m fusion_gateway [import-events FILE | export-events FILE]"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while it starts, Ctrl-C ends it without a traceback

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from fusion_gateway.events.files import read_events, write_events
from fusion_gateway.events.store import EventStore
from fusion_gateway.gateway import gateway
from fusion_gateway.settings import EventStoreSettings, GatewaySettings
from servers.runtime import logs, settings
from servers.runtime.errors import MarqueeError
from servers.runtime.threads import leave


class ImportSettings(EventStoreSettings):
    """Loads a file of events, of any form that training reads, into the event store, while gateways use it.

    Of a file with a broken line nothing is stored. An import that ends early can be run again.
    """

    panel = "Import"
    example = "python -m fusion_gateway import-events var/imported/generated/events.parquet"
    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway import-events")

    file: CliPositionalArg[Path] = Field(description="Events stored already are left alone.")


class ExportSettings(EventStoreSettings):
    """Writes the event store to a file that `python -m training` and import-events read: CSV, or .parquet."""

    panel = "Export"
    example = "python -m fusion_gateway export-events var/exported/events.parquet"
    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway export-events")

    file: CliPositionalArg[Path] = Field(description="For training, name it events.csv or events.parquet in a folder.")


def main(arguments: list[str]) -> int:
    """The exit code: 0 after an orderly stop, 1 when it cannot start."""
    try:
        if arguments[:1] == ["import-events"]:
            asyncio.run(_import(settings.read(ImportSettings, arguments[1:])))
        elif arguments[:1] == ["export-events"]:
            asyncio.run(_export(settings.read(ExportSettings, arguments[1:])))
        else:
            asyncio.run(_serve(settings.read(GatewaySettings, arguments)))
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(chosen: GatewaySettings) -> None:
    logs.separate_native_stderr()
    logs.configure("fusion_gateway", chosen.log_level)
    async with gateway(chosen) as program:
        await program.serve()


async def _import(chosen: ImportSettings) -> None:
    async with _store("import-events", chosen) as store:
        recorded = await store.import_all(read_events(chosen.file))
    print(f"{recorded} new events are in the event store")


async def _export(chosen: ExportSettings) -> None:
    async with _store("export-events", chosen) as store:
        written = write_events(chosen.file, [event async for event in store.all_events()])
    print(f"{written} events are in {chosen.file}")


@asynccontextmanager
async def _store(command: str, chosen: EventStoreSettings) -> AsyncIterator[EventStore]:
    logs.configure(f"fusion_gateway {command}", chosen.log_level)
    store = EventStore(chosen.event_store, chosen.history_limit, chosen.retention_days)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
