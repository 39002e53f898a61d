"""python -m servers NAME --model-repository DIR; or export-triton instead of NAME, with --out DIR"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # while it starts, Ctrl-C ends it without a traceback

import os
import sys

from servers.runtime import logs, settings, workers
from servers.runtime.errors import MarqueeError
from servers.runtime.threads import leave
from servers.settings import ExportSettings, ServerSettings


def main() -> int:
    """The exit code: 0 after an orderly stop, 1 when it cannot start."""
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["export-triton"]:
            _export(settings.read(ExportSettings, arguments[1:]))
        else:
            _serve(settings.read(ServerSettings, arguments))
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(chosen: ServerSettings) -> None:
    logs.separate_native_stderr()
    logs.configure(f"servers {chosen.name}", chosen.log_level)
    # BLAS and OpenMP read these once, when numpy and FAISS are imported.
    os.environ.update(OMP_NUM_THREADS=str(chosen.threads), OPENBLAS_NUM_THREADS=str(chosen.threads))
    workers.run(f"servers {chosen.name}", chosen, _run)


async def _run(chosen: ServerSettings) -> None:
    # Imports numpy and FAISS, for which the number of threads has just been set.
    from servers.server import model_server

    async with model_server(chosen) as program:
        await program.serve()


def _export(chosen: ExportSettings) -> None:
    from servers.triton_export import export

    logs.configure("servers export-triton", chosen.log_level)
    for version in export(chosen):
        print(f"{version.model} {version.number}")


if __name__ == "__main__":
    leave(main())
