"""What can be an address: gRPC takes much more, and looks for it at port 443, or as a file."""

import re

OTHER_KINDS = ("unix:", "unix-abstract:", "vsock:", "ipv4:", "ipv6:", "xds:")
"""Targets that have another form, which gRPC checks."""
HOST_AND_PORT = re.compile(r"(\[[^\]\s]+\]|[^:\s\[\]]+):\d{1,5}")


def checked_address(address: str) -> str:
    """The address itself: host:port, or a target such as dns:///name:port. Raises ValueError that says what to give."""
    scheme, separator, rest = address.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        raise ValueError(f"{address!r}: an address is host:port, without {scheme}://: give {rest.rstrip('/')}")
    if address.startswith(OTHER_KINDS):
        return address
    name = address.rpartition("/")[2].removeprefix("dns:") if address.startswith("dns:") else address
    if not HOST_AND_PORT.fullmatch(name):
        raise ValueError(f"{address!r}: an address is host:port, such as localhost:8001")
    return address
