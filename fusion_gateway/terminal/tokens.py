"""python -m fusion_gateway.tokens NAME: makes a token, and the entry for the gateway's --tokens file."""

import sys
from typing import Annotated

import typer
import yaml

from fusion_gateway.access import hash_of, new_token
from servers.runtime.command_line import App

app = App()


@app.command(epilog="Example: python -m fusion_gateway.tokens the-shop --rate 100 >> tokens.yaml")
def main(
    name: Annotated[str, typer.Argument(help="Who will use the token.")],
    role: Annotated[list[str] | None, typer.Option(help="A role, for example admin. Once for each.")] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Calls a second. Default: as many as it likes.")] = None,
) -> None:
    """Prints an entry for the file on standard output, and the token, which is kept nowhere, on standard error."""
    token = new_token()
    entry: dict[str, object] = {"sha256": hash_of(token), "roles": role or []}
    if rate is not None:
        entry["rate_per_second"] = rate
    print(yaml.safe_dump({name: entry}, sort_keys=False), end="")
    print(f"the token, shown only now: {token}", file=sys.stderr)
