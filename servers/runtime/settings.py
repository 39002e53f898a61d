"""Settings of a program: flag, then MARQUEE_ environment variable, then file, then default. Read once, at the start."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, CliApp, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from protos.marquee.programs import as_called
from servers.runtime.cpus import usable_cpus
from servers.runtime.errors import ConfigurationError
from servers.runtime.files import read_regular
from servers.runtime.quoting import quoted, shortened
from servers.runtime.strict_yaml import StrictLoader

DAY = 86_400
"""In seconds; the longest that can be set. gRPC counts milliseconds in 32 bits."""
MAX_CALLS = 1 << 16
"""Maximum number of calls at once that can be set."""
MAX_WORKERS = 256
MAX_FILE_BYTES = 64 << 10
"""Maximum size of a settings file."""


class ProgramSettings(BaseSettings):
    """Parent of a program's settings: each field is a flag, an environment variable and a key of the file."""

    panel: ClassVar[str] = "Program"
    """Under which --help lists the fields that a class adds."""
    example: ClassVar[str] = ""
    """A whole command."""

    model_config = SettingsConfigDict(
        env_prefix="MARQUEE_",
        extra="forbid",
        frozen=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        allow_inf_nan=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings  # flags come before both; `read` passes what the file says as init_settings

    settings_file: Path | None = Field(
        None, description="YAML file with settings, named as the flags are, with _ for -."
    )
    print_config: bool = Field(False, description="Print the settings that result, as YAML, and exit.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged, to stderr.")


class ListenSettings(ProgramSettings):
    """Where a server listens, and how it stops."""

    panel = "Listening and stopping"

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    grpc_port: int = Field(8001, ge=0, le=65535, description="Port for gRPC; 0 takes a free one.")
    metrics_port: int = Field(8002, ge=0, le=65535, description="Port for /metrics and /health; 0 takes a free one.")
    reflection: bool | None = Field(None, description="Offer gRPC reflection. Default: on loopback only.")
    exit_timeout_secs: float = Field(
        30, ge=0, le=DAY, description="At SIGTERM, wait at most this long for calls in flight."
    )
    drain_secs: float = Field(
        0, ge=0, le=DAY, description="At SIGTERM, go on serving this long, so that clients notice first."
    )


class LimitSettings(ProgramSettings):
    """How much a server takes on."""

    panel = "Limits"

    max_message_bytes: int = Field(8 << 20, ge=1 << 10, le=1 << 30, description="Largest message taken or sent.")
    max_calls: int = Field(
        128, ge=1, le=MAX_CALLS, description="Calls answered at once; more are refused before they are read."
    )
    max_bytes_in_flight: int = Field(
        64 << 20, ge=1 << 10, le=1 << 40, description="Bytes of the messages that are being answered."
    )
    max_untaken_bytes: int = Field(
        64 << 20, ge=1 << 10, le=1 << 40, description="Bytes of the answers that their callers have not taken yet."
    )
    max_connections: int = Field(4096, ge=1, le=1 << 20, description="Connections at once.")
    max_connection_idle_secs: float = Field(
        300, gt=0, le=DAY, description="Close a connection without a call for this long."
    )
    max_connection_age_secs: float = Field(
        0, ge=0, le=DAY, description="Ask clients to reconnect after this; 0: never."
    )


class TracingSettings(ProgramSettings):
    """Where traces go."""

    panel = "Tracing"

    trace_endpoint: str | None = Field(
        None, pattern=r"^https?://", description="Send OpenTelemetry spans there by OTLP/gRPC: http://collector:4317."
    )
    trace_sample_ratio: float = Field(
        1, ge=0, le=1, description="Share of traces kept of those that begin here; a caller's own choice is respected."
    )


class TlsSettings(ProgramSettings):
    """How a server's connections are encrypted."""

    panel = "TLS"

    tls_certificate: Path | None = Field(None, description="PEM certificate chain. With --tls-key, serves TLS.")
    tls_key: Path | None = Field(None, description="PEM private key.")
    tls_client_ca: Path | None = Field(None, description="PEM authorities; clients must show a certificate of theirs.")

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if bool(self.tls_certificate) != bool(self.tls_key) or (self.tls_client_ca and not self.tls_key):
            raise ValueError("--tls-certificate and --tls-key go together, and --tls-client-ca needs both")
        return self


def _number_of_workers(value: Any) -> Any:
    return min(usable_cpus(), MAX_WORKERS) if value == "auto" else value


class ServingSettings(ListenSettings, LimitSettings, TracingSettings, TlsSettings):
    """Settings of every gRPC server of Marquee."""

    workers: Annotated[int, BeforeValidator(_number_of_workers)] = Field(
        1,
        ge=1,
        le=MAX_WORKERS,
        description="Processes that share the ports, each within the limits given here; auto: one for each CPU that "
        "the program may use.",
    )


S = TypeVar("S", bound=ProgramSettings)


def read(kind: type[S], arguments: Sequence[str]) -> S:
    """Settings from flags, environment and file. Raises ConfigurationError that names what is wrong.

    Exits with 0 after --help and --print-config, and with 2 for a flag that does not exist.
    """
    if {"-h", "--help"} & set(arguments):
        from servers.runtime.settings_help import show_help  # nobody else needs typer

        show_help(kind)
        sys.exit(0)
    try:
        settings = CliApp.run(kind, cli_args=list(arguments), cli_exit_on_error=False, **_from_file(kind, arguments))
    except SettingsError as error:
        message = str(error).removeprefix("error parsing CLI: ")
        program = as_called(str(kind.model_config["cli_prog_name"]))
        print(f"error: {message}; {program} --help lists all", file=sys.stderr)
        sys.exit(2)
    except ValidationError as error:
        # A default that depends on what is wrong is no second mistake.
        wrong = [each for each in error.errors() if each["type"] != "default_factory_not_called"]
        raise ConfigurationError("; ".join(map(_explain, wrong))) from None
    if settings.print_config:
        print(yaml.safe_dump(settings.model_dump(mode="json", exclude={"print_config"}), sort_keys=False), end="")
        sys.exit(0)
    return settings


def _from_file(kind: type[ProgramSettings], arguments: Sequence[str]) -> dict[str, Any]:
    # Read before all other flags, because what the file says ranks below them.
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings-file", default=os.environ.get("MARQUEE_SETTINGS_FILE"))
    name = parser.parse_known_args(arguments)[0].settings_file
    if not name:
        return {}
    try:
        values = yaml.load(read_regular(Path(name), MAX_FILE_BYTES), StrictLoader)
    except Exception as error:  # PyYAML raises what int(), datetime and recursion raise, too
        raise ConfigurationError(f"--settings-file {name} cannot be read: {shortened(error)}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"--settings-file {name} must hold names and values")
    values = {str(key).replace("-", "_"): value for key, value in values.items()}
    if unknown := sorted(values.keys() - kind.model_fields.keys()):
        raise ConfigurationError(f"--settings-file {name}: there is no setting {quoted(unknown[0])}")
    return values


def _explain(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    flag = f"--{name.replace('_', '-')}"
    return f"{flag} is needed, or MARQUEE_{name.upper()}" if error["type"] == "missing" else f"{flag}: {message}"
