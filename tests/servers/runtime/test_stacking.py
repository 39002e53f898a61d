import numpy as np
import pytest

from servers.runtime.stacking import stack_rows

WIDE = np.array([[1, 2, 3]])
EMPTY = np.zeros((1, 0), np.int64)
TWO_ROWS = np.array([[4], [5]])
PADDING = [9, 9, 9]


@pytest.mark.parametrize(
    ("in_front", "expected"),
    [
        (True, [[1, 2, 3], PADDING, [9, 9, 4], [9, 9, 5]]),
        (False, [[1, 2, 3], PADDING, [4, 9, 9], [5, 9, 9]]),
    ],
)
def test_shorter_rows_are_padded(in_front: bool, expected: list[list[int]]) -> None:
    assert stack_rows([WIDE, EMPTY, TWO_ROWS], 9, in_front).tolist() == expected


def test_rows_of_one_width_stay_as_they_are() -> None:
    texts = [np.array([[b"a"]], object), np.array([[b"b"]], object)]
    assert stack_rows(texts, b"", in_front=False).tolist() == [[b"a"], [b"b"]]
