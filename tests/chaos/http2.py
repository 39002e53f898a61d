"""Just enough HTTP/2 to send what no gRPC library would."""

import socket
import struct
from collections.abc import Iterator, Mapping

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE = 4
NO_LIMIT = (1 << 31) - (1 << 16)
"""Bytes of a window, which has 65,535 of a connection's already."""
LARGEST_FRAME = 16_384
STREAM = 1
"""The only stream of a connection."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def header_block(headers: Mapping[str, str]) -> bytes:
    """HPACK, all names and values as they are; each shorter than 127 bytes. Surrogates are bytes that are no UTF-8."""
    texts = [(name.encode(), value.encode(errors="surrogateescape")) for name, value in headers.items()]
    return b"".join(b"\0" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in texts)


class NoReader:
    """A connection that makes calls and takes no answer: its windows are for `window` bytes, and it reads nothing."""

    def __init__(self, address: str, window: int = 0) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), 5)
        self._stream = STREAM
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, window)))
        if window:
            self.socket.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", window)))

    def call(self, method: str, message: bytes) -> None:
        """Raises ConnectionError once the server has broken the connection off."""
        block = header_block({**_pseudo(method), "te": "trailers", "content-type": "application/grpc"})
        body = b"\0" + len(message).to_bytes(4, "big") + message
        headers = frame(HEADERS, END_HEADERS, self._stream, block)
        self.socket.sendall(headers + frame(DATA, END_STREAM, self._stream, body))
        self._stream += 2

    def __enter__(self) -> "NoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def _pseudo(method: str) -> dict[str, str]:
    return {":method": "POST", ":scheme": "http", ":path": method, ":authority": "localhost"}


class Connection:
    """One request, sent as fast as the server's windows allow."""

    def __init__(self, address: str, timeout: float) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout)
        self._received = b""
        self._room = {0: 65_535, STREAM: 65_535}
        self._answer = ""
        self.send(PREFACE + frame(SETTINGS, 0, 0, b""))

    def send(self, content: bytes) -> None:
        self._socket.sendall(content)

    def call(self, method: str, message: bytes, headers: Mapping[str, str]) -> str:
        """Status of a gRPC call, by number as on the wire, or how the server broke it off."""
        block = header_block({**_pseudo(method), "te": "trailers", "content-type": "application/grpc", **headers})
        try:
            self.send(frame(HEADERS, END_HEADERS, STREAM, block))
            self._send_body(message)
            while not self._answer:
                self._read_frame()
        except (OSError, EOFError) as error:
            self._answer = self._answer or ("no answer" if isinstance(error, TimeoutError) else "closed")
        return self._answer

    def _send_body(self, body: bytes) -> None:
        sent = 0
        while sent < len(body) and not self._answer:
            room = min(LARGEST_FRAME, *self._room.values())
            if room <= 0:
                self._read_frame()
                continue
            piece = body[sent : sent + room]
            sent += len(piece)
            self._room = {stream: size - len(piece) for stream, size in self._room.items()}
            self.send(frame(DATA, END_STREAM if sent == len(body) else 0, STREAM, piece))

    def _read_frame(self) -> None:
        head = self._read(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = self._read(int.from_bytes(head[:3], "big"))
        if kind == SETTINGS and not flags & ACK:
            for name, value in struct.iter_unpack(">HI", payload):
                if name == INITIAL_WINDOW_SIZE:
                    self._room[STREAM] += value - 65_535
            self.send(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            self._room[stream] += int.from_bytes(payload, "big")
        elif kind == RST_STREAM:
            self._answer = self._answer or "reset"
        elif kind == GOAWAY:
            self._answer = self._answer or "closed"
        elif kind == HEADERS:
            self._answer = next(_statuses(payload), self._answer)

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            piece = self._socket.recv(65_536)
            if not piece:
                raise EOFError
            self._received += piece
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def close(self) -> None:
        self._socket.close()


def _statuses(block: bytes) -> Iterator[str]:
    """`grpc-status` of an HPACK block, which gRPC's core does not compress where it sends it first."""
    before, found, after = block.partition(b"grpc-status")
    if found:
        yield after[1 : 1 + after[0]].decode()
