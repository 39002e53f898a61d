import numpy as np
import pytest

from tests.training.conftest import load_real
from training.benchmark.adaptive_split import SPLITS, Outcome, compare, tables


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return compare(load_real("ml-100k"), rounds=180, seeds=[0, 1])


def test_an_adaptive_split_loses_less_than_half_of_an_even_one(outcomes: list[Outcome]) -> None:
    even, *adaptive = outcomes
    for outcome in adaptive:
        assert np.all(outcome.regret < even.regret / 2)
        assert np.all(outcome.growth < 1)  # sublinear: an even one's regret grows on
    assert np.all(even.growth > 1)


def test_the_winner_of_later_gets_the_users_of_later(outcomes: list[Outcome]) -> None:
    for outcome in outcomes[1:]:
        for course in outcome.courses:
            assert course.policies[int(course.worth[:10].mean(axis=0).argmax())] == "learned once"
            last = course.policies[int(course.worth[-30:].mean(axis=0).argmax())]
            assert last == "learning"
            assert course.shares[-1].argmax() == course.policies.index(last)
            assert course.shares.sum(axis=1) == pytest.approx(1)
            assert course.shares.min() >= (outcome.split.floor or 0) / 100 - 1e-9


def test_the_tables_have_every_split_and_policy(outcomes: list[Outcome]) -> None:
    lost, worth = tables(outcomes, "ml-100k")
    assert lost.row_count == len(SPLITS)
    assert worth.row_count == 3 * len(SPLITS)
