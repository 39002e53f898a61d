"""A program with a small service of its own: statuses, metrics, TLS, ports."""

import asyncio
import os
import socket
import struct
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from servers.runtime import errors, metrics
from servers.runtime.health import Health
from servers.runtime.lifecycle import Program
from servers.runtime.settings import ServingSettings

FAILURES: dict[bytes, Exception] = {
    b"INVALID_ARGUMENT": errors.InvalidArgument("k is 0; it must be at least 1"),
    b"NOT_FOUND": errors.NotFound("no such model"),
    b"FAILED_PRECONDITION": errors.FailedPrecondition("not set up for that"),
    b"RESOURCE_EXHAUSTED": errors.Overloaded("full"),
    b"UNAVAILABLE": errors.Unavailable("stopping"),
    b"DEADLINE_EXCEEDED": errors.DeadlineExceeded("late"),
    b"UNIMPLEMENTED": NotImplementedError("not here"),
    b"INTERNAL": RuntimeError("password=hunter2 in /etc/shadow"),
}


async def fail(request: bytes, context: Any) -> bytes:
    raise FAILURES[request]


async def fail_later(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield b"first"
    raise FAILURES[request]


def program(**changes: Any) -> Program:
    made = Program("test", ServingSettings(**{"grpc_port": 0, "metrics_port": 0, **changes}), [])
    handlers: dict[str, Any] = {
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLater": grpc.unary_stream_rpc_method_handler(fail_later),
    }
    made.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    return made


def status_of(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def calls(method: str, code: str) -> float:
    return REGISTRY.get_sample_value("marquee_calls_total", {"method": method, "code": code}) or 0


@pytest.mark.parametrize("name", FAILURES)
async def test_errors_become_statuses_without_internals(name: bytes) -> None:
    expected = str(FAILURES[name]) if name != b"INTERNAL" else "internal error; the server's log has the details"
    before = calls("Fail", name.decode())
    async with program() as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        call: Any = channel.unary_unary("/test.Test/Fail")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(name)
        assert (caught.value.code().name.encode(), caught.value.details()) == (name, expected)
        stream: Any = channel.unary_stream("/test.Test/FailLater")
        stream = stream(name)
        assert await stream.read() == b"first"
        assert (await stream.code()).name.encode() == name
        assert await stream.details() == expected
    assert calls("Fail", name.decode()) == before + 1


async def test_an_unknown_method_is_unimplemented() -> None:
    async with program() as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        call: Any = channel.unary_unary("/test.Test/Other")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_what_is_packed_is_not_unpacked() -> None:
    """A megabyte may hold a gigabyte."""
    packed = grpc.aio.insecure_channel
    async with program() as running, packed(running.grpc_address, compression=grpc.Compression.Gzip) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/test.Test/Fail")(b"0" * 10_000)  # type: ignore[arg-type]
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("host", "flag", "offered"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.1", False, False),
        ("127.0.0.1", True, True),
        ("0.0.0.0", None, False),
        ("0.0.0.0", True, True),
    ],
)
async def test_reflection_is_offered_on_loopback_only_or_by_flag(host: str, flag: bool | None, offered: bool) -> None:
    async with (
        program(host=host, reflection=flag) as running,
        grpc.aio.insecure_channel(running.grpc_address.replace("0.0.0.0", "127.0.0.1")) as channel,
    ):
        call: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        stream = call(iter([b""]))
        with nullcontext() if offered else pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
            assert [answer async for answer in stream]


async def test_a_port_in_use_is_reported() -> None:
    async with program() as running:
        for setting, address in (("grpc_port", running.grpc_address), ("metrics_port", running.http_address)):
            with pytest.raises(errors.ConfigurationError, match=f"cannot listen on {address}.*: Address.* in use"):
                async with program(**{setting: int(address.rpartition(":")[2])}):
                    pass


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("nosuchhost.invalid", "(Name|name resolution|address)"),
        ("1.2.3.4", "Cannot assign requested address"),
        (f"{'a' * 70}.b", "no name of a host"),
    ],
)
async def test_where_it_cannot_listen_the_system_says_why(host: str, why: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=f"cannot listen on {host}:0: .*{why}"):
        async with program(host=host):
            pass


async def test_metrics_in_a_version_that_is_none() -> None:
    async with program() as running:
        for accepted, code in (("application/openmetrics-text; version=a.b", 400), ("text/plain; version=1.0.0", 200)):
            request = urllib.request.Request(f"http://{running.http_address}/metrics", headers={"Accept": accepted})
            assert await asyncio.to_thread(status_of, request) == code


async def test_http_health_follows_the_process() -> None:
    def get(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{running.http_address}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async with program() as running:
        assert await asyncio.to_thread(get, "/health/ready") == (200, "ready\n")
        running.health.drain()
        running.health.set("", True)  # too late
        assert await asyncio.to_thread(get, "/health/ready") == (503, "not ready\n")
        assert await asyncio.to_thread(get, "/health/live") == (200, "live\n")
        assert (await asyncio.to_thread(get, "/other"))[0] == 404


async def test_while_it_drains_only_what_is_served_by_name_is_not_serving() -> None:
    """Those that watch "" would leave at once, and may know of no other server."""

    async def serves(service: str) -> bool:
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async with program() as running, grpc.aio.insecure_channel(running.grpc_address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        running.health.set("rating", True)
        assert (await serves(""), await serves("rating")) == (True, True)
        running.health.drain()
        assert (await serves(""), await serves("rating")) == (True, False)
        running.health.close()
        assert (await serves(""), await serves("rating")) == (False, False)


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
    new = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
    ]
    subprocess.run([*new, *subject, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


async def is_healthy(address: str, credentials: grpc.ChannelCredentials) -> bool:
    async with grpc.aio.secure_channel(address.replace("127.0.0.1", "localhost"), credentials) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        call = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert await call.code() in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
        return bool(await call.code() == grpc.StatusCode.OK)


async def test_mutual_tls_with_certificates_that_are_renewed(tmp_path: Path) -> None:
    server, server_key = make_certificate(tmp_path, "server")
    client, client_key = make_certificate(tmp_path, "client")
    known = grpc.ssl_channel_credentials(server.read_bytes(), client_key.read_bytes(), client.read_bytes())
    async with program(tls_certificate=server, tls_key=server_key, tls_client_ca=client) as running:
        assert await is_healthy(running.grpc_address, known)
        assert not await is_healthy(running.grpc_address, grpc.ssl_channel_credentials(server.read_bytes()))
        make_certificate(tmp_path, "server")
        assert not await is_healthy(running.grpc_address, known)
        renewed = grpc.ssl_channel_credentials(server.read_bytes(), client_key.read_bytes(), client.read_bytes())
        assert await is_healthy(running.grpc_address, renewed)
        server.unlink()
        os.mkfifo(server)
        assert await is_healthy(running.grpc_address, renewed)


async def test_tls_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="No such file"):
        async with program(tls_certificate=tmp_path / "a", tls_key=tmp_path / "b"):
            pass


def test_tls_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "server")
    other, other_key = make_certificate(tmp_path, "other")
    (tmp_path / "text").write_text("no certificate")
    for changes, message in [
        (
            {"tls_certificate": certificate, "tls_key": other_key},
            "are no PEM certificate and its key: key values mismatch",
        ),
        ({"tls_certificate": tmp_path / "text", "tls_key": key}, "text and .* are no PEM certificate"),
        ({"tls_certificate": other, "tls_key": other_key, "tls_client_ca": tmp_path / "text"}, "text holds no PEM"),
    ]:
        with pytest.raises(errors.ConfigurationError, match=message):
            asyncio.run(bound(changes))


async def bound(changes: dict[str, Any]) -> None:
    program(**changes).bind()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
async def test_an_ipv6_address_serves_calls_and_metrics(host: str) -> None:
    async with program(host=host) as running:
        address = running.grpc_address.replace("[::]", "[::1]")
        async with grpc.aio.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert await health.Check(health_pb2.HealthCheckRequest())
        with await asyncio.to_thread(
            urllib.request.urlopen, f"http://{running.http_address.replace('[::]', '[::1]')}/metrics"
        ):
            pass


def test_connections_to_the_metrics_server_have_an_end(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    """Those that say nothing, those that are too many, and those that leave before their answer."""
    monkeypatch.setattr(metrics, "CONNECTION_SECONDS", 0.5)
    before = threading.active_count()
    server = metrics.MetricsServer("127.0.0.1", 0, Health().serving)
    address = ("127.0.0.1", int(server.address.rpartition(":")[2]))
    silent = [socket.create_connection(address, timeout=10) for _ in range(metrics.MAX_CONNECTIONS + 20)]
    for each in silent:
        each.sendall(b"GET /metrics HTTP/1.1\r\n")
    assert threading.active_count() <= before + 1 + metrics.MAX_CONNECTIONS
    for each in silent:
        with suppress(ConnectionResetError):
            assert each.recv(1) == b""  # closed by the server
        each.close()
    with socket.create_connection(address) as leaving:
        leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
        leaving.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    while True:  # there is room once the last of them has been found to have left
        with suppress(OSError), urllib.request.urlopen(f"http://{server.address}/health/live") as answer:
            assert answer.read() == b"live\n"
            break
    server.close()
    assert "Traceback" not in capfd.readouterr().err
