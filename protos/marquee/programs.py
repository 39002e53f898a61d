"""The console scripts. Each runs what `python -m` runs, and says which extra is missing where one is.

They are here because this is the part that is always installed.
"""

import runpy
import sys

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


def _run(module: str, extra: str) -> None:
    try:
        runpy.run_module(module, run_name="__main__")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in OWN:
            raise
        sys.exit(f"error: {error.name} is not installed: pip install 'marquee[{extra}]'")
