"""python -m servers NAME --model-repository DIR"""

import asyncio
import os
import sys

from servers.runtime import logs, settings
from servers.runtime.errors import MarqueeError
from servers.settings import ServerSettings


def main() -> int:
    """The exit code: 0 after an orderly stop, 1 when it cannot start."""
    try:
        chosen = settings.read(ServerSettings, sys.argv[1:])
        logs.configure(f"servers {chosen.name}", chosen.log_level)
        # BLAS and OpenMP read these once, when numpy and FAISS are imported.
        os.environ.update(OMP_NUM_THREADS=str(chosen.threads), OPENBLAS_NUM_THREADS=str(chosen.threads))
        asyncio.run(_serve(chosen))
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(chosen: ServerSettings) -> None:
    from servers.server import model_server

    async with model_server(chosen) as program:
        await program.serve()


if __name__ == "__main__":
    sys.exit(main())
