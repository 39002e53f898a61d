"""python -m fusion_gateway [import-events FILE | export-events FILE | items … | outcomes | list-users | …]"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while it starts, Ctrl-C ends it without a traceback

import sys

from fusion_gateway.settings import GatewaySettings
from servers.runtime import logs, settings, workers
from servers.runtime.errors import MarqueeError
from servers.runtime.threads import leave


def main(arguments: list[str]) -> int:
    """The exit code: 0 after an orderly stop, 1 when it cannot start."""
    if arguments and not arguments[0].startswith("-"):
        from fusion_gateway import commands  # which need much that the parent of workers does not

        return commands.main(*arguments)
    try:
        chosen = settings.read(GatewaySettings, arguments)
        logs.separate_native_stderr()
        logs.configure("fusion_gateway", chosen.log_level)
        workers.run("fusion_gateway", chosen, _serve)
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(chosen: GatewaySettings) -> None:
    from fusion_gateway.gateway import gateway

    async with gateway(chosen) as program:
        await program.serve()


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
