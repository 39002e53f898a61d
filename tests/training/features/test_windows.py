"""How sequences become batches."""

import numpy as np
import polars as pl
import torch
from torch import Tensor

from training.features.interactions import Interactions
from training.features.windows import Windows, cut


def data(*lengths: int) -> Interactions:
    """Users a, b, ... with so many events; items count on, times are tens."""
    user = [name for name, length in zip("abcdefgh", lengths, strict=False) for _ in range(length)]
    item = np.arange(len(user)) + 1
    return Interactions.of(pl.DataFrame({"user": user, "item": item, "rating": item % 5 + 1.0, "time": item * 10}))


def windows_of(events: Interactions, length: int, step: int) -> Windows:
    return Windows(events, cut(events, length, step), torch.device("cpu"))


def in_order(windows: Windows) -> list[tuple[list[int], list[int]]]:
    """Inputs and targets of each window."""
    taken = [windows.select(torch.tensor([row])) for row in range(len(windows.end))]
    return [(events.item[0].tolist(), target[0].tolist()) for events, target in taken]


def test_windows_end_with_the_newest_event_and_predict_every_event_but_the_first() -> None:
    windows = windows_of(data(7), 4, 4)
    assert in_order(windows) == [
        ([3, 4, 5, 6], [4, 5, 6, 7]),
        ([1, 2], [2, 3]),
    ]
    assert windows.targets == 6


def test_windows_may_overlap() -> None:
    windows = windows_of(data(6), 3, 2)
    assert in_order(windows) == [
        ([3, 4, 5], [4, 5, 6]),
        ([1, 2, 3], [2, 3, 4]),
    ]


def test_a_user_with_one_event_teaches_nothing() -> None:
    assert in_order(windows_of(data(1, 2), 4, 4)) == [([2], [3])]


def test_batches_hold_every_window_once_within_their_tokens() -> None:
    lengths = [2, 9, 5, 3, 7, 30, 4, 6]
    windows = windows_of(data(*lengths), 8, 8)
    batches = windows.batches(tokens=16)
    assert sorted(torch.cat(batches).tolist()) == list(range(len(windows.end)))
    assert all(len(rows) == 1 or windows.select(rows)[0].item.numel() <= 16 for rows in batches)
    shuffled = windows.batches(tokens=16)
    assert [rows.tolist() for rows in batches] != [rows.tolist() for rows in shuffled]


def test_a_batch_knows_when_each_next_event_came() -> None:
    events, target = windows_of(data(3, 5), 8, 8).select(torch.tensor([0, 1]))

    def real(column: Tensor) -> list[int]:
        return column[target > 0].tolist()

    assert events.item.tolist() == [[0, 0, 1, 2], [4, 5, 6, 7]]
    assert real(events.target_time()) == [10 * item for item in real(target)]
    assert real(events.time) == [10 * item for item in real(events.item)]
    assert real(events.rating) == [item % 5 + 1 for item in real(events.item)]


def test_shuffled_ties_move_events_within_one_second_of_one_user_alone() -> None:
    item = np.arange(60) + 1
    user, second = np.where(item <= 30, "a", "b"), (item - 1) // 4  # the two share a second
    windows = windows_of(
        Interactions.of(pl.DataFrame({"user": user, "item": item, "rating": item / 10, "time": second})), 30, 30
    )
    before = in_order(windows)
    [(events, target)] = windows.epoch(tokens=99, shuffled_ties=True)
    assert in_order(windows) == before != list(zip(events.item.tolist(), target.tolist(), strict=True))
    assert events.rating.equal(events.item / 10)
    assert events.time.equal((events.item - 1) // 4)
    assert events.target_time().equal((target - 1) // 4)
    for row, index in enumerate(events.user_index[:, 0].tolist()):
        seen = {*events.item[row].tolist(), *target[row].tolist()}
        assert seen == set(range(1, 31) if index == 1 else range(31, 61))
