"""What the console can be given, by flag, environment or file."""

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from protos.marquee.addresses import checked_address
from servers.runtime.lifecycle import LOOPBACK
from servers.runtime.settings import ProgramSettings


class ConsoleSettings(ProgramSettings):
    """Serves pages that show what a gateway recommends and why, and the gateway's calls as JSON over HTTP."""

    panel = "Console"
    example = "python -m fusion_gateway.console --gateway 127.0.0.1:8001 --posters var/posters"

    model_config = SettingsConfigDict(cli_prog_name="python -m fusion_gateway.console")

    gateway: str = Field(
        "127.0.0.1:8001", description="The gateway's host:port, or a name such as dns:///gateway:8001."
    )
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(8080, ge=0, le=65535, description="Port for HTTP; 0 takes a free one.")
    posters: str = Field("", description="Folder or http(s) URL below which the catalog's poster files are.")
    read_only: bool = Field(False, description="Refuse RecordEvents and DeleteUser.")
    host_name: list[str] = Field(
        [],
        description="Answer only requests for this name. Default: names of the loopback when listening there, or all.",
    )
    allow_origin: list[str] = Field(
        [], description="Pages of this origin, for example https://shop.example, may call the gateway through here."
    )
    gateway_ca: Path | None = Field(None, description="PEM authorities of the gateway; turns TLS to it on.")
    gateway_certificate: Path | None = Field(None, description="PEM certificate to show to the gateway.")
    gateway_key: Path | None = Field(None, description="PEM private key of that.")

    @field_validator("gateway")
    @classmethod
    def _checked(cls, address: str) -> str:
        return checked_address(address)

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if bool(self.gateway_certificate) != bool(self.gateway_key) or (self.gateway_key and not self.gateway_ca):
            raise ValueError("--gateway-certificate and --gateway-key go together, and need --gateway-ca")
        return self

    @property
    def host_names(self) -> list[str]:
        """Unless they are checked, a page of any site can reach the loopback by a name of its own (DNS rebinding)."""
        if self.host_name:
            return self.host_name
        return ["localhost", "127.0.0.1", "[::1]"] if self.host in LOOPBACK else ["*"]
