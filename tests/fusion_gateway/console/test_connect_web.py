"""@connectrpc/connect-web calls the console: the README's example, and what it makes of errors."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.console.running import console, protected_gateway
from tests.fusion_gateway.world import MOVIES
from tests.pages import blocks_of
from tests.servers.running import ROOT

NODE_PACKAGES = ROOT / ".node" / "node_modules"
README = ROOT / "fusion_gateway" / "console" / "README.md"
FAILING_CALLS = Path(__file__).with_name("failing_calls.ts")
SECONDS = 60


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """With the generated code, where scripts can run."""
    if not (shutil.which("node") and (NODE_PACKAGES / "@connectrpc").exists()):
        pytest.skip("needs node and `make node`: Connect's own client is not run")
    (tmp_path / "node_modules").symlink_to(NODE_PACKAGES)
    plugin = f"--plugin={NODE_PACKAGES}/.bin/protoc-gen-es"
    options = (f"-I{ROOT}", plugin, f"--es_out={tmp_path}", "--es_opt=target=ts")
    await output(tmp_path, sys.executable, "-m", "grpc_tools.protoc", *options, "protos/marquee/v1/recommender.proto")
    return tmp_path


async def output(folder: Path, *command: str) -> str:
    """What a command prints. Fails where it does."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, stdout=pipe, stderr=pipe)
    printed, errors = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode == 0, errors.decode()
    return printed.decode()


async def test_the_example_of_the_page(world: World, folder: Path) -> None:
    [source] = [block.text for block in blocks_of(README) if block.label == "ts"]
    async with console(world.gateway.grpc_address) as page:
        assert "http://127.0.0.1:8080" in source
        source = source.replace("http://127.0.0.1:8080", page.url).replace("timeoutMs: 2000", "timeoutMs: 20000")
        (folder / "recommend.mts").write_text(source)
        printed = await output(folder, "node", "--import", "tsx", "recommend.mts")
    assert sum(title in printed for _, title, *_ in MOVIES) == 5


async def test_it_knows_the_errors(repository: Path, folder: Path) -> None:
    (folder / "failing_calls.mts").write_text(FAILING_CALLS.read_text())
    async with protected_gateway(repository, folder) as address, console(address) as page:
        script = ("node", "--import", "tsx", "failing_calls.mts", page.url, "secret")
        lines = (await output(folder, *script)).splitlines()
    assert lines == [
        "token OK",
        "noToken Unauthenticated authorization: metadata 'authorization: Bearer TOKEN' is needed here",
        "limit InvalidArgument k: must be 1 to 500, not 0",
        "title NotFound no movie found with a title similar to 'qqqqqqqqqq'",
        "deadline DeadlineExceeded Deadline Exceeded",
        "size ResourceExhausted the request is larger than 4194304 bytes",
    ]
