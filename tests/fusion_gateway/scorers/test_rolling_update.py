"""A model server is replaced by another pod behind the same name, as a rolling update does: no call lacks the model."""

import asyncio
import socket
import struct
from contextlib import AsyncExitStack
from pathlib import Path

from fusion_gateway.scorers.client import ScorerClient
from fusion_gateway.scorers.missing import ModelMissing
from servers.runtime.lifecycle import Program
from servers.server import model_server
from tests.servers import tiny_artifact
from tests.servers.running import settings

OLD, NEW = "127.0.0.2", "127.0.0.3"
A_RECORD = 1


class NameServer(asyncio.DatagramProtocol):
    """Answers every query with `address`, as a headless Service does with its ready pods."""

    def __init__(self, address: str) -> None:
        self.address = address

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        end = data.index(0, 12) + 5  # after the name: type and class
        [kind] = struct.unpack(">H", data[end - 4 : end - 2])
        found = kind == A_RECORD
        header = data[:2] + struct.pack(">HHHHH", 0x8580, 1, int(found), 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, A_RECORD, 1, 0, 4) + socket.inet_aton(self.address)
        self._transport.sendto(header + data[12:end] + (record if found else b""), addr)


async def test_a_rolling_update_takes_no_model_out_of_an_answer(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    names = NameServer(OLD)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: names, local_addr=("127.0.0.1", 0))
    name_server = transport.get_extra_info("sockname")
    async with AsyncExitStack() as stack:
        stack.callback(transport.close)
        pod = stack.enter_async_context
        old = await pod(model_server(settings(tmp_path, host=OLD, drain_secs=3)))
        await old.start()
        port = int(old.grpc_address.rpartition(":")[2])
        client = ScorerClient("rating", f"dns://127.0.0.1:{name_server[1]}/rating:{port}")
        await _call(client)
        new = await pod(model_server(settings(tmp_path, host=NEW, grpc_port=port)))
        await pod(new)
        names.address = NEW  # a pod that ends is no longer in the Service
        assert await _missing_while(client, old) == []
        assert await _call(client) == ""
        await client.close()


async def _missing_while(client: ScorerClient, stopped: Program) -> list[str]:
    """What was wrong with calls while the program stopped."""
    stopping = asyncio.create_task(stopped.stop())
    found = []
    while not stopping.done():
        found.append(await _call(client))
        await asyncio.sleep(0.01)
    await stopping
    return [reason for reason in found if reason]


async def _call(client: ScorerClient) -> str:
    try:
        await client.similar(3, 2, 5.0)
    except ModelMissing as error:
        return error.reason
    return ""
