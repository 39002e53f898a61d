"""Ports that the operating system does not let a program have, and one that several processes of a program share."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from servers.runtime.errors import ConfigurationError


def address_of(host: str, port: int | str) -> str:
    """As clients write it: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def why_not(host: str, port: int) -> str:
    """Why nobody can listen there; empty where one can."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.create_server(found[0][4][:2], family=found[0][0]):
            return ""
    except OSError as error:
        return error.strerror or str(error)
    except UnicodeError:
        return "no name of a host"


@contextmanager
def shared_port(host: str, port: int) -> Iterator[int]:
    """A port, a free one for 0, on which processes of this user may listen together, by SO_REUSEPORT.

    Raises ConfigurationError where it is another program's. Of several programs that share ports, one at a time has it.
    """
    with socket.socket(socket.AF_UNIX) as owner:
        try:
            if port:
                # SO_REUSEPORT lets all that set it listen, so that this name tells whose the port is; it goes with its
                # process, and is seen where the port is: in one network namespace.
                owner.bind(f"\0marquee {address_of(host, port)}")
        except OSError as error:
            raise _taken(host, port, error.strerror) from None
        if reason := why_not(host, port):
            raise _taken(host, port, reason)
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as held:  # it never listens: it keeps the port while no process does
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                held.setsockopt(socket.SOL_SOCKET, option, 1)
            try:
                held.bind(address)
            except OSError as error:
                raise _taken(host, port, error.strerror) from None
            yield held.getsockname()[1]


def _taken(host: str, port: int, reason: str | None) -> ConfigurationError:
    return ConfigurationError(f"cannot listen on {address_of(host, port)}: {reason}")
