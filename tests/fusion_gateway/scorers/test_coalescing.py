"""Calls that travel together get what they would get alone."""

import asyncio

import numpy as np
import pytest

from fusion_gateway.scorers import coalescing
from fusion_gateway.scorers.coalescing import Answered, Arrays, Coalescer, merge
from servers.runtime.errors import InvalidArgument, MarqueeError, Unavailable

MAX_ROWS = 32
HISTORY = np.array([[7, 8, 9]])


def request(*candidates: int, **more: np.ndarray) -> Arrays:
    return {"user_id": np.array([[b"anna"]], object), "candidate": np.array([candidates]), **more}


class Model:
    """Scores a candidate with its number plus the sum of the history; refuses messages with candidate 13."""

    def __init__(self) -> None:
        self.messages: list[Arrays] = []
        self.gate = asyncio.Event()

    async def __call__(self, inputs: Arrays) -> Answered:
        self.messages.append(inputs)
        await self.gate.wait()
        if 13 in inputs["candidate"]:
            raise InvalidArgument("13 brings bad luck")
        history = inputs.get("history_item", np.zeros((1, 1))).sum(axis=1, keepdims=True)
        return {"score": (inputs["candidate"] + history).astype(np.float32)}, 3


async def outcomes(model: Model, *calls: Arrays) -> list[object]:
    """Of calls made at the same time, while messages are under way."""
    coalescer = Coalescer(model, MAX_ROWS)
    tasks = [asyncio.create_task(coalescer(call, 5)) for call in calls]
    await asyncio.sleep(0.01)
    model.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    return [each if isinstance(each, BaseException) else each[0]["score"].tolist() for each in answers]


async def test_what_waits_leaves_together_and_each_gets_its_own() -> None:
    model = Model()
    calls = [
        request(1),
        request(2),
        request(3, 4, history_item=HISTORY),
        request(5),
        request(6, 7, 8, history_item=HISTORY[:, :1]),
    ]
    assert await outcomes(model, *calls) == [
        [[1]],
        [[2]],
        [[27, 28]],
        [[5]],
        [[13, 14, 15]],
    ]
    assert [len(message["candidate"]) for message in model.messages] == [1, 1, 3]


async def test_a_message_has_a_maximum_number_of_rows() -> None:
    model = Model()
    answers = await outcomes(model, *(request(number) for number in range(100, 142)))
    assert answers == [[[number]] for number in range(100, 142)]
    assert max(len(message["candidate"]) for message in model.messages) == MAX_ROWS


async def test_wide_calls_share_a_message_up_to_a_maximum_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding counts: each row is as wide as the widest."""
    monkeypatch.setattr(coalescing, "MAX_VALUES", 24)
    model = Model()
    wide = np.arange(10)[None]
    assert await outcomes(model, request(1), request(2), request(3), request(4, allowed=wide), request(5)) == [
        [[1]],
        [[2]],
        [[3]],
        [[4]],
        [[5]],
    ]
    assert [len(message["candidate"]) for message in model.messages] == [1, 1, 2, 1]


async def test_a_refused_call_takes_nobody_with_it() -> None:
    answers = await outcomes(Model(), request(1), request(2), request(3), request(13), request(4))
    assert answers[:3] == [[[1]], [[2]], [[3]]]
    assert answers[4] == [[4]]
    assert isinstance(answers[3], Unavailable)


async def test_a_caller_that_leaves_or_is_late_takes_nobody_with_it() -> None:
    model = Model()
    coalescer = Coalescer(model, MAX_ROWS)
    first, second, leaving, staying = (asyncio.create_task(coalescer(request(number), 5)) for number in range(1, 5))
    late = asyncio.create_task(coalescer(request(9), 0.05))
    await asyncio.sleep(0.01)
    leaving.cancel()
    with pytest.raises(Unavailable, match="deadline exceeded"):
        await late
    model.gate.set()
    answers = [(await task)[0]["score"].tolist() for task in (first, second, staying)]
    assert answers == [[[1]], [[2]], [[4]]]
    assert [message["candidate"].tolist() for message in model.messages] == [[[1]], [[2]], [[4]]]


async def test_what_fails_fails_for_all_in_the_message_and_for_none_after() -> None:
    answers = iter([Unavailable("away"), None])

    async def send(inputs: Arrays) -> Answered:
        if error := next(answers, None):
            raise error
        return {"score": np.zeros(inputs["candidate"].shape, np.float32)}, 1

    coalescer = Coalescer(send, MAX_ROWS)
    with pytest.raises(MarqueeError, match="away"):
        await coalescer(request(1), 5)
    assert (await coalescer(request(1), 5))[1] == 1


async def test_all_calls_can_be_released_at_once() -> None:
    model = Model()
    coalescer = Coalescer(model, MAX_ROWS)
    tasks = [asyncio.create_task(coalescer(request(number), 5)) for number in range(40)]
    await asyncio.sleep(0.01)
    coalescer.release(Unavailable("frozen"))
    async with asyncio.timeout(1):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {str(outcome) for outcome in outcomes} == {"frozen"}
    model.gate.set()
    assert (await coalescer(request(7), 5))[0]["score"].tolist() == [[7]]


def test_merged_rows_are_padded_as_servers_expect() -> None:
    times, ratings = HISTORY + 100, np.array([[5, np.nan, 3]], np.float32)
    long = request(1, history_item=HISTORY, history_rating=ratings, history_time=times)
    short = request(
        2,
        3,
        history_item=HISTORY[:, :1],
        history_rating=ratings[:, :1],
        history_time=times[:, :1],
    )
    merged = merge([long, short, request(4)])
    assert merged["candidate"].tolist() == [[1, 0], [2, 3], [4, 0]]
    assert merged["history_item"].tolist() == [[7, 8, 9], [0, 0, 7], [0, 0, 0]]
    assert merged["history_time"].tolist() == [[107, 108, 109], [0, 0, 107], [0, 0, 0]]
    np.testing.assert_array_equal(merged["history_rating"][1:], [[np.nan, np.nan, 5], [np.nan] * 3])
    assert merged["history_rating"].dtype == np.float32
