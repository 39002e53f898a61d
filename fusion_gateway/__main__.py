"""python -m fusion_gateway [import-events FILE]"""

import asyncio
import sys
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from fusion_gateway.event_files import read_events
from fusion_gateway.events import EventStore
from fusion_gateway.gateway import gateway
from fusion_gateway.settings import EventStoreSettings, GatewaySettings
from servers.runtime import logs, settings
from servers.runtime.errors import MarqueeError


class ImportSettings(EventStoreSettings):
    """Loads a CSV or Parquet file with the columns user, item, rating and time into the event store."""

    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway import-events")

    file: CliPositionalArg[Path] = Field(description="Events stored already are left alone.")


def main(arguments: list[str]) -> int:
    """The exit code: 0 after an orderly stop, 1 when it cannot start."""
    try:
        if arguments[:1] == ["import-events"]:
            asyncio.run(_import(settings.read(ImportSettings, arguments[1:])))
        else:
            asyncio.run(_serve(settings.read(GatewaySettings, arguments)))
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(chosen: GatewaySettings) -> None:
    logs.configure("fusion_gateway", chosen.log_level)
    async with gateway(chosen) as program:
        await program.serve()


async def _import(chosen: ImportSettings) -> None:
    logs.configure("fusion_gateway import-events", chosen.log_level)
    store = EventStore(chosen.event_store, chosen.history_limit)
    await store.open()
    try:
        recorded = await store.import_all(read_events(chosen.file))
    finally:
        await store.close()
    print(f"{recorded} new events are in the event store")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
