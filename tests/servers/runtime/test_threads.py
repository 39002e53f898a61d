import asyncio
import signal
import subprocess
import sys
import threading

import pytest

from servers.runtime.request_ids import REQUEST_ID
from servers.runtime.threads import in_thread_of_its_own


async def test_what_work_returns_and_raises_comes_back() -> None:
    REQUEST_ID.set("seven")
    assert await in_thread_of_its_own(REQUEST_ID.get, 20) == "seven"
    with pytest.raises(ZeroDivisionError):
        await in_thread_of_its_own(lambda: 1 // 0, 20)


async def test_what_never_ends_is_left_to_itself() -> None:
    go = threading.Event()
    with pytest.raises(TimeoutError):
        await in_thread_of_its_own(go.wait, 0.05)
    leaving = asyncio.create_task(in_thread_of_its_own(go.wait, 20))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    go.set()


@pytest.mark.parametrize("program", ["servers", "fusion_gateway"])
def test_a_program_that_is_interrupted_while_it_starts_ends_in_silence(program: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        for line in process.stderr:
            if line.rstrip().endswith(" pydantic"):
                break
        process.send_signal(signal.SIGINT)
        assert "Traceback" not in process.stderr.read() + process.stdout.read()
        assert process.wait(20) == -signal.SIGINT


HANGS = {
    "a thread": "threading.Thread(target=time.sleep, args=[60]).start(); end_within(0.2, 0)",
    "work in a pool": "ThreadPoolExecutor(1).submit(time.sleep, 60); end_within(0.2, 0)",
    "work that was left": "asyncio.run(left()); leave(0)",
}


@pytest.mark.parametrize("hang", HANGS.values(), ids=HANGS)
def test_a_process_ends_though_something_hangs(hang: str) -> None:
    program = f"""
import asyncio, threading, time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from servers.runtime.threads import end_within, in_thread_of_its_own, leave

async def left():
    with suppress(TimeoutError):
        await in_thread_of_its_own(lambda: time.sleep(60), 0.1)

{hang}
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert ended.returncode == 0, ended.stderr
    assert "ended while threads were still running" in ended.stdout + ended.stderr
