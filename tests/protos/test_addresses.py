"""Addresses that a caller may name, and what is said of others."""

from collections.abc import Callable

import pytest

from fusion_gateway.console.settings import ConsoleSettings
from fusion_gateway.settings import GatewaySettings
from protos.marquee.addresses import checked_address
from protos.marquee.client import AsyncClient, Client
from servers.runtime.errors import ConfigurationError
from servers.runtime.settings import read


@pytest.mark.parametrize(
    "address",
    [
        "localhost:8001",
        "10.0.0.1:8001",
        "[::1]:8001",
        "dns:///gateway:8001",
        "dns:gateway:8001",
        "dns://8.8.8.8/gateway:8001",
        "ipv4:10.0.0.1:8001,10.0.0.2:8001",
        "unix:///run/gateway",
        "xds:///gateway",
    ],
)
def test_addresses_and_targets(address: str) -> None:
    assert checked_address(address) == address


@pytest.mark.parametrize(
    "address", ["localhost", "", "::1", "dns:///gateway", "localhost:", "gateway:grpc", "a b:1", "gateway:65536"]
)
def test_an_address_needs_a_port(address: str) -> None:
    with pytest.raises(ValueError, match="an address is host:port, such as localhost:8001") as caught:
        checked_address(address)
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize("address", ["http://shop:8001/", "HTTPS://shop:8001"])
def test_an_address_is_no_url(address: str) -> None:
    with pytest.raises(ValueError, match="without (http|HTTPS)://: give shop:8001$"):
        checked_address(address)


@pytest.mark.parametrize("client", [Client, AsyncClient])
async def test_the_client_says_it_when_it_is_made(client: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match="'localhost': an address is host:port"):
        client("localhost")


@pytest.mark.parametrize(
    ("kind", "flag"), [(ConsoleSettings, "--gateway=localhost"), (GatewaySettings, "--scorer=rating=localhost")]
)
def test_programs_say_it_when_they_start(kind: type[ConsoleSettings] | type[GatewaySettings], flag: str) -> None:
    name = flag.partition("=")[0]
    with pytest.raises(ConfigurationError, match=f"{name}: 'localhost': an address is host:port, such as"):
        read(kind, [flag, *(["--model-repository=x"] if kind is GatewaySettings else [])])
