"""One attack after the other on a running system, while a well-behaved client keeps calling."""

import asyncio
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import grpc

from tests.chaos import calls, system
from tests.chaos.attacks import artifacts
from tests.chaos.attacks.all import ATTACKS
from tests.chaos.attacks.target import Answers, Attack, Target
from tests.chaos.process import Process
from tests.chaos.steady import Answer, Call, Steady, failures, quantile_ms
from tests.chaos.system import TOKEN, World
from tests.chaos.trials import WARM_SECONDS, is_chosen, log_faults
from training.recipes import SCORERS

RATE = 50.0
"""Calls a second of the well-behaved client."""
NEWCOMERS_RATE = 12.0
"""Calls a second where each opens a connection, which costs the client more than the call."""
MAX_P99_RATIO = 3.0
"""Maximum p99 under attack, in multiples of the p99 before it."""
FLOOR_MS = 50.0
"""p99 that is good enough, whatever it was before the attack."""
MAX_THREADS = 200
"""Maximum number of threads of a process."""
SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Row:
    """What one attack did. MiB and threads are those of the process that came nearest to its limit."""

    attack: str
    victim: str
    calls: int
    failed: dict[str, int]
    degraded: int
    p99_quiet_ms: float
    p99_ms: float
    peak_mib: float
    limit_mib: float
    threads: int
    log_bytes: int
    odd_lines: list[str]
    dead: list[str]
    answers: dict[str, int]
    faults: list[str] = field(default_factory=list)
    """Criteria that were not met."""

    @property
    def stuck(self) -> bool:
        """Whether the victim would not show what the next attack does."""
        return artifacts.NOT_USED in self.answers


def _start(world: World) -> None:
    """Model servers, a gateway and one with tokens, each with a store of its own."""
    system.add_model_servers(world)
    scorers = system.scorer_flags({model: world.processes[model].grpc_address for model in SCORERS})
    store = f"--event-store=sqlite:///{world.folder}"
    system.add_gateway(world, "gateway", [*scorers, f"{store}/events.db"])
    tokens = system.write_tokens(world.folder / "tokens.yaml")
    system.add_gateway(world, "tokens", [*scorers, f"{store}/protected.db", f"--tokens={tokens}"])
    system.start(list(world.processes.values()))


def run(world: World, attacks: Sequence[Attack], quiet_seconds: float, on_row: Callable[[Row], None]) -> list[Row]:
    """Runs the attacks in the order of the list; a process that does not survive one is started again.

    Calls are counted for `quiet_seconds` before each attack, and for as long as it lasts, but not for less.
    """
    rows = []
    context = multiprocessing.get_context("spawn")
    _start(world)
    with ProcessPoolExecutor(1, context, _prepare_attacker) as attacker:
        for attack in attacks:
            rows.append(asyncio.run(_measure(world, attack, quiet_seconds, attacker)))
            on_row(rows[-1])
            for process in world.processes.values():
                if not _is_well(process) or (process.name == attack.victim and rows[-1].stuck):
                    process.kill()
                    process.start()
    return rows


def _prepare_attacker() -> None:
    """Allows many descriptors, and yields the CPU to the system: real attackers have their own."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    os.nice(10)


def _attack(number: int, target: Target) -> Answers:
    return ATTACKS[number].run(target)


def _is_well(process: Process) -> bool:
    if not process.alive:
        return False
    with grpc.insecure_channel(process.grpc_address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=10)
        except grpc.FutureTimeoutError:
            return False
        return True


async def _measure(world: World, attack: Attack, quiet_seconds: float, attacker: ProcessPoolExecutor) -> Row:
    victim = world.processes[attack.victim]
    token = TOKEN if attack.victim == "tokens" else ""
    target = Target(attack.victim, victim.grpc_address, victim.http_address, world.repository)
    async with grpc.aio.insecure_channel(victim.grpc_address) as channel:
        rate = NEWCOMERS_RATE if attack.newcomers else RATE
        steady = Steady(_call(world, attack, channel, token), rate)
        async with steady.calling():
            await steady.until_whole(WARM_SECONDS)
            began = time.monotonic()
            await asyncio.sleep(quiet_seconds)
            watch = Watch(world.processes.values())
            sampling = asyncio.create_task(watch.sample())
            attacked = time.monotonic()
            loop = asyncio.get_running_loop()
            answers = await loop.run_in_executor(attacker, _attack, ATTACKS.index(attack), target)
            await asyncio.sleep(max(attacked + quiet_seconds - time.monotonic(), 0))
            ended = time.monotonic()
            sampling.cancel()
    return _row(attack, watch, answers, steady.between(began, attacked), steady.between(attacked, ended))


def _call(world: World, attack: Attack, channel: grpc.aio.Channel, token: str) -> Call:
    if attack.victim in SCORERS:
        return calls.infer(channel, attack.victim)
    if attack.newcomers:
        return calls.on_a_connection_of_its_own(world.processes[attack.victim].grpc_address, world.requests)
    return calls.recommend(channel, world.requests, token)


class Watch:
    """What processes use and log from its creation on."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self._processes = list(processes)
        self._logged = {process.name: process.log_bytes() for process in self._processes}
        self.threads = 0
        for process in self._processes:
            process.reset_peak()

    async def sample(self) -> None:
        """Never returns."""
        while True:
            self.threads = max(self.threads, *(process.threads() for process in self._processes))
            await asyncio.sleep(SAMPLE_SECONDS)

    def fullest(self) -> Process:
        return max(self._processes, key=lambda process: process.peak_mib() / process.limit)

    def dead(self) -> list[str]:
        return [process.name for process in self._processes if not process.alive]

    def log_bytes(self) -> int:
        """Of the process with the largest log."""
        return max(process.log_bytes() - self._logged[process.name] for process in self._processes)

    def odd_lines(self) -> list[str]:
        return [line for process in self._processes for line in process.odd_lines(self._logged[process.name])]


def _row(attack: Attack, watch: Watch, answers: Answers, quiet: list[Answer], attacked: list[Answer]) -> Row:
    fullest = watch.fullest()
    row = Row(
        attack=attack.name,
        victim=attack.victim,
        calls=len(attacked),
        failed=failures(attacked),
        degraded=sum(bool(answer.missing) for answer in attacked),
        p99_quiet_ms=quantile_ms(quiet, 0.99),
        p99_ms=quantile_ms(attacked, 0.99),
        peak_mib=fullest.peak_mib(),
        limit_mib=fullest.limit / (1 << 20),
        threads=watch.threads,
        log_bytes=watch.log_bytes(),
        odd_lines=watch.odd_lines()[:20],
        dead=watch.dead(),
        answers=dict(answers),
    )
    row.faults.extend(_faults(row, attack))
    return row


def _faults(row: Row, attack: Attack) -> Iterator[str]:
    if row.dead:
        yield f"{', '.join(row.dead)} died"
    if row.failed:
        yield "failed calls"
    if row.p99_ms > max(MAX_P99_RATIO * row.p99_quiet_ms, FLOOR_MS):
        yield "p99"
    if row.peak_mib > row.limit_mib:
        yield "memory"
    if row.threads > MAX_THREADS:
        yield f"{row.threads} threads"
    yield from log_faults(row.log_bytes, row.odd_lines)
    if unclear := sorted(row.answers.keys() - attack.clear):
        yield f"answered {', '.join(unclear)}"


def chosen(names: Sequence[str]) -> list[Attack]:
    """The attacks whose title contains one of these names; all without names."""
    return [attack for attack in ATTACKS if is_chosen(attack.title, names)]
