import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.batcher import Batcher, BatchLimits, elements_in_row, in_parts, size_of
from servers.runtime.datatypes import Array
from servers.runtime.deadline import Deadline
from servers.runtime.errors import DeadlineExceeded, MarqueeError, Overloaded
from servers.signature import RETRIEVE, SCORE, Arrays, Limits, Signature
from servers.statistics import Statistics

LIMITS = Limits(B=100, L=100, C=100, K=100)
FOREVER = Deadline(float("inf"))
POISON = 666


@dataclass
class SumModel:
    """Scores a candidate by itself plus 1000 times the user's history, and holds its batches until it is let go."""

    batches: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, inputs: Arrays) -> Arrays:
        assert self.go.wait(20)
        self.batches.append(len(inputs["candidate"]))
        self.widths.append(inputs["history_item"].shape[1])
        if (inputs["candidate"] == POISON).any():
            raise ValueError("poison")
        return {"score": right_answer(inputs)}


def right_answer(inputs: Arrays) -> Array:
    last = 7 * inputs["history_item"][:, -1:]  # padding is in front, so the last event stays the last
    scores: Array = inputs["candidate"] + 1000 * inputs["history_item"].sum(axis=1, keepdims=True) + last
    return scores.astype(np.float32)


def inputs(candidates: list[list[int]], histories: list[list[int]]) -> Arrays:
    given = {"candidate": np.array(candidates, np.int64), "history_item": np.array(histories, np.int64)}
    return SCORE.complete(given, LIMITS)


@asynccontextmanager
async def batcher(
    model: Callable[[Arrays], Arrays], rows: int = 8, queue: int = 1000, delay: float = 0, signature: Signature = SCORE
) -> AsyncIterator[Batcher]:
    with ThreadPoolExecutor(1) as executor:
        yield Batcher(signature, model, executor, BatchLimits(rows, queue, delay), Statistics("test"))


async def settle() -> None:
    """Lets everything that can happen in the event loop happen."""
    for _ in range(20):
        await asyncio.sleep(0)


@st.composite
def call_inputs(draw: st.DrawFn) -> Arrays:
    rows = draw(st.integers(1, 8))
    width = draw(st.integers(0, 5))
    events = draw(st.integers(1, 5))
    numbers = st.integers(1, 600)
    candidates = draw(st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=rows, max_size=rows))
    histories = draw(st.lists(st.lists(numbers, min_size=events, max_size=events), min_size=rows, max_size=rows))
    return inputs(np.reshape(candidates, (rows, width)).tolist(), histories)


@settings(deadline=None, max_examples=40)
@given(
    calls=st.lists(st.tuples(call_inputs(), st.sampled_from(["stays", "leaves", "late", "poisons"])), max_size=14),
    held=st.booleans(),
    delay=st.sampled_from([0, 0.001]),
    elements=st.sampled_from([1, 20, 1 << 17]),
)
def test_every_caller_gets_the_answer_it_would_get_alone(
    calls: list[tuple[Arrays, str]], held: bool, delay: float, elements: int
) -> None:
    """Whatever the others do: stay, leave while they wait, come too late, or break the model; in parts or whole."""

    async def run() -> tuple[list[Arrays | BaseException], SumModel]:
        model = SumModel()
        if not held:
            model.go.set()
        async with batcher(model, delay=delay) as infer:
            tasks = []
            for arrays, fate in calls:
                if fate == "poisons":
                    arrays = {**arrays, "candidate": np.full_like(arrays["candidate"], POISON)}
                deadline = Deadline.after(-1) if fate == "late" else FOREVER
                tasks.append(asyncio.create_task(infer(arrays, deadline)))
            await settle()
            for task, (_, fate) in zip(tasks, calls, strict=True):
                if fate == "leaves":
                    task.cancel()
            model.go.set()
            return await asyncio.gather(*tasks, return_exceptions=True), model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("servers.batcher.MAX_ELEMENTS", elements)
        answers, model = asyncio.run(run())
    for answer, (arrays, fate) in zip(answers, calls, strict=True):
        if fate == "stays":
            assert not isinstance(answer, BaseException)
            np.testing.assert_array_equal(answer["score"], right_answer(arrays))
        elif fate == "late":
            assert isinstance(answer, DeadlineExceeded)
        elif fate == "poisons" and arrays["candidate"].size:
            assert isinstance(answer, ValueError)
        elif fate == "leaves" and isinstance(answer, BaseException):
            assert isinstance(answer, asyncio.CancelledError)
    assert all(rows <= 8 for rows in model.batches)


async def test_what_waits_while_the_model_works_leaves_together_in_order() -> None:
    model = SumModel()
    async with batcher(model, rows=4) as infer:
        first = asyncio.create_task(infer(inputs([[1]], [[1]]), FOREVER))
        await settle()
        finished: list[int] = []

        async def ask(number: int) -> None:
            answer = await infer(inputs([[number]], [[1]]), FOREVER)
            assert answer["score"].item() == number + 1007
            finished.append(number)

        others = [asyncio.create_task(ask(number)) for number in range(1, 7)]
        await settle()
        model.go.set()
        await asyncio.gather(first, *others)
    assert model.batches == [1, 4, 2]
    assert finished == [1, 2, 3, 4, 5, 6]


async def test_a_delay_lets_a_batch_fill_but_a_full_one_does_not_wait() -> None:
    model = SumModel()
    model.go.set()
    async with batcher(model, rows=2, delay=3600) as infer:
        calls = [asyncio.create_task(infer(inputs([[number]], [[1]]), FOREVER)) for number in (1, 2)]
        await asyncio.gather(*calls)
    assert model.batches == [2]


async def test_a_full_queue_refuses_at_once_and_serves_on() -> None:
    model = SumModel()
    async with batcher(model, rows=2, queue=4) as infer:
        running = asyncio.create_task(infer(inputs([[1]] * 2, [[1]] * 2), FOREVER))
        await settle()
        call = inputs([[1]] * 2, [[1]] * 2)
        waiting = [asyncio.create_task(infer(call, FOREVER)) for _ in range(2)]
        await settle()
        with pytest.raises(Overloaded, match="4 rows wait; the limit is 4"):
            await infer(inputs([[1]], [[1]]), FOREVER)
        waiting[0].cancel()  # makes room at once, though the model is still busy
        await settle()
        taken = asyncio.create_task(infer(inputs([[5]], [[1]]), FOREVER))
        await settle()
        model.go.set()
        assert (await taken)["score"].item() == 1012
        await asyncio.gather(running, waiting[1])
    assert model.batches == [2, 2, 1]


async def test_those_who_left_are_not_computed() -> None:
    model = SumModel()
    async with batcher(model) as infer:
        first = asyncio.create_task(infer(inputs([[1]], [[1]]), FOREVER))
        await settle()
        left = asyncio.create_task(infer(inputs([[2]], [[1]]), FOREVER))
        stays = asyncio.create_task(infer(inputs([[3]], [[1]]), FOREVER))
        await settle()
        left.cancel()
        model.go.set()
        await asyncio.gather(first, stays)
    assert model.batches == [1, 1]


async def test_one_who_leaves_just_before_a_batch_starts_is_not_computed() -> None:
    model = SumModel()
    model.go.set()
    async with batcher(model) as infer:
        left = asyncio.create_task(infer(inputs([[2]], [[1]]), FOREVER))
        await asyncio.sleep(0)  # it waits, and the start of its batch is due next
        left.cancel()
        await settle()
        assert left.cancelled()
    assert model.batches == []


async def test_one_who_leaves_while_it_is_computed_takes_no_neighbour_along() -> None:
    model = SumModel()
    async with batcher(model) as infer:
        each = [inputs([[number]], [[1]]) for number in (1, 2, 3)]
        calls = [asyncio.create_task(infer(call, FOREVER)) for call in each]
        await settle()
        calls[1].cancel()
        model.go.set()
        assert [(await calls[i])["score"].item() for i in (0, 2)] == [1008, 1010]
    assert model.batches == [3]


async def test_a_failing_model_fails_only_its_batch() -> None:
    model = SumModel()
    model.go.set()
    async with batcher(model) as infer:
        with pytest.raises(ValueError, match="poison"):
            await infer(inputs([[POISON]], [[1]]), FOREVER)
        assert (await infer(inputs([[1]], [[1]]), FOREVER))["score"].item() == 1008


async def test_retrieved_items_are_cut_to_each_callers_k() -> None:
    def model(arrays: Arrays) -> Arrays:
        width = int(arrays["k"].max())
        return {"item": np.tile(np.arange(width), (len(arrays["k"]), 1))}

    async with batcher(model, signature=RETRIEVE) as infer:
        given = [np.array([[k]], np.int32) for k in (3, 10, 1)]
        calls = [RETRIEVE.complete({"k": k}, LIMITS) for k in given]
        answers = await asyncio.gather(*(infer(call, FOREVER) for call in calls))
    assert [answer["item"].shape for answer in answers] == [(1, 3), (1, 10), (1, 1)]


async def test_what_waits_has_a_limit_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SumModel()
    call = inputs([[1] * 50], [[1]])
    monkeypatch.setattr("servers.batcher.MAX_WAITING_BYTES", 2 * size_of(call))
    async with batcher(model) as infer:
        running = asyncio.create_task(infer(call, FOREVER))
        await settle()
        waiting = [asyncio.create_task(infer(call, FOREVER)) for _ in range(2)]
        await settle()
        with pytest.raises(Overloaded, match=rf"{2 * size_of(call)} bytes wait; the limit is {2 * size_of(call)}"):
            await infer(call, FOREVER)
        waiting[0].cancel()  # makes room
        await settle()
        waiting.append(asyncio.create_task(infer(call, FOREVER)))
        await settle()
        model.go.set()
        await asyncio.gather(running, *waiting[1:])


async def test_a_call_has_its_turn_between_the_parts_of_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SumModel()
    small = inputs([[1]], [[1]])
    large = inputs([[1, 2, 3]] * 4, [[1]] * 4)
    monkeypatch.setattr("servers.batcher.MAX_ELEMENTS", 2 * elements_in_row(large))
    async with batcher(model) as infer:
        answered: list[str] = []

        async def ask(name: str, call: Arrays) -> None:
            await infer(call, FOREVER)
            answered.append(name)

        calls = [asyncio.create_task(ask(f"large {number}", large)) for number in range(3)]
        await settle()
        calls.append(asyncio.create_task(ask("small", small)))
        await settle()
        model.go.set()
        await asyncio.gather(*calls)
    assert answered == ["small", "large 0", "large 1", "large 2"]
    assert model.batches == [2, 1, 2, 2, 2, 2, 2]


def test_rows_are_parted_evenly() -> None:
    call = inputs([[1, 2, 3]] * 7, [[1]] * 7)

    def sizes(max_rows: int) -> list[int]:
        return [len(part["candidate"]) for part in in_parts(call, 7, max_rows)]

    assert sizes(1) == [1] * 7
    assert sizes(3) == [3, 3, 1]
    assert sizes(4) == sizes(6) == [4, 3]
    assert sizes(7) == [7]


async def test_statistics_add_up() -> None:
    model = SumModel()
    statistics = Statistics("test")
    with ThreadPoolExecutor(1) as executor:
        infer = Batcher(SCORE, model, executor, BatchLimits(8, 9), statistics)
        call = inputs([[1]] * 3, [[1]] * 3)
        calls = [asyncio.create_task(infer(call, FOREVER)) for _ in range(3)]
        await settle()
        with pytest.raises(MarqueeError):
            await infer(inputs([[1]] * 8, [[1]] * 8), FOREVER)
        model.go.set()
        await asyncio.gather(*calls)
    message = statistics.message("test", "1")
    assert message.inference_count == 9
    assert message.execution_count == 2
    assert [(batch.batch_size, batch.compute_infer.count) for batch in message.batch_stats] == [(3, 1), (6, 1)]
    assert (message.inference_stats.success.count, message.inference_stats.fail.count) == (3, 1)
    parts = message.inference_stats
    together = parts.queue.ns + parts.compute_input.ns + parts.compute_infer.ns + parts.compute_output.ns
    assert together == parts.success.ns


async def test_failures_leave_the_statistics_of_others_alone() -> None:
    model = SumModel()
    statistics = Statistics("test")
    with ThreadPoolExecutor(1) as executor:
        infer = Batcher(SCORE, model, executor, BatchLimits(8, 9), statistics)
        calls = [asyncio.create_task(infer(inputs([[number]], [[1]]), FOREVER)) for number in (1, POISON)]
        await settle()
        model.go.set()
        await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(ValueError, match="poison"):
            await infer(inputs([[POISON]], [[1]]), FOREVER)
    message = statistics.message("test", "1").inference_stats
    assert (message.success.count, message.fail.count) == (1, 2)
    assert message.compute_infer.ns >= 0


async def test_a_call_whose_deadline_passes_within_the_batch_is_not_computed_alone() -> None:
    model = SumModel()
    async with batcher(model) as infer:
        deadlines = [FOREVER, Deadline.after(0.2), FOREVER]
        numbers = [POISON, 1, 2]
        calls = [
            asyncio.create_task(infer(inputs([[number]], [[1]]), deadline))
            for number, deadline in zip(numbers, deadlines, strict=True)
        ]
        await settle()
        await asyncio.sleep(0.3)
        model.go.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, DeadlineExceeded, dict]
    assert model.batches == [3, 1, 1]


async def test_calls_that_arrive_turn_after_turn_leave_together() -> None:
    """As gRPC hands them over: one in each turn of the event loop."""
    model = SumModel()
    model.go.set()
    async with batcher(model) as infer:
        calls = []
        for number in range(5):
            calls.append(asyncio.create_task(infer(inputs([[number]], [[1]]), FOREVER)))
            await asyncio.sleep(0)
        await asyncio.gather(*calls)
    assert model.batches == [5]
