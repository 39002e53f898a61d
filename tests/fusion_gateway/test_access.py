"""Tokens, roles and rates, through a real channel where it matters."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fusion_gateway.access import Bucket, hash_of, load_clients, new_token
from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import items_pb2
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.errors import ConfigurationError
from servers.runtime.settings import read
from tests.servers.running import ROOT

SHOP, OFFICE, SLOW = new_token(), new_token(), new_token()
CLIENTS = {
    "shop": {"sha256": hash_of(SHOP)},
    "office": {"sha256": hash_of(OFFICE), "roles": ["admin"]},
    "slow": {"sha256": hash_of(SLOW), "rate_per_second": 0.01},
}
METHODS = [method.name for method in pb.DESCRIPTOR.services_by_name["Recommender"].methods]


def write(folder: Path, clients: object) -> Path:
    path = folder / "tokens.yaml"
    path.write_text(clients if isinstance(clients, str) else yaml.safe_dump(clients))
    return path


@pytest.fixture
async def channel(repository: Path, tmp_path: Path) -> Any:
    flags = [f"--model-repository={repository}", f"--event-store=sqlite:///{tmp_path}/events.db", "--grpc-port=0"]
    flags += [
        "--metrics-port=0",
        "--exit-timeout-secs=0",
        f"--tokens={write(tmp_path, CLIENTS)}",
        "--scorer=rating=127.0.0.1:1",
    ]
    async with (
        gateway(read(GatewaySettings, flags)) as program,
        program,
        grpc.aio.insecure_channel(program.grpc_address) as channel,
    ):
        yield channel


async def code(
    channel: grpc.aio.Channel, method: str, token: str | None, service: str = "Recommender"
) -> tuple[str, str]:
    """Status and message of an empty call."""
    metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
    call: Any = channel.unary_unary(f"/marquee.v1.{service}/{method}")
    try:
        await call(b"", metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


async def test_nothing_but_health_is_open(channel: grpc.aio.Channel) -> None:
    for method in METHODS:
        for token in (None, "", "guess", hash_of(SHOP)):
            assert (await code(channel, method, token))[0] == "UNAUTHENTICATED", (method, token)
    health: Any = health_pb2_grpc.HealthStub(channel)
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING


async def test_a_token_lets_in_and_a_role_lets_delete_and_read_outcomes(channel: grpc.aio.Channel) -> None:
    assert await code(channel, "Recommend", SHOP) == ("OK", "")
    for method in ("DeleteUser", "GetOutcomes"):
        message = f"{method} needs the role admin, which shop does not have"
        assert await code(channel, method, SHOP) == ("PERMISSION_DENIED", message)
    assert await code(channel, "GetOutcomes", OFFICE) == ("OK", "")
    assert (await code(channel, "DeleteUser", OFFICE))[0] == "INVALID_ARGUMENT"  # an empty user id, but it may ask


async def test_items_are_for_editors(channel: grpc.aio.Channel) -> None:
    for method in [method.name for method in items_pb2.DESCRIPTOR.services_by_name["Items"].methods]:
        assert (await code(channel, method, None, "Items"))[0] == "UNAUTHENTICATED"
        assert (await code(channel, method, SHOP, "Items"))[0] == "PERMISSION_DENIED"
        assert (await code(channel, method, OFFICE, "Items"))[0] == (
            "OK" if method == "ListItems" else "INVALID_ARGUMENT"
        )


async def test_a_client_above_its_rate_is_told_when_to_retry(channel: grpc.aio.Channel) -> None:
    assert (await code(channel, "GetStatus", SLOW))[0] == "OK"
    status, message = await code(channel, "GetStatus", SLOW)
    assert status == "RESOURCE_EXHAUSTED"
    assert message.startswith("slow may make 0.01 calls a second; try again in ")
    assert (await code(channel, "GetStatus", SHOP))[0] == "OK"


async def test_the_file_is_followed(channel: grpc.aio.Channel, tmp_path: Path) -> None:
    async def becomes(token: str, status: str) -> None:
        async with asyncio.timeout(10):
            while (await code(channel, "GetStatus", token))[0] != status:
                await asyncio.sleep(0.1)

    late = new_token()
    write(tmp_path, {"late": {"sha256": hash_of(late)}, "slow": CLIENTS["slow"]})
    await becomes(late, "OK")
    await becomes(SHOP, "UNAUTHENTICATED")
    assert (await code(channel, "GetStatus", SLOW))[0] == "OK"
    write(tmp_path, {"late": {"sha256": hash_of(late)}, "slow": CLIENTS["slow"], "shop": "broken"})
    await asyncio.sleep(1.5)
    assert (await code(channel, "GetStatus", late))[0] == "OK"
    assert (await code(channel, "GetStatus", SHOP))[0] == "UNAUTHENTICATED"
    write(tmp_path, {"shop": CLIENTS["shop"], "slow": CLIENTS["slow"]})
    await becomes(SHOP, "OK")
    await becomes(late, "UNAUTHENTICATED")
    assert (await code(channel, "GetStatus", SLOW))[0] == "RESOURCE_EXHAUSTED"  # as it was before


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
async def test_the_scheme_is_in_any_case(channel: grpc.aio.Channel, scheme: str) -> None:
    metadata = (("authorization", f"{scheme} {SHOP}"),)
    assert await RecommenderStub(channel).GetStatus(pb.GetStatusRequest(), metadata=metadata)


def test_a_file_that_others_can_change_is_remarked_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, CLIENTS)
    for mode, remarks in ((0o600, 0), (0o640, 0), (0o644, 1), (0o666, 2)):
        path.chmod(mode)
        load_clients(path)
        assert sum("others can read or change" in line for line in capfd.readouterr().out.splitlines()) == min(
            remarks, 1
        )


def test_a_bucket_fills_at_its_rate() -> None:
    now = 0.0
    bucket = Bucket(4, lambda: now)
    assert [bucket.take() for _ in range(5)] == [0, 0, 0, 0, 0.25]
    now = 0.5
    assert [bucket.take() for _ in range(3)] == [0, 0, 0.25]
    now = 100
    assert [bucket.take() for _ in range(5)] == [0, 0, 0, 0, 0.25]


@pytest.mark.parametrize(
    ("clients", "message"),
    [
        ({"shop": {"sha256": SHOP}}, "shop.sha256: String should match"),
        ({"shop": {"sha256": hash_of(SHOP), "rate_per_second": 0}}, "shop.rate_per_second"),
        ({"shop": {"token": SHOP}}, "shop.sha256: Field required"),
        (f"shop: {SHOP}", "shop: Input should be"),
        (f"shop: [{SHOP}", "is not YAML in line 1"),
        (f"shop: !!int {SHOP}", "is not YAML of clients"),
        (f"shop: !!bool {SHOP}", "is not YAML of clients"),
        ("shop: !!int ''", "is not YAML of clients"),
        (f"shop: !!timestamp {SHOP}", "is not YAML of clients"),
        ("[" * 2000, "is not YAML"),
        (f"shop: {{sha256: {hash_of(SHOP)}}}\nshop: {{sha256: {hash_of(OFFICE)}}}", "line 1: 'shop' is given 2 times"),
        (f"shop: {{sha256: a, sha256: {hash_of(SHOP)}}}", "line 1: 'sha256' is given 2 times there"),
        (f"shop: &a {{sha256: {hash_of(SHOP)}}}\noffice: *a", "aliases"),
        (
            {"shop": {"sha256": hash_of(SHOP)}, "office": {"sha256": hash_of(SHOP)}},
            "clients: office and shop have the same token",
        ),
    ],
    ids=range(14),
)
def test_a_broken_file_is_named_without_what_it_holds(tmp_path: Path, clients: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_clients(write(tmp_path, clients))
    assert SHOP not in str(caught.value)


def test_a_made_token_is_that_of_its_entry(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fusion_gateway.tokens", "till", "--role", "admin", "--rate", "5"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    token = made.stderr.split()[-1]
    clients = load_clients(write(tmp_path, made.stdout))
    assert clients.named(token) == "till"
    assert clients.root["till"].roles == {"admin"}
    assert clients.root["till"].rate_per_second == 5
    assert token not in made.stdout


async def test_a_call_without_a_token_is_refused_before_its_message_is_sent(channel: grpc.aio.Channel) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    call: Any = channel.stream_unary("/marquee.v1.Recommender/RecordEvents")
    assert await call(stalled(), timeout=5).code() == grpc.StatusCode.UNAUTHENTICATED
