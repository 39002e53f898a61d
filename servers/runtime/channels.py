"""Options of every channel that Marquee opens."""

from typing import Any

# Servers and collectors are on the loopback or in the same cluster: the environment's proxy is not for them.
OPTIONS: Any = (("grpc.enable_http_proxy", 0),)
