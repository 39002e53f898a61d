"""What the gateway can be told, by flag, environment or file."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from servers.runtime.settings import ProgramSettings, ServingSettings

HOME = Path(os.environ.get("MARQUEE_HOME", "var"))
"""Where everything that a run makes lies."""


class EventStoreSettings(ProgramSettings):
    """Where events are kept."""

    event_store: str = Field(f"sqlite:///{HOME}/events.db", description="sqlite:///FILE or postgresql://...")
    history_limit: int = Field(5000, ge=1, le=100_000, description="Events kept for each user, the newest.")


class GatewaySettings(EventStoreSettings, ServingSettings):
    """Serves marquee.v1.Recommender: asks the model servers, fuses what they say."""

    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway")

    model_repository: str = Field(str(HOME / "repository"), description="Has the catalogue and the fusion policies.")
    repository_poll_secs: float = Field(15, gt=0, description="How often to look for a newer catalogue.")
    scorer: Annotated[list[str], NoDecode] = Field(
        ["rating=127.0.0.1:8011", "sequential=127.0.0.1:8021", "visual_temporal=127.0.0.1:8031"],
        description="NAME=ADDRESS of a model server, for example rating=dns:///rating:8001. Once for each.",
    )
    default_timeout_secs: float = Field(2.0, gt=0, description="For calls without a deadline.")
    retrieve_k: int = Field(200, ge=1, le=1000, description="Items that each model retrieves, at least.")
    max_in_flight: int = Field(256, ge=1, description="Ranking calls beyond this are refused at once.")

    @field_validator("scorer", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("scorer")
    @classmethod
    def _named(cls, scorers: list[str]) -> list[str]:
        names = [scorer.partition("=")[0] for scorer in scorers]
        for scorer in scorers:
            name, equals, address = scorer.partition("=")
            if not (name and equals and address) or names.count(name) > 1:
                raise ValueError(f"{scorer!r} must be NAME=ADDRESS, and every name there once")
        return scorers

    def addresses(self) -> dict[str, str]:
        """Name of each scorer to the address of its server."""
        return {name: address for name, _, address in (scorer.partition("=") for scorer in self.scorer)}
