"""Settings of the gateway, by flag, environment or file."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from fusion_gateway.events.event_types import EventTypes
from protos.marquee.addresses import checked_address
from servers.runtime.errors import ConfigurationError
from servers.runtime.settings import DAY, MAX_CALLS, ProgramSettings, ServingSettings

HOME = Path(os.environ.get("MARQUEE_HOME", "var"))
"""The folder of everything that a run makes."""


class EventStoreSettings(ProgramSettings):
    """Where events are kept."""

    panel = "Event store"

    event_store: str = Field(f"sqlite:///{HOME}/events.db", description="sqlite:///FILE or postgresql://...")
    history_limit: int = Field(5000, ge=1, le=100_000, description="Events kept for each user, the newest.")
    retention_days: float = Field(0, ge=0, le=36_500, description="Delete events that are older; 0: keep them.")
    event_type: Annotated[list[str], NoDecode] = Field(
        [],
        description="NAME=ROLE of a type of events, beside the usual ones or in place of one. Roles: history; "
        "history:WEIGHT, which rates events without a rating, from 0 (lowest) to 1 (highest); left-out, of which the "
        "items come into no list; kept, such as impressions. Once for each, for example share=history:0.9.",
    )

    @field_validator("event_type", mode="before")
    @classmethod
    def _split_types(cls, value: Any) -> Any:
        return (value.split(",") if value else []) if isinstance(value, str) else value

    @field_validator("event_type")
    @classmethod
    def _types_are_usable(cls, types: list[str]) -> list[str]:
        try:
            _event_types(types)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return types

    def event_types(self) -> EventTypes:
        """The usual types with those given here."""
        return _event_types(self.event_type)


class ServingLogSettings(EventStoreSettings):
    """Where what was served is logged."""

    panel = "Serving log"

    serving_log: str = Field(
        "", description="Log of what was served: sqlite:///FILE, postgresql://... or off; empty: the event store."
    )
    serving_log_days: float = Field(
        90,
        ge=0,
        le=36_500,
        description="Delete answers that are older, or as old as events that are deleted; 0: as old as these only.",
    )


def _event_types(types: list[str]) -> EventTypes:
    parts = [named.partition("=") for named in types]
    return EventTypes({name.strip(): role.strip() for name, _, role in parts})


class ScorerSettings(ProgramSettings):
    """Which model servers are called, and how."""

    panel = "Model servers"

    scorer: Annotated[list[str], NoDecode] = Field(
        [
            "rating=127.0.0.1:8011",
            "sequential=127.0.0.1:8021",
            "visual_temporal=127.0.0.1:8031",
            "linear=127.0.0.1:8041",
        ],
        description="NAME=ADDRESS of a model server, for example rating=dns:///rating:8001. Once for each; "
        "empty for none.",
    )
    scorer_ca: Path | None = Field(None, description="PEM authorities of the model servers; turns TLS to them on.")
    scorer_certificate: Path | None = Field(None, description="PEM certificate to show to model servers.")
    scorer_key: Path | None = Field(None, description="PEM private key of that.")
    scorer_timeout_secs: float = Field(
        1.0,
        gt=0,
        le=60,
        description="Longest wait for a model server; one that is silent for so long is left alone.",
    )

    @field_validator("scorer", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        # Not at the commas of an address that has several: rating=ipv4:10.0.0.1:8001,10.0.0.2:8001
        return (re.split(r",(?=[^,=]*=)", value) if value else []) if isinstance(value, str) else value

    @field_validator("scorer")
    @classmethod
    def _named(cls, scorers: list[str]) -> list[str]:
        names = [scorer.partition("=")[0] for scorer in scorers]
        for scorer in scorers:
            name, equals, address = scorer.partition("=")
            if not (name and equals and address) or names.count(name) > 1:
                raise ValueError(f"{scorer!r} must be NAME=ADDRESS, and every name there once")
            checked_address(address)
        return scorers

    @model_validator(mode="after")
    def _scorer_tls_is_whole(self) -> Self:
        if bool(self.scorer_certificate) != bool(self.scorer_key) or (self.scorer_key and not self.scorer_ca):
            raise ValueError("--scorer-certificate and --scorer-key go together, and need --scorer-ca")
        return self

    def addresses(self) -> dict[str, str]:
        """Name of each scorer to the address of its server."""
        parts = [scorer.partition("=") for scorer in self.scorer]
        return {name: address for name, _, address in parts}


class GatewaySettings(ScorerSettings, ServingLogSettings, ServingSettings):
    """Serves marquee.v1.Recommender: calls the model servers and fuses their scores.

    `python -m fusion_gateway import-events FILE` loads histories into the event store first; export-events writes them;
    list-users and list-names print what can be named in calls.
    """

    panel = "Gateway"
    example = "python -m fusion_gateway --model-repository var/repository --scorer rating=127.0.0.1:8011"

    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway")

    model_repository: str = Field(str(HOME / "repository"), description="Has the catalog and the fusion policies.")
    repository_poll_secs: float = Field(
        5, ge=0.01, le=DAY, description="Seconds between looks for new catalogs and policies."
    )
    wait_for_models: bool = Field(
        False, description="Start, and be not ready, though no catalog or fusion is published yet."
    )
    policies: Path | None = Field(None, description="Fusion policies from this YAML file, not the published ones.")
    tokens: Path | None = Field(
        None, description="Only clients of this file may call; see python -m fusion_gateway.tokens."
    )
    trending_window_days: float = Field(7, gt=0, le=366, description="Events so old are trending no more.")
    trending_half_life_days: float = Field(2, gt=0, le=366, description="An event so old counts half in what trends.")
    default_timeout_secs: float = Field(2.0, gt=0, le=DAY, description="For calls without a deadline.")
    retrieve_k: int = Field(200, ge=1, le=1000, description="Minimum number of items that each model retrieves.")
    one_round_items: int = Field(
        5000,
        ge=0,
        le=10_000_000,
        description="Maximum size of a catalog of which models score all items instead of retrieving first.",
    )
    max_message_bytes: int = Field(4 << 20, ge=1 << 10, le=1 << 30, description="Largest message taken or sent.")
    max_bytes_in_flight: int = Field(
        8 << 20, ge=1 << 10, le=1 << 40, description="Bytes of the messages that are being answered."
    )
    max_untaken_bytes: int = Field(
        32 << 20, ge=1 << 10, le=1 << 40, description="Bytes of the answers that their callers have not taken yet."
    )
    max_in_flight: int = Field(64, ge=1, le=MAX_CALLS, description="Ranking calls beyond this are refused at once.")
    max_writes_in_flight: int = Field(
        64,
        ge=1,
        le=MAX_CALLS,
        description="Calls that write up to 100 events beyond this are refused at once; so are larger ones.",
    )
