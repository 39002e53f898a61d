"""The console scripts. Each runs what `python -m` runs, and says which extra is missing where one is.

They are here because this is the part that is always installed.
"""

import re
import runpy
import sys
from pathlib import Path

SCRIPTS = {
    "fusion_gateway": "marquee-gateway",
    "fusion_gateway.client": "marquee",
    "fusion_gateway.console": "marquee-console",
    "servers": "marquee-server",
    "training": "marquee-train",
}
"""What `python -m` runs, and the script that does the same."""
OWN = {"fusion_gateway", "protos", "servers", "training"}


def client() -> None:
    _run("fusion_gateway.client", "gateway")


def gateway() -> None:
    _run("fusion_gateway", "gateway")


def console() -> None:
    _run("fusion_gateway.console", "console")


def server() -> None:
    _run("servers", "servers")


def training() -> None:
    _run("training", "training")


def as_called(text: str) -> str:
    """Its commands by the names of scripts, where this process was started by one of them."""
    if Path(sys.argv[0]).name not in SCRIPTS.values():
        return text
    return re.sub(r"python -m (\w+(?:\.\w+)*)", lambda found: SCRIPTS.get(found[1], found[0]), text)


def _run(module: str, extra: str) -> None:
    try:
        runpy.run_module(module, run_name="__main__")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in OWN:
            raise
        sys.exit(f"error: {error.name} is not installed: pip install 'marquee[{extra}]'")
