"""Concurrent calls to one model leave in few messages: whatever waits while others are in flight goes together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from fusion_gateway.scorers.missing import DEADLINE_EXCEEDED, INVALID_ARGUMENT, ModelMissing
from servers.runtime.datatypes import Array
from servers.runtime.errors import InvalidArgument
from servers.runtime.request_ids import MAX_CHARACTERS, REQUEST_ID
from servers.runtime.stacking import stack_rows

MAX_IN_FLIGHT = 2
"""Maximum number of messages sent at once: one is computed, one is written or read. More of them would be smaller."""

Arrays = Mapping[str, Array]
Answered = tuple[Arrays, int]
"""Outputs, and the version that made them."""
Send = Callable[[Arrays, float], Awaitable[Answered]]

MAX_VALUES = 1 << 19
"""Maximum number of values of a message's tensors, padding included, unless one call has more: 4 MiB of numbers."""

PADDING: Mapping[str, Any] = {"user_id": b"", "history_item": 0, "history_rating": np.nan, "history_time": 0}
"""What a row has that lacks a tensor, or is shorter than others: histories are padded in front, candidates and allowed
items behind; a row without any allows all.
"""


@dataclass(eq=False, slots=True)
class _Call:
    inputs: Arrays
    answer: asyncio.Future[Answered]
    request_id: str = field(default_factory=REQUEST_ID.get)
    context: Context = field(default_factory=copy_context)
    width: int = field(init=False)
    """Values of all inputs."""

    def __post_init__(self) -> None:
        self.width = sum(array.shape[1] for array in self.inputs.values())


class Coalescer:
    """One model's calls, of one row each. A call's outcome does not depend on those it travels with."""

    def __init__(self, send: Callable[[Arrays], Coroutine[Any, Any, Answered]], max_rows: int) -> None:
        """`send(inputs)` sends all rows of a message to the model. It ends, also where callers leave before.

        `max_rows` of one message may be changed at any time.
        """
        self.send = send
        self.max_rows = max_rows
        self._waiting: deque[_Call] = deque()
        self._in_flight: dict[asyncio.Task[None], Sequence[_Call]] = {}

    async def __call__(self, inputs: Arrays, timeout: float) -> Answered:
        """The outputs [1, ...] for inputs [1, ...]. Raises ModelMissing when none comes in time, or as `send`."""
        call = _Call(inputs, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._start()
        try:
            async with asyncio.timeout(timeout):
                return await call.answer
        except TimeoutError:
            raise ModelMissing(DEADLINE_EXCEEDED) from None

    def release(self, error: Exception) -> None:
        """Ends all calls, those in flight too, with this error."""
        for calls in (list(self._waiting), *self._in_flight.values()):
            for call in calls:
                _settle(call, error)
        self._waiting.clear()

    def _start(self) -> None:
        while len(self._in_flight) < MAX_IN_FLIGHT and (calls := self._take()):
            # In the trace, a message belongs to the first of its calls.
            task = asyncio.get_running_loop().create_task(self._send_calls(calls), context=calls[0].context)
            self._in_flight[task] = calls
            task.add_done_callback(self._ended)

    def _take(self) -> list[_Call]:
        calls: list[_Call] = []
        widest = 0
        while self._waiting and len(calls) < self.max_rows:
            widest = max(widest, self._waiting[0].width)
            if calls and widest * (len(calls) + 1) > MAX_VALUES:
                break
            call = self._waiting.popleft()
            if not call.answer.done():  # else its caller has left
                calls.append(call)
        return calls

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._in_flight[task]
        self._start()

    async def _send_calls(self, calls: Sequence[_Call]) -> None:
        REQUEST_ID.set(",".join(call.request_id for call in calls)[:MAX_CHARACTERS])
        try:
            outputs, version = await self.send(merge([call.inputs for call in calls]))
        except InvalidArgument as error:
            if len(calls) > 1:  # one is to blame; the others go on
                await asyncio.gather(*(self._send_calls([call]) for call in calls))
            else:
                _settle(calls[0], ModelMissing(INVALID_ARGUMENT, str(error)))
        except Exception as error:
            for call in calls:
                _settle(call, error)
        else:
            for row, call in enumerate(calls):
                own = {name: _own(array, row, call.inputs) for name, array in outputs.items()}
                _settle(call, (own, version))


def _settle(call: _Call, outcome: Answered | Exception) -> None:
    if call.answer.done():
        return
    if isinstance(outcome, Exception):
        call.answer.set_exception(outcome)
    else:
        call.answer.set_result(outcome)


def merge(calls: Sequence[Arrays]) -> Arrays:
    """The rows of all calls below each other, padded to the longest."""
    if len(calls) == 1:
        return calls[0]
    names = dict.fromkeys(chain.from_iterable(calls))
    return {name: _stack(name, calls) for name in names}


def _stack(name: str, calls: Sequence[Arrays]) -> Array:
    example = next(call[name] for call in calls if name in call)
    left_out = example[:, :0]
    parts = [call.get(name, left_out) for call in calls]
    return stack_rows(parts, PADDING.get(name, 0), in_front=name.startswith("history_"))


def _own(array: Array, row: int, inputs: Arrays) -> Array:
    """This call's row, without what pads it."""
    width = inputs["candidate"].shape[1] if "candidate" in inputs else int(inputs["k"][0, 0])
    return array[row : row + 1, :width]
