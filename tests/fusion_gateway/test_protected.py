"""Everything protected at once, with real processes: TLS to the gateway, mutual TLS behind it, tokens."""

import os
import subprocess
import sys
from pathlib import Path

from fusion_gateway.access import hash_of
from tests.fusion_gateway.world import MOVIES, publish_world
from tests.servers import tiny_artifact
from tests.servers.running import ROOT, process, started
from tests.servers.runtime.test_lifecycle import make_certificate


def client(address: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fusion_gateway.client", *arguments, "--address", address, "--timeout", "20"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment})


def test_a_protected_system_serves_and_tells_no_secrets(tmp_path: Path) -> None:
    repository = publish_world(tmp_path / "repository")
    tiny_artifact.publish(repository, item_numbers=range(1, 1 + len(MOVIES)))
    (server, server_key), (own, own_key) = (make_certificate(tmp_path, name) for name in ("server", "own"))
    made = subprocess.run(
        [sys.executable, "-m", "fusion_gateway.tokens", "till"], cwd=ROOT, capture_output=True, text=True
    )
    token = made.stderr.split()[-1]
    (tmp_path / "tokens.yaml").write_text(made.stdout)
    tls = [f"--tls-certificate={server}", f"--tls-key={server_key}"]
    gateway = [sys.executable, "-m", "fusion_gateway", f"--model-repository={repository}", "--grpc-port=0", *tls]
    gateway += ["--metrics-port=0", f"--event-store=sqlite:///{tmp_path}/events.db", "--log-level=debug"]
    gateway += [f"--tokens={tmp_path}/tokens.yaml", f"--scorer-ca={server}"]
    gateway += [f"--scorer-certificate={own}", f"--scorer-key={own_key}"]
    with (
        (tmp_path / "log").open("w") as log,
        process("rating", repository, *tls, f"--tls-client-ca={own}") as rating,
        started([*gateway, f"--scorer=rating=localhost:{rating.grpc_address.rpartition(':')[2]}"], log) as running,
    ):
        address = f"localhost:{running.grpc_address.rpartition(':')[2]}"
        arguments = "recommend", "--history", "1,6", "--json", "--weights", "sequential=0,visual_temporal=0"
        answer = client(address, *arguments, MARQUEE_CA=str(server), MARQUEE_TOKEN=token)
        assert '"policy": "fitted"' in answer.stdout, answer.stderr
        assert "degraded" not in answer.stdout
        unknown = client(address, *arguments, MARQUEE_CA=str(server), MARQUEE_TOKEN=f"{token}x")
        assert unknown.stderr == "error: authorization: the token is not known\n"
        nameless = client(address, *arguments, MARQUEE_CA=str(server))
        assert nameless.stderr.startswith("error: authorization: metadata")
        plain = client(address, *arguments, MARQUEE_TOKEN=token)
        assert plain.stderr.startswith(f"error: no gateway answers at {address}")
        unread = client(address, *arguments, MARQUEE_CA=str(tmp_path / "missing"))
        assert unread.stderr == f"error: cannot read {tmp_path}/missing: No such file or directory\n"
    logged = (tmp_path / "log").read_text()
    assert '"code": "UNAUTHENTICATED"' in logged
    assert token not in logged
    assert hash_of(token) not in logged
