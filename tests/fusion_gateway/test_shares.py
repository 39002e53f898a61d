import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_gateway.shares import MAX_SEGMENTS, Shares

POLICIES = "abcd"


@st.composite
def percentages(draw: st.DrawFn) -> dict[str, float]:
    parts = draw(st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any))
    return {name: 100 * part / sum(parts) for name, part in zip(POLICIES, parts, strict=True)}


@given(st.lists(percentages(), min_size=2, max_size=6))
def test_shares_that_move_are_exact_and_move_as_few_users_as_possible(steps: list[dict[str, float]]) -> None:
    first, *rest = steps
    shares = Shares(tuple(first.items()))
    for percent in rest:
        before, shares = shares, shares.moved_to(percent)
        assert shares.percent() == pytest.approx({name: part for name, part in percent.items() if part > 0})
        grown = sum(max(percent[name] - before.percent().get(name, 0), 0) for name in POLICIES)
        assert moved(before, shares) == pytest.approx(grown)


def moved(before: Shares, after: Shares) -> float:
    """Percent of the users who get another policy, of all between two neighboring borders."""
    borders = sorted({0.0, 100.0, *ends(before), *ends(after)})
    changed = 0.0
    for left, right in zip(borders, borders[1:], strict=False):
        middle = (left + right) / 2
        changed += (right - left) * (at(before, middle) != at(after, middle))
    return changed


def ends(shares: Shares) -> list[float]:
    found, end = [], 0.0
    for _, width in shares.segments:
        end += width
        found.append(end)
    return found


def at(shares: Shares, percentile: float) -> str:
    for (name, _), end in zip(shares.segments, ends(shares), strict=True):
        if percentile < end:
            return name
    return shares.segments[-1][0]


def test_users_fall_into_the_segments_by_their_hash() -> None:
    shares = Shares((("a", 20), ("b", 30), ("a", 10), ("c", 40)))
    chosen = [shares.of(f"user {number}") for number in range(20_000)]
    for name, percent in shares.percent().items():
        assert 100 * chosen.count(name) / len(chosen) == pytest.approx(percent, abs=1.5)


def test_segments_stay_few() -> None:
    random, names = np.random.default_rng(0), "abcdefghijkl"
    shares = Shares(tuple((name, 100 / len(names)) for name in names))
    most = 0
    for _ in range(300):
        percent = 100 * random.dirichlet(np.ones(len(names)))
        shares = shares.moved_to(dict(zip(names, percent.tolist(), strict=True)))
        most = max(most, len(shares.segments))
    assert MAX_SEGMENTS / 2 < most <= MAX_SEGMENTS
