"""Runs waiting calls through a model together.

There is no timer: whenever the model is free and the event loop has handed over all calls that are there, it takes what
waits. So a lone call waits for nobody, and batches grow by themselves under load. All bookkeeping happens in the event
loop; only the model runs in the compute thread.
"""

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from servers.runtime.datatypes import Array
from servers.runtime.deadline import Deadline
from servers.runtime.errors import DeadlineExceeded, Overloaded
from servers.signature import Arrays, Signature, Tensor
from servers.statistics import Statistics, Times

MAX_WAITING_BYTES = 64 << 20
"""Of the calls that wait for one model."""
QUIET_TURNS = 2
"""Turns of the event loop without a further call after which a batch starts; gRPC needs more than one for a call."""


@dataclass(frozen=True)
class BatchLimits:
    max_batch_size: int
    """Rows in a batch."""
    max_queue_size: int
    """Rows that wait."""
    max_queue_delay: float = 0
    """Seconds to wait for more calls; 0: none."""


@dataclass(eq=False, slots=True)
class Call:
    """One caller's rows, and the future its answer goes to; the caller leaves by cancelling it."""

    inputs: Arrays
    rows: int
    size: int
    """Bytes."""
    deadline: Deadline
    answer: asyncio.Future[Arrays]
    arrived: int = field(default_factory=time.perf_counter_ns)


class Batcher:
    """One model's queue. A call's outcome never depends on the other calls in its batch."""

    def __init__(
        self,
        signature: Signature,
        model: Callable[[Arrays], Arrays],
        executor: Executor,
        limits: BatchLimits,
        statistics: Statistics,
    ) -> None:
        """`model` maps [rows, ...] arrays to [rows, ...] arrays; it is called in `executor`, one batch at a time."""
        self._signature, self._model, self._executor, self._limits = signature, model, executor, limits
        self._statistics = statistics
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Call] = deque()
        self._waiting_rows = self._waiting_bytes = 0
        self._busy = False
        self._starting: asyncio.Handle | None = None
        batcher = weakref.ref(self)  # for the metric stays when the model goes
        statistics.watch_queue(lambda: living._waiting_rows if (living := batcher()) else 0)

    async def __call__(self, inputs: Arrays, deadline: Deadline) -> Arrays:
        """Raises Overloaded at once when too many rows wait, DeadlineExceeded, or whatever the model raised."""
        call = Call(inputs, rows_in(inputs), size_of(inputs), deadline, self._loop.create_future())
        try:
            self._enqueue(call)
            return await call.answer
        except BaseException as error:
            self._statistics.refused(error, call.arrived)
            if call in self._waiting:
                self._waiting.remove(call)
                self._leaves(call)
            raise

    def _enqueue(self, call: Call) -> None:
        if self._waiting_rows + call.rows > self._limits.max_queue_size:
            raise Overloaded(f"{self._waiting_rows} rows wait; the limit is {self._limits.max_queue_size}")
        if self._waiting and self._waiting_bytes + call.size > MAX_WAITING_BYTES:
            raise Overloaded(f"{self._waiting_bytes} bytes wait; the limit is {MAX_WAITING_BYTES}")
        self._waiting.append(call)
        self._waiting_rows += call.rows
        self._waiting_bytes += call.size
        self._wake()

    def _leaves(self, call: Call) -> None:
        self._waiting_rows -= call.rows
        self._waiting_bytes -= call.size

    def _wake(self) -> None:
        """Starts a full batch at once and another one soon, so that calls which arrived together leave together."""
        if self._busy:
            return
        if self._waiting_rows >= self._limits.max_batch_size:
            self._start()
        elif self._starting is None and self._limits.max_queue_delay:
            self._starting = self._loop.call_later(self._limits.max_queue_delay, self._start)
        elif self._starting is None:
            self._start_when_quiet(len(self._waiting), QUIET_TURNS)

    def _start_when_quiet(self, seen: int, turns: int) -> None:
        if len(self._waiting) > seen:
            seen, turns = len(self._waiting), QUIET_TURNS
        if turns:
            self._starting = self._loop.call_soon(self._start_when_quiet, seen, turns - 1)
        else:
            self._start()

    def _start(self) -> None:
        if self._starting:
            self._starting.cancel()
            self._starting = None
        batch = self._take()
        self._busy = bool(batch)
        if batch:
            self._executor.submit(self._run, batch)

    def _take(self) -> list[Call]:
        """The calls that have waited longest, up to a full batch, without those that left or whose time is over."""
        batch: list[Call] = []
        room = self._limits.max_batch_size
        while self._waiting and self._waiting[0].rows <= room:
            call = self._waiting.popleft()
            self._leaves(call)
            if call.answer.done():
                continue
            if call.deadline.passed():
                call.answer.set_exception(DeadlineExceeded("the deadline passed while the call waited"))
                continue
            batch.append(call)
            room -= call.rows
        return batch

    def _run(self, batch: list[Call]) -> None:
        times = Times(started=time.perf_counter_ns())

        def is_late(place: int) -> bool:
            return batch[place].answer.done() or batch[place].deadline.passed()

        outcomes = compute(self._signature, self._model, [call.inputs for call in batch], times, is_late)
        times.finished = time.perf_counter_ns()
        self._loop.call_soon_threadsafe(self._finish, batch, outcomes, times)

    def _finish(self, batch: list[Call], outcomes: Sequence[Arrays | Exception], times: Times) -> None:
        self._start()  # first, so that the model works while the answers are written
        if times.computed:  # at least one call did not fail
            self._statistics.executed(sum(call.rows for call in batch), times)
        for call, outcome in zip(batch, outcomes, strict=True):
            if call.answer.done():
                continue
            if isinstance(outcome, Exception):
                call.answer.set_exception(outcome)
            else:
                call.answer.set_result(outcome)
                self._statistics.answered(call.rows, call.arrived, times)


def compute(
    signature: Signature,
    model: Callable[[Arrays], Arrays],
    calls: Sequence[Arrays],
    times: Times,
    is_late: Callable[[int], bool] = lambda place: False,
) -> Sequence[Arrays | Exception]:
    """What `model` makes of each call's complete inputs, computed together; where that fails, one call at a time.

    Then a call that `is_late` by now, by its place among `calls`, is left out.
    """
    try:
        inputs = merge(signature.inputs, calls)
        merged = time.perf_counter_ns()
        outputs = model(inputs)
        times.merged, times.computed = merged, time.perf_counter_ns()
        return split(outputs, [(rows_in(call), signature.width(call)) for call in calls])
    except Exception as error:
        if len(calls) == 1:
            return [error]
        return [  # one is to blame, or all together are too much; the others go on
            DeadlineExceeded("the deadline passed within the batch")
            if is_late(place)
            else compute(signature, model, [call], times)[0]
            for place, call in enumerate(calls)
        ]


def rows_in(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))


def size_of(inputs: Arrays) -> int:
    """In bytes."""
    return sum(
        sum(map(len, array[:, 0].tolist())) if array.dtype == np.object_ else array.nbytes for array in inputs.values()
    )


def merge(tensors: Sequence[Tensor], calls: Sequence[Arrays]) -> Arrays:
    """The rows of all calls below each other, padded to the longest."""
    if len(calls) == 1:
        return calls[0]
    return {tensor.name: _stack(tensor, [call[tensor.name] for call in calls]) for tensor in tensors}


def _stack(tensor: Tensor, parts: Sequence[Array]) -> Array:
    width = max(part.shape[1] for part in parts)
    if all(part.shape[1] == width for part in parts):
        return np.concatenate(parts)
    stacked = np.full((sum(map(len, parts)), width), tensor.pad, parts[0].dtype)
    start = 0
    for part in parts:
        columns = slice(width - part.shape[1], None) if tensor.axis == "L" else slice(part.shape[1])
        stacked[start : start + len(part), columns] = part
        start += len(part)
    return stacked


def split(outputs: Arrays, sizes: Sequence[tuple[int, int | None]]) -> list[Arrays]:
    """Each call's own (rows, columns) of the outputs; None is all columns."""
    answers, start = [], 0
    for rows, columns in sizes:
        answers.append({name: array[start : start + rows, :columns] for name, array in outputs.items()})
        start += rows
    return answers
