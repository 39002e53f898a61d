"""The client that the base install holds, against real gateways: one that is open, and one with TLS and tokens."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.marquee.client import SERVICE, AsyncClient, Client
from protos.marquee.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from protos.marquee.v1.recommender_pb2 import (
    DeleteUserRequest,
    Event,
    GetHistoryRequest,
    GetStatusRequest,
    RecommendRequest,
    RecordEventsRequest,
    SimilarItemsRequest,
)
from tests.fusion_gateway.world import publish_world
from tests.servers.running import ROOT, started
from tests.servers.runtime.test_lifecycle import make_certificate
from tests.test_architecture import installed_by

METHODS = [method.name for method in SERVICE.methods]
FIVE = RecommendRequest(user_id="ann", k=5)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client")
    publish_world(folder / "repository")
    return folder


def gateway(home: Path, name: str, *flags: str) -> list[str]:
    command = [sys.executable, "-m", "fusion_gateway", f"--model-repository={home}/repository", "--grpc-port=0"]
    command += ["--metrics-port=0", f"--event-store=sqlite:///{home}/{name}.db", "--scorer=rating=127.0.0.1:1"]
    return [*command, "--log-level=error", *flags]


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with started(gateway(home, "open")) as running:
        yield running.grpc_address


@pytest.fixture(scope="module")
def protected(home: Path) -> Iterator[tuple[str, str, grpc.ChannelCredentials]]:
    """Address, token and the authority of a gateway with TLS and tokens."""
    certificate, key = make_certificate(home, "gateway")
    make_token = [sys.executable, "-m", "fusion_gateway.tokens", "shop"]
    made = subprocess.run(make_token, cwd=ROOT, capture_output=True, text=True, check=True)
    (home / "tokens.yaml").write_text(made.stdout)
    flags = [f"--tls-certificate={certificate}", f"--tls-key={key}", f"--tokens={home}/tokens.yaml"]
    with started(gateway(home, "protected", *flags)) as running:
        port = running.grpc_address.rpartition(":")[2]
        authority = grpc.ssl_channel_credentials(certificate.read_bytes())
        yield f"localhost:{port}", made.stderr.split()[-1], authority


def test_every_call_is_a_method(address: str) -> None:
    with Client(address, timeout=20) as client:
        assert all(callable(getattr(client, method)) for method in METHODS)
        events = [Event(user_id="ann", item_id=item, event_id=item) for item in ("1", "6")]
        assert client.RecordEvents(RecordEventsRequest(events=events)).recorded == 2
        assert len(client.GetHistory(GetHistoryRequest(user_id="ann")).events) == 2
        assert len(client.Recommend(FIVE).items) == 5


async def test_the_same_in_an_event_loop(address: str) -> None:
    async with AsyncClient(address, timeout=20) as client:
        assert len((await client.Recommend(FIVE)).items) == 5
        with pytest.raises(NotFound, match="no-such-policy"):
            await client.Recommend(RecommendRequest(policy="no-such-policy"))


def test_errors_are_readable_and_grpcs_own_kind(address: str) -> None:
    with Client(address, timeout=20) as client:
        with pytest.raises(InvalidArgument, match=r"^INVALID_ARGUMENT: k: must be") as raised:
            client.Recommend(RecommendRequest(k=-1), metadata=(("x-request-id", "mine"),))
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert raised.value.request_id == "mine"
        with pytest.raises(NotFound):
            client.SimilarItems(SimilarItemsRequest(item_id="nothing"))
        future = client.Recommend.future(RecommendRequest(k=-1))
        assert isinstance(future.exception(), grpc.RpcError)


def test_mistakes_of_the_caller_are_named(address: str) -> None:
    with Client(address, timeout=20) as client:
        for request in (GetHistoryRequest(user_id="ann"), {"k": 5}):
            with pytest.raises(
                InvalidArgument, match="Recommend takes a RecommendRequest, not a (GetHistoryRequest|dict)"
            ):
                client.Recommend(request)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="closed"):
        client.Recommend(FIVE)
    with pytest.raises(ValueError, match="token: must have printable characters of ASCII only"):
        Client(address, token="a secret\n")


async def test_mistakes_of_the_caller_are_named_in_an_event_loop(address: str) -> None:
    async with AsyncClient(address, timeout=20) as client:
        with pytest.raises(InvalidArgument, match="Recommend takes a RecommendRequest, not a dict"):
            await client.Recommend({"k": 5})  # type: ignore[arg-type]


def test_tls_and_token(protected: tuple[str, str, grpc.ChannelCredentials]) -> None:
    address, token, authority = protected
    with Client(address, tls=authority, token=token, timeout=20) as client:
        assert len(client.Recommend(FIVE).items) == 5
        with pytest.raises(PermissionDenied, match="admin"):
            client.DeleteUser(DeleteUserRequest(user_id="ann"))
    with Client(address, tls=authority, timeout=20) as client, pytest.raises(Unauthenticated, match="Bearer"):
        client.Recommend(FIVE)
    with Client(address, tls=True, token=token, timeout=20) as client, pytest.raises(Unavailable):
        client.Recommend(FIVE)  # no public authority knows this gateway


async def test_tls_and_token_in_an_event_loop(protected: tuple[str, str, grpc.ChannelCredentials]) -> None:
    address, token, authority = protected
    async with AsyncClient(address, tls=authority, token=token, timeout=20) as client:
        assert (await client.GetStatus(GetStatusRequest())).default_policy == "fitted"
        with pytest.raises(PermissionDenied, match="admin"):
            await client.DeleteUser(DeleteUserRequest(user_id="ann"))


def test_a_silent_gateway_is_given_up_at_the_deadline() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with Client(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.2) as client:
            with pytest.raises(DeadlineExceeded):
                client.Recommend(FIVE)
            with pytest.raises(DeadlineExceeded):
                client.Recommend(FIVE, timeout=0.1)


class Unsteady:
    """A gateway each of whose methods fails the first time it is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def _answer(self, method: str, _request: bytes, context: grpc.ServicerContext) -> bytes:
        self.calls.append(method)
        if self.calls.count(method) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")
        return b""  # any message, with nothing in it

    @contextmanager
    def serving(self) -> Iterator[str]:
        handlers: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(partial(self._answer, name)) for name in METHODS
        }
        server = grpc.server(ThreadPoolExecutor(1))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def test_reads_are_repeated_and_writes_are_not() -> None:
    unsteady = Unsteady()
    with unsteady.serving() as address, Client(address, timeout=20) as client:
        client.Recommend(FIVE)
        with pytest.raises(Unavailable, match="stopping"):
            client.RecordEvents(RecordEventsRequest())
    assert unsteady.calls == ["Recommend", "Recommend", "RecordEvents"]


def test_all_addresses_of_a_name_get_calls() -> None:
    first, second = Unsteady(), Unsteady()
    with first.serving() as one, second.serving() as other, Client(f"ipv4:{one},{other}", timeout=20) as client:
        grpc.channel_ready_future(client.channel).result(20)
        for _ in range(20):
            client.Recommend(FIVE)
    assert first.calls
    assert second.calls


def test_options_replace_the_defaults() -> None:
    no_retries = [("grpc.enable_retries", 0), ("grpc.service_config", "{}")]
    with Unsteady().serving() as address, Client(address, options=no_retries) as client, pytest.raises(Unavailable):
        client.Recommend(FIVE)


def test_the_base_install_is_what_a_caller_needs(address: str, tmp_path: Path) -> None:
    base = installed_by(set())
    assert base == {"grpcio", "protobuf", "typing-extensions"}
    for name in base:
        for file in distribution(name).files or ():
            top = Path(*file.parts[: 2 if file.parts[0] == "google" else 1])  # `google` is of many distributions
            link = tmp_path / top
            if ".." not in file.parts and not link.exists():
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(str(distribution(name).locate_file(top)))
    (tmp_path / "protos").symlink_to(ROOT / "protos")
    call = "import sys; from protos.marquee.client import Client; from protos.marquee.v1 import recommender_pb2 as pb; "
    call += "print(Client(sys.argv[1], timeout=20).GetStatus(pb.GetStatusRequest()).default_policy)"
    # -S leaves out everything else that is installed.
    command = [sys.executable, "-S", "-c", call, address]
    environment = {"PYTHONPATH": str(tmp_path)}
    made = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert made.stdout == "fitted\n", made.stderr
