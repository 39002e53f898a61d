"""Which ports the programs of a local system listen on."""

import socket
from collections.abc import Callable, Iterable

from fusion_gateway.settings import GatewaySettings

GATEWAY, CONSOLE = "fusion_gateway", "console"
CONSOLE_PORT = 8080
PORTS_APART = 10
"""Between the gRPC ports of two model servers."""
Ports = tuple[int, int]
"""Of gRPC, and of metrics and health."""
ChoosePorts = Callable[[Iterable[str]], dict[str, Ports]]
"""From names of programs to the ports of each."""


def any_free_ports(names: Iterable[str]) -> dict[str, Ports]:
    """Chosen by the system when each server starts."""
    return dict.fromkeys(names, (0, 0))


def documented_ports(names: Iterable[str]) -> dict[str, Ports]:
    """The ports that the gateway expects servers at by default, and its own; where one is taken, the next free one.

    Prints which one was taken. A model that the defaults do not name gets ports after the last.
    """
    documented = _documented()
    ports: dict[str, Ports] = {}
    chosen: set[int] = set()
    for name in names:
        grpc_port = documented.setdefault(name, max(documented.values()) + PORTS_APART)
        ports[name] = _free(name, grpc_port, chosen), _free(name, grpc_port + 1, chosen)
    return ports


def console_port(choose: ChoosePorts) -> int:
    """Its documented port or the next free one, where the others have theirs."""
    return 0 if choose is any_free_ports else _free(CONSOLE, CONSOLE_PORT, set())


def _documented() -> dict[str, int]:
    """Each program's gRPC port. Its metrics port is the one after it."""
    fields = GatewaySettings.model_fields
    documented = {GATEWAY: int(fields["grpc_port"].default)}
    for scorer in fields["scorer"].default:
        name, _, address = scorer.partition("=")
        documented[name] = int(address.rpartition(":")[2])
    return documented


def _free(name: str, documented: int, chosen: set[int]) -> int:
    """The documented port, or the next one that is neither taken nor chosen; it is chosen from now on."""
    port = documented
    while port in chosen or _is_taken(port):
        port += 1
    if port != documented:
        print(f"port {documented} is taken: {name} listens on {port}", flush=True)
    chosen.add(port)
    return port


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do, after one that has just ended
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
