"""Options of every channel that Marquee opens."""

from typing import Any

# Servers and collectors are neighbours, on loopback or in the cluster: no proxy of the environment stands between.
OPTIONS: Any = (("grpc.enable_http_proxy", 0),)
