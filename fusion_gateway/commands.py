"""What `python -m fusion_gateway` does besides serving."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from google.protobuf.json_format import MessageToJson
from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from fusion_gateway.events.exporting import export_events
from fusion_gateway.events.files import read_events
from fusion_gateway.events.store import EventStore
from fusion_gateway.listing import names_in, users_of
from fusion_gateway.loop.databases import opened
from fusion_gateway.loop.export import export_served
from fusion_gateway.loop.metrics import DAY
from fusion_gateway.loop.outcomes import Outcomes
from fusion_gateway.loop.outcomes_query import PRECISION, parse_outcomes_query
from fusion_gateway.settings import HOME, EventStoreSettings, ServingLogSettings
from fusion_gateway.terminal import items, tables
from protos.marquee.programs import as_called
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime import logs, settings
from servers.runtime.errors import ConfigurationError, MarqueeError
from servers.runtime.repository import Repository
from servers.runtime.settings import ProgramSettings


class ImportSettings(EventStoreSettings):
    """Loads a file of events, of any form that training reads, into the event store, while gateways use it.

    Of a file with a broken line nothing is stored. An import that ends early can be run again.
    """

    panel = "Import"
    example = "python -m fusion_gateway import-events var/imported/generated/events.parquet"
    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway import-events")

    file: CliPositionalArg[Path] = Field(description="Events stored already are left alone.")


class ExportSettings(EventStoreSettings):
    """Writes the event store to a file that `python -m training` and import-events read: CSV, or .parquet.

    The store is only read, as a stream.
    """

    panel = "Export"
    example = "python -m fusion_gateway export-events var/exported/events.parquet"
    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway export-events")

    file: CliPositionalArg[Path] = Field(description="For training, name it events.csv or events.parquet in a folder.")
    history_only: bool = Field(
        False, description="Only events of types that are history; training knows the usual ones by itself."
    )


class ExportServedSettings(ServingLogSettings):
    """Writes the log of what was served to Parquet files, some for each day (UTC)."""

    panel = "Export"
    example = "python -m fusion_gateway export-served var/served --since 2026-01-31"
    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway export-served")

    folder: CliPositionalArg[Path] = Field(description="Files of a day that is written again are replaced.")
    since: date | None = Field(None, description="The first day, such as 2026-01-31; all where it is left out.")


class OutcomesSettings(ServingLogSettings):
    """Prints what came of the answers of each policy, and by how much policies differ, as GetOutcomes does.

    The log and the events are only read, as a stream, while gateways write them. One may look every day.
    """

    panel = "Outcomes"
    example = "python -m fusion_gateway outcomes --metric click --by cohort"
    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway outcomes")

    metric: str = Field("click", description="A type of events, such as click or like; watch-time; or rating.")
    since: date | None = Field(None, description="The first day (UTC), such as 2026-01-31; a week ago if left out.")
    until: date | None = Field(None, description="The day before which to stop; now if left out.")
    window_secs: float = Field(DAY, gt=0, description="An event counts so long after its answer.")
    by: Literal["", "version", "cohort", "scenario"] = Field(
        "", description="Divide by versions of models, scenario, or the user's number of events before."
    )
    control: str = Field("", description="The policy to compare with; the one with the most answers if left out.")
    precision: float = Field(PRECISION, gt=0, le=1, description="For how many more users are needed: of the rate.")
    format: Literal["table", "json"] = Field("table", description="json is a GetOutcomesResponse.")


class ListUsersSettings(EventStoreSettings):
    """Lists the users of whom events are stored, those with the most events first."""

    panel = "Users"
    example = "python -m fusion_gateway list-users --limit 5"
    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway list-users")

    limit: int = Field(20, ge=1, le=1_000_000, description="Number of users.")


class ListNamesSettings(ProgramSettings):
    """Lists the genres, genders and occupations that filters and profiles know."""

    panel = "Names"
    example = "python -m fusion_gateway list-names --model-repository var/repository"
    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway list-names")

    model_repository: str = Field(str(HOME / "repository"), description="Has the catalog and the fusion policies.")


async def _import(chosen: ImportSettings) -> None:
    async with _store("import-events", chosen) as store:
        recorded = await store.import_all(read_events(chosen.file, chosen.event_types()))
    print(f"{recorded} new events are in the event store")


async def _export(chosen: ExportSettings) -> None:
    logs.configure("fusion_gateway export-events", chosen.log_level)
    types = chosen.event_types().in_history if chosen.history_only else None
    written = await export_events(chosen.event_store, chosen.file, types)
    print(f"{written} events are in {chosen.file}")


async def _export_served(chosen: ExportServedSettings) -> None:
    logs.configure("fusion_gateway export-served", chosen.log_level)
    if chosen.serving_log == "off":
        raise ConfigurationError("export-served: --serving-log is off; name the log that gateways write")
    written = await export_served(chosen.serving_log or chosen.event_store, chosen.folder, chosen.since)
    print(f"{written} answers are in {chosen.folder}")


async def _outcomes(chosen: OutcomesSettings) -> None:
    logs.configure("fusion_gateway outcomes", chosen.log_level)
    if chosen.serving_log == "off":
        raise ConfigurationError("outcomes: --serving-log is off; name the log that gateways write")
    request = pb.GetOutcomesRequest(
        metric=chosen.metric,
        since=_unix(chosen.since),
        until=_unix(chosen.until),
        window_seconds=chosen.window_secs,
        by=chosen.by,
        control=chosen.control,
        precision=chosen.precision,
    )
    types = chosen.event_types()
    outcomes = Outcomes(parse_outcomes_query(request, time.time(), types), types)
    async with opened(chosen.serving_log or chosen.event_store, chosen.event_store) as databases:
        response = await outcomes.read(databases)
    if chosen.format == "json":
        print(MessageToJson(response, preserving_proto_field_name=True))
    else:
        tables.console().print(tables.outcomes(response))


def _unix(day: date | None) -> int:
    return int(datetime.combine(day, datetime.min.time(), UTC).timestamp()) if day else 0


async def _list_users(chosen: ListUsersSettings) -> None:
    logs.configure("fusion_gateway list-users", chosen.log_level)
    found = await users_of(chosen.event_store, chosen.limit)
    tables.console().print(tables.users(found))


async def _list_names(chosen: ListNamesSettings) -> None:
    logs.configure("fusion_gateway list-names", chosen.log_level)
    tables.console().print(tables.names(names_in(Repository(chosen.model_repository))))


COMMANDS: Mapping[str, tuple[type[ProgramSettings], Callable[[Any], Coroutine[Any, Any, None]]]] = {
    "import-events": (ImportSettings, _import),
    "export-events": (ExportSettings, _export),
    "export-served": (ExportServedSettings, _export_served),
    "outcomes": (OutcomesSettings, _outcomes),
    "list-users": (ListUsersSettings, _list_users),
    "list-names": (ListNamesSettings, _list_names),
}


def main(name: str, *arguments: str) -> int:
    """Runs a command. The exit code: 1 where it cannot, 2 where there is none of that name."""
    if name == "items":
        items.app(list(arguments), prog_name=as_called("python -m fusion_gateway items"))
    if name not in COMMANDS:
        known = ", ".join([*COMMANDS, "items"])
        print(f"error: no command {name!r}; there are {known}, and without one it serves", file=sys.stderr)
        return 2
    kind, run = COMMANDS[name]
    try:
        asyncio.run(run(settings.read(kind, arguments)))
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


@asynccontextmanager
async def _store(command: str, chosen: EventStoreSettings) -> AsyncIterator[EventStore]:
    logs.configure(f"fusion_gateway {command}", chosen.log_level)
    store = EventStore(chosen.event_store, chosen.history_limit, chosen.retention_days, types=chosen.event_types())
    await store.open()
    try:
        yield store
    finally:
        await store.close()
