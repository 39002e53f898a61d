"""Runs waiting calls through a model together.

There is no timer: whenever the model is free and the event loop has handed over all calls that are there, it takes what
waits. So a lone call waits for nobody, and batches grow by themselves under load. A large call is computed in parts,
between which others have their turn. All bookkeeping happens in the event loop; only the model runs in the compute
thread.
"""

import asyncio
import math
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
from servers.runtime.stacking import stack_rows
from servers.signature import Arrays, Signature, Tensor
from servers.statistics import Statistics, Times

MAX_WAITING_BYTES = 64 << 20
"""Maximum number of bytes of the calls that wait for one model."""
MAX_ELEMENTS = 1 << 14
"""Maximum number of elements of a batch's inputs, with padding, unless one row has more.

It bounds how long a call waits for another one.
"""
QUIET_TURNS = 2
"""Turns of the event loop without a further call after which a batch starts; gRPC needs more than one for a call."""


@dataclass(frozen=True)
class BatchLimits:
    max_batch_size: int
    """Maximum number of rows in a batch."""
    max_queue_size: int
    """Maximum number of rows that wait."""
    max_queue_delay: float = 0
    """Seconds to wait for more calls; 0: none."""


@dataclass(eq=False, slots=True)
class Call:
    """One caller's rows, and the future its answer goes to; the caller leaves by cancelling it."""

    inputs: Arrays
    rows: int
    width: int
    """Elements of a row."""
    size: int
    """Bytes."""
    deadline: Deadline
    answer: asyncio.Future[Arrays]
    queue: "deque[Call]"
    """Where it waits."""
    arrived: int = field(default_factory=time.perf_counter_ns)
    times: Times = field(default_factory=lambda: Times(0))
    """Of its batch, once it is answered."""


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
        self._signature, self._model = signature, model
        self._executor = executor
        self._limits = limits
        self._statistics = statistics
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Call] = deque()
        # Parts of large calls have a queue of their own, so that they and other calls take turns.
        self._waiting_parts: deque[Call] = deque()
        self._parts_are_next = False
        self._waiting_rows = self._waiting_bytes = 0
        self._busy = False
        self._starting: asyncio.Handle | None = None
        batcher = weakref.ref(self)  # the metric outlives the model and must not keep it in memory
        statistics.watch_queue(lambda: living._waiting_rows if (living := batcher()) else 0)

    async def __call__(self, inputs: Arrays, deadline: Deadline) -> Arrays:
        """Raises Overloaded at once when too many rows wait, DeadlineExceeded, or whatever the model raised."""
        rows, width = rows_in(inputs), elements_in_row(inputs)
        max_rows = max(1, MAX_ELEMENTS // max(width, 1))
        if rows <= max_rows:
            calls = [await self._computed(inputs, rows, width, deadline, self._waiting)]
        else:
            # One part at a time is queued, so that other calls have their turn in between.
            parts = in_parts(inputs, rows, max_rows)
            calls = [await self._computed(part, rows_in(part), width, deadline, self._waiting_parts) for part in parts]
        self._statistics.answered(rows, calls[0].arrived, calls[-1].times)
        return merge(self._signature.outputs, [call.answer.result() for call in calls])

    async def _computed(self, inputs: Arrays, rows: int, width: int, deadline: Deadline, queue: deque[Call]) -> Call:
        """Queues a call and returns it once it is answered."""
        call = Call(
            inputs, rows, width, size=size_of(inputs), deadline=deadline, answer=self._loop.create_future(), queue=queue
        )
        try:
            self._enqueue(call)
            await call.answer
            return call
        except BaseException as error:
            self._statistics.refused(error, call.arrived)
            if call in queue:
                queue.remove(call)
                self._leaves(call)
            raise

    def _enqueue(self, call: Call) -> None:
        if self._waiting_rows + call.rows > self._limits.max_queue_size:
            raise Overloaded(f"{self._waiting_rows} rows wait; the limit is {self._limits.max_queue_size}")
        # A single call is taken whatever its size: messages have a limit of their own.
        if self._waiting_rows and self._waiting_bytes + call.size > MAX_WAITING_BYTES:
            raise Overloaded(f"{self._waiting_bytes} bytes wait; the limit is {MAX_WAITING_BYTES}")
        call.queue.append(call)
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
            self._start_when_quiet(self._waiting_rows, QUIET_TURNS)

    def _start_when_quiet(self, seen: int, turns: int) -> None:
        if self._waiting_rows > seen:
            seen = self._waiting_rows
            turns = QUIET_TURNS
        if turns:
            self._starting = self._loop.call_soon(self._start_when_quiet, seen, turns - 1)
        else:
            self._start()

    def _start(self) -> None:
        if self._starting:
            self._starting.cancel()
            self._starting = None
        # Twice, for all callers of one queue may have left.
        batch = self._take(self._next_queue()) or self._take(self._next_queue())
        self._busy = bool(batch)
        if batch:
            self._executor.submit(self._run, batch)

    def _next_queue(self) -> deque[Call]:
        """In turns, as long as there are parts of large calls and others."""
        parts = bool(self._waiting_parts) and (self._parts_are_next or not self._waiting)
        self._parts_are_next = not parts
        return self._waiting_parts if parts else self._waiting

    def _take(self, queue: deque[Call]) -> list[Call]:
        """The calls that have waited longest, up to a full batch, without those that left or whose time is over."""
        batch: list[Call] = []
        rows = max_width = 0
        while queue and rows + queue[0].rows <= self._limits.max_batch_size:
            max_width = max(max_width, queue[0].width)
            # Every row is padded to the widest.
            if batch and (rows + queue[0].rows) * max_width > MAX_ELEMENTS:
                break
            call = queue.popleft()
            self._leaves(call)
            if call.answer.done():  # its caller has left
                continue
            if call.deadline.passed():
                call.answer.set_exception(DeadlineExceeded("the deadline passed while the call waited"))
                continue
            batch.append(call)
            rows += call.rows
        return batch

    def _run(self, batch: list[Call]) -> None:
        times = Times(started=time.perf_counter_ns())

        def is_late(index: int) -> bool:
            return batch[index].answer.done() or batch[index].deadline.passed()

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
                call.times = times
                call.answer.set_result(outcome)


def compute(
    signature: Signature,
    model: Callable[[Arrays], Arrays],
    calls: Sequence[Arrays],
    times: Times,
    is_late: Callable[[int], bool] = lambda index: False,
) -> Sequence[Arrays | Exception]:
    """The outputs or the error of each call, computed together; where that fails, one call at a time.

    Then a call that `is_late` by now, by its index in `calls`, is left out.
    """
    try:
        inputs = merge(signature.inputs, calls)
        merged = time.perf_counter_ns()
        outputs = model(inputs)
        times.merged = merged  # set once the model has answered: a batch that failed has neither time
        times.computed = time.perf_counter_ns()
        return split(outputs, [(rows_in(call), signature.width(call)) for call in calls])
    except Exception as error:
        if len(calls) == 1:
            return [error]
        # One call is to blame, or all together are too much: each is tried alone.
        outcomes: list[Arrays | Exception] = []
        for index, call in enumerate(calls):
            if is_late(index):
                outcomes.append(DeadlineExceeded("the deadline passed within the batch"))
            else:
                outcomes += compute(signature, model, [call], times)
        return outcomes


def rows_in(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))


def elements_in_row(inputs: Arrays) -> int:
    return sum(array.shape[1] for array in inputs.values())


def in_parts(inputs: Arrays, rows: int, max_rows: int) -> list[Arrays]:
    """The same rows, in as few parts as `max_rows` allows, of about as many rows each."""
    number_of_parts = math.ceil(rows / max_rows)
    step = math.ceil(rows / number_of_parts)
    parts = []
    for first in range(0, rows, step):
        parts.append({name: array[first : first + step] for name, array in inputs.items()})
    return parts


def size_of(inputs: Arrays) -> int:
    """Bytes of all inputs; of strings, those of their characters."""
    size = 0
    for array in inputs.values():
        if array.dtype == np.object_:
            size += sum(map(len, array[:, 0].tolist()))
        else:
            size += array.nbytes
    return size


def merge(tensors: Sequence[Tensor], calls: Sequence[Arrays]) -> Arrays:
    """The rows of all calls below each other, padded to the longest."""
    if len(calls) == 1:
        return calls[0]
    return {tensor.name: _stack(tensor, calls) for tensor in tensors}


def _stack(tensor: Tensor, calls: Sequence[Arrays]) -> Array:
    parts = [call[tensor.name] for call in calls]
    return stack_rows(parts, tensor.pad, in_front=tensor.axis == "L")


def split(outputs: Arrays, sizes: Sequence[tuple[int, int | None]]) -> list[Arrays]:
    """Each call's own (rows, columns) of the outputs; None is all columns."""
    answers, start = [], 0
    for rows, columns in sizes:
        answers.append({name: array[start : start + rows, :columns] for name, array in outputs.items()})
        start += rows
    return answers
