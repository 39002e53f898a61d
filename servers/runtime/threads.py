"""Work that may never end: it must neither block anything else nor keep the process from ending."""

import asyncio
import contextvars
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import NoReturn, TypeVar

import structlog

OF_ITS_OWN = "of its own"
T = TypeVar("T")
log = structlog.get_logger()


async def in_thread_of_its_own(work: Callable[[], T], seconds: float) -> T:
    """What `work` returns or raises. Raises TimeoutError; the thread is then left to itself, for none can be ended."""
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # who leaves cannot cancel it

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name=OF_ITS_OWN, daemon=True).start()
    async with asyncio.timeout(seconds):
        return await asyncio.wrap_future(outcome)


def end_within(seconds: float, code: int) -> None:
    """Ends the process with this exit code when it has not ended by itself."""
    timer = threading.Timer(seconds, _end, [code])
    timer.daemon = True
    timer.start()


def leave(code: int) -> NoReturn:
    """`sys.exit`, without the farewells of libraries where a thread is still at work in one: they would abort."""
    if any(thread.name == OF_ITS_OWN for thread in threading.enumerate()):
        _end(code)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # asyncio has put Python's back, which raises
    sys.exit(code)


def _end(code: int) -> None:
    names = sorted(thread.name for thread in threading.enumerate() if thread is not threading.current_thread())
    log.warning("ended while threads were still running", threads=names)
    sys.stdout.flush()
    os._exit(code)
