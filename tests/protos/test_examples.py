"""Every example of protos/README.md runs against a real gateway, as far as its tools are installed here."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fusion_gateway.world import MOVIES, publish_world
from tests.servers.running import ROOT, started

README = (ROOT / "protos" / "README.md").read_text()
ADDRESS = "localhost:8001"
PROTO = "protos/marquee/v1/recommender.proto"
NODE_PACKAGES = ROOT / ".node" / "node_modules"
GO_PACKAGES = Path("/usr/share/gocode")
"""Debian's, which are built without a network."""


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(*command: str, folder: Path, **environment: str) -> str:
    settings = {**os.environ, **environment}
    result = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def titles(printed: str) -> int:
    return sum(title in printed for _, title, *_ in MOVIES)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("examples")
    repository = publish_world(home / "repository")
    command = [sys.executable, "-m", "fusion_gateway", f"--model-repository={repository}", "--grpc-port=0"]
    command += ["--metrics-port=0", f"--event-store=sqlite:///{home}/events.db", "--scorer=rating=127.0.0.1:1"]
    with started([*command, "--log-level=error"]) as running:
        yield running.grpc_address


def test_each_example_calls_the_address_that_the_page_names() -> None:
    for language, count in {"python": 2, "bash": 1, "ts": 1, "go": 1}.items():
        sources = examples(language)
        assert len(sources) == count
        assert all(ADDRESS in source for source in sources)


@pytest.mark.parametrize("number", [0, 1])
def test_python(address: str, number: int) -> None:
    source = examples("python")[number].replace(f'"{ADDRESS}"', f'"{address}", timeout=20')
    source = source.replace("timeout=20, timeout=1.0", "timeout=20")  # a busy machine's deadline
    assert titles(run(sys.executable, "-c", source, folder=ROOT)) == 5


def test_grpcurl(address: str) -> None:
    if not shutil.which("grpcurl"):
        pytest.skip("grpcurl is not installed: its example is not run")
    call, describe = examples("bash")[0].replace(ADDRESS, address).splitlines()
    assert titles(run("bash", "-c", call, folder=ROOT)) == 5
    assert "optional int32 k = 2" in run("bash", "-c", describe, folder=ROOT)


def test_typescript(address: str, tmp_path: Path) -> None:
    if not (shutil.which("node") and NODE_PACKAGES.exists()):
        pytest.skip("needs node and `make node`: the TypeScript example is not run")
    (tmp_path / "node_modules").symlink_to(NODE_PACKAGES)
    (tmp_path / "protos").symlink_to(ROOT / "protos")
    source = examples("ts")[0].replace(ADDRESS, address).replace("+ 2000", "+ 20000")
    (tmp_path / "recommend.ts").write_text(source)
    printed = run("node", "--import", "tsx", "recommend.ts", folder=tmp_path)
    assert titles(printed) == 5


def test_go(address: str, tmp_path: Path) -> None:
    """With Debian's grpc-go, which is older than the page: its `Dial` is what `NewClient` is today."""
    tools = ("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc")
    libraries = GO_PACKAGES / "src/google.golang.org/grpc"
    if not (all(map(shutil.which, tools)) and libraries.exists()):
        pytest.skip(f"needs {', '.join(tools)} and Debian's grpc-go (see .ci/run): the Go example is not run")
    module = tmp_path / "src/example.com/shop"
    module.mkdir(parents=True)
    run("protoc", "-I.", f"--go_out={module}", f"--go-grpc_out={module}", PROTO, folder=ROOT)
    source = examples("go")[0].replace(ADDRESS, address).replace("2*time.Second", "20*time.Second")
    source = source.replace("grpc.NewClient(", "grpc.Dial(")
    source = source.replace("grpc.WithTransportCredentials(insecure.NewCredentials())", "grpc.WithInsecure()")
    source = source.replace('\t"google.golang.org/grpc/credentials/insecure"\n', "")
    (module / "main.go").write_text(source)
    settings = {"GO111MODULE": "off", "GOPATH": f"{tmp_path}:{GO_PACKAGES}", "GOFLAGS": "-p=1"}
    printed = run("go", "run", "main.go", folder=module, **settings)
    assert titles(printed) == 5
