"""A console as a process, on a free port of the loopback."""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fusion_gateway.access import hash_of
from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from servers.runtime.settings import read
from tests.servers.running import ROOT

RECOMMENDER = "/marquee.v1.Recommender"


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: Any

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Console(NamedTuple):
    url: str

    async def fetch(self, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """GET, or POST where there is a body. Underscores in names of headers are hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, named)
        return await asyncio.to_thread(_send, request)

    async def call(self, method: str, request: Any, **headers: str) -> Reply:
        headers = {"content_type": "application/json", **headers}
        return await self.fetch(f"{RECOMMENDER}/{method}", json.dumps(request).encode(), **headers)


def _send(request: urllib.request.Request) -> Reply:
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Reply(answer.status, answer.read(), answer.headers)
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.read(), error.headers)


@asynccontextmanager
async def console(gateway: str, *flags: str) -> AsyncIterator[Console]:
    command = ["-m", "fusion_gateway.console", f"--gateway={gateway}", "--port=0", *flags]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout
        ready = json.loads(await process.stdout.readline())
        yield Console(f"http://{ready['http_address']}")
    finally:
        if process.returncode is None:
            process.terminate()
        assert await process.wait() == 0


@asynccontextmanager
async def protected_gateway(repository: Path, folder: Path) -> AsyncIterator[str]:
    """The address of one without models that takes the token "secret"."""
    tokens = folder / "tokens.yaml"
    tokens.write_text(f"someone: {{sha256: {hash_of('secret')}}}\n")
    tokens.chmod(0o600)
    flags = [f"--model-repository={repository}", f"--event-store=sqlite:///{folder}/events.db", "--scorer="]
    flags += ["--grpc-port=0", "--metrics-port=0", f"--tokens={tokens}", "--exit-timeout-secs=0"]
    async with gateway(read(GatewaySettings, flags)) as program, program:
        yield program.grpc_address
