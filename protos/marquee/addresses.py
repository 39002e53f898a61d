"""What can be an address: gRPC takes much more, and looks for it at port 443, or as a file."""

import re

OTHER_KINDS = ("unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:", "xds:")
"""Targets that have another form, which gRPC checks."""
HOST_AND_PORT = re.compile(r"(\[[^\]\s]+\]|[^:\s\[\]]+):\d{1,5}")
MAX_PORT = 65535
"""gRPC connects to a larger one's remainder."""


def checked_address(address: str) -> str:
    """The address itself: host:port, or a target such as dns:///name:port. Raises ValueError that says what to give."""
    scheme, separator, rest = address.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        raise ValueError(f"{address!r}: an address is host:port, without {scheme}://: give {rest.rstrip('/')}")
    if address.startswith(OTHER_KINDS):
        return address
    name = address.rpartition("/")[2].removeprefix("dns:") if address.startswith("dns:") else address
    if not HOST_AND_PORT.fullmatch(name) or int(name.rpartition(":")[2]) > MAX_PORT:
        raise ValueError(f"{address!r}: an address is host:port, such as localhost:8001; ports are 0 to {MAX_PORT}")
    return address
