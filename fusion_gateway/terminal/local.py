"""python -m fusion_gateway.local {up,demo}: the whole system on this machine, each server a process of its own."""

import asyncio
import hashlib
import os
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import grpc
import typer

from fusion_gateway.events.files import read_events
from fusion_gateway.events.store import EventStore
from fusion_gateway.settings import HOME, EventStoreSettings
from fusion_gateway.terminal import tables
from fusion_gateway.terminal.loop_demo import LoopDemo
from fusion_gateway.terminal.ports import (
    CONSOLE,
    GATEWAY,
    ChoosePorts,
    Ports,
    any_free_ports,
    console_port,
    documented_ports,
)
from fusion_gateway.terminal.processes import Addresses, Processes
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime import channels
from servers.runtime.command_line import App
from servers.runtime.errors import ConfigurationError, MarqueeError, RepositoryError, StartError, Unavailable
from servers.runtime.file_lock import locked
from servers.runtime.files import open_regular
from servers.runtime.repository import Repository

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

app = App(
    no_args_is_help=True,
    epilog="Example: python -m fusion_gateway.local up --repository var/repository",
)
Folder = Annotated[Path, typer.Option(help="A model repository.")]
IMPORTED = HOME / "imported" / "generated" / "events.parquet"
"""Where `make` puts the events of the data set that it invents."""
Events = Annotated[Path, typer.Option(help="File of events, of any form that training reads.")]
LoopSeconds = Annotated[float, typer.Option(help="How long simulated users show the loop; 0: not.", min=0, max=3600)]
AnyPorts = Annotated[bool, typer.Option("--any-ports", help="Take free ports instead of 8001, 8002, 8011, 8012, ...")]
STORE = EventStoreSettings.model_fields["event_store"].default
"""The store of `python -m fusion_gateway` without flags."""


@dataclass(frozen=True)
class System:
    """Everything is running."""

    gateway: str
    """Its address."""
    processes: Processes
    users: Counter[str]
    """How many events each user has."""
    console: tuple[str, ...]
    """Arguments that start the console of this system."""


Use = Callable[[System], Coroutine[Any, Any, None]]


@app.command(epilog="Example: python -m fusion_gateway.local up --repository var/repository")
def up(repository: Folder = HOME / "repository", events: Events = IMPORTED, any_ports: AnyPorts = False) -> None:
    """Runs until Ctrl-C, on the documented ports where they are free.

    What is recorded is kept for the next time. The file of events is imported once, and again when it has changed;
    then those of its events that were erased come back.
    """
    choose = any_free_ports if any_ports else documented_ports
    sys.exit(asyncio.run(_guarded(repository, events, STORE, choose, _wait)))


@app.command(epilog="Example: python -m fusion_gateway.local demo --repository var/repository")
def demo(repository: Folder = HOME / "repository", events: Events = IMPORTED, loop_seconds: LoopSeconds = 0) -> None:
    """Recommends for a known, a new and an anonymous user, stops again, and keeps nothing.

    With --loop-seconds, simulated users then get one of two policies, and what came of that is shown.
    """
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="local-", dir=HOME) as folder:
        store = f"sqlite:///{folder}/events.db"
        if loop_seconds:
            loop = LoopDemo(events.parent, store, loop_seconds)
            flags = partial(loop.flags, repository, Path(folder))
            shown = _guarded(repository, events, store, any_free_ports, partial(_run_demo_and_loop, loop), flags)
        else:
            shown = _guarded(repository, events, store, any_free_ports, _run_demo)
        code = asyncio.run(shown)
    sys.exit(code)


async def _guarded(
    repository: Path,
    events: Path,
    store: str,
    choose: ChoosePorts,
    use: Use,
    gateway_flags: Callable[[], list[str]] = list,
) -> int:
    """Runs the system for as long as `use` takes, unless a process ends before; the exit code."""
    task = asyncio.current_task()
    assert task
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        async with _system(repository, events, store, choose, gateway_flags()) as system:
            using, watching = asyncio.create_task(use(system)), asyncio.create_task(system.processes.watch())
            try:
                [first, *_], _ = await asyncio.wait({using, watching}, return_when=asyncio.FIRST_COMPLETED)
                await first
            finally:
                using.cancel()
                watching.cancel()
    except MarqueeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        _say("stopped")
        return 0 if use is _wait else 130
    return 0


@asynccontextmanager
async def _system(
    repository: Path, events: Path, store: str, choose: ChoosePorts, gateway_flags: list[str]
) -> AsyncIterator[System]:
    names = _scorers(repository)
    if events == IMPORTED and not events.exists():
        raise ConfigurationError(f"there is no {events}, which 'make publish' makes: name a file with --events")
    logs = HOME / "logs" / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{os.getpid()}"  # another run's are left alone
    lock = Path(store.removeprefix("sqlite:///")).parent / "local.lock"
    with locked(lock, "it runs a system here; stop it, or set MARQUEE_HOME to another folder"):
        ports = choose([*names, GATEWAY])
        async with Processes(logs) as processes:
            _say(f"starting {', '.join(names) or 'no model'}; logs are in {logs}")
            shared = (f"--model-repository={repository}", "--model-control-mode=poll")
            starting = [_start(processes, name, ports[name], "servers", name, *shared) for name in names]
            users, addresses = await asyncio.gather(import_once(store, events), asyncio.gather(*starting))
            scorers = [f"--scorer={name}={address.grpc}" for name, address in zip(names, addresses, strict=True)]
            scorers = scorers or ["--scorer="]  # not the default ones
            flags = (f"--model-repository={repository}", f"--event-store={store}", *scorers, *gateway_flags)
            gateway = await _start(processes, GATEWAY, ports[GATEWAY], "fusion_gateway", *flags)
            console = ("fusion_gateway.console", f"--gateway={gateway.grpc}", f"--port={console_port(choose)}")
            yield System(gateway.grpc, processes, users, console)


def _scorers(repository: Path) -> list[str]:
    """Names of the scorers in the repository. Raises RepositoryError when nothing at all is published there."""
    opened = Repository(repository)
    names = opened.models()
    if not names:
        raise RepositoryError(f"{repository} holds nothing; python -m training train all publishes models")
    return [name for name in names if opened.latest(name).manifest.HasField("scorer")]


async def _start(processes: Processes, name: str, ports: Ports, *arguments: str) -> Addresses:
    began = time.monotonic()
    grpc_port, metrics_port = ports
    found = await processes.start(name, *arguments, f"--grpc-port={grpc_port}", f"--metrics-port={metrics_port}")
    seconds = time.monotonic() - began
    _say(f"{name} is ready at {found.grpc} after {seconds:.1f} s; http://{found.http}/metrics")
    return found


async def import_once(url: str, path: Path) -> Counter[str]:
    """Fills the event store, unless the very file was imported before; the number of events of each user."""
    store = EventStore(url, EventStoreSettings.model_fields["history_limit"].default)
    try:
        await store.open()
        content = await asyncio.to_thread(_sha256, path)
        if content in await store.imported():
            _say(f"{path} was imported before: it is not read again")
        else:
            _say(f"importing {path}")
            await store.import_all(read_events(path))
            await store.note_import(content)
        users = Counter(await store.event_counts())
    finally:
        await store.close()
    _say(f"{users.total()} events of {len(users)} users are stored")
    return users


def _sha256(path: Path) -> str:
    """Raises ConfigurationError."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None


async def _wait(system: System) -> None:
    try:
        console = await system.processes.start(CONSOLE, *system.console)
        _say(f"open http://{console.http}/?user={quote(_typical(system.users))} in a browser")
    except StartError as error:  # everything else works without it
        _say(str(error))
    _say(f"what is recorded is kept in {STORE}")
    arguments = ["recommend", "--address", system.gateway, "--user", _typical(system.users)]
    _say(f"{_python()} -m fusion_gateway.client {shlex.join(arguments)}")
    _say("Ctrl-C stops everything")
    await asyncio.Event().wait()


async def _run_demo(system: System) -> None:
    try:
        async with grpc.aio.insecure_channel(system.gateway, channels.OPTIONS) as channel:
            await _demo(RecommenderStub(channel), _typical(system.users))
    except grpc.aio.AioRpcError as error:
        raise Unavailable(f"the gateway answers {error.code().name}: {error.details()}") from None


async def _run_demo_and_loop(loop: LoopDemo, system: System) -> None:
    await _run_demo(system)
    await loop.run(system.gateway, len(system.users))


async def _demo(stub: "RecommenderAsyncStub", user: str) -> None:
    """A known user, a new one who has watched three movies (a popular one and two like it), an anonymous one."""
    known = await stub.Recommend(pb.RecommendRequest(user_id=user, explain=True))
    _show(known, f"For user {user}")
    anonymous = await stub.Recommend(pb.RecommendRequest(explain=True))
    favourite = anonymous.items[0].item
    alike = await stub.SimilarItems(pb.SimilarItemsRequest(item_id=favourite.id, k=2))
    watched = [favourite, *(each.item for each in alike.items)]
    history = [pb.Event(item_id=item.id) for item in watched]
    new = await stub.Recommend(pb.RecommendRequest(user_id="someone-new", history=history, explain=True))
    _show(new, f"For a new user who has watched {', '.join(item.title for item in watched)}")
    _show(anonymous, "For an anonymous user")


def _typical(users: Counter[str]) -> str:
    """The user with the median number of events."""
    ranked = sorted(users, key=lambda user: (users[user], user))
    return ranked[len(ranked) // 2] if ranked else "nobody"


def _python() -> str:
    """How this very Python is called from here, such as .venv/bin/python."""
    program, here = Path(sys.executable), Path.cwd()
    return str(program.relative_to(here)) if program.is_relative_to(here) else "python"


def _show(response: pb.RecommendResponse, title: str) -> None:
    tables.console().print(tables.recommendations(response, title), "")


def _say(text: str) -> None:
    print(text, flush=True)
