"""Sums by user, in bounded memory."""

import numpy as np
import pytest

from fusion_gateway.loop.answer_cap import MAX_ANSWERS_PER_USER
from fusion_gateway.loop.tallies import Tallies, Worth

CLICKED = Worth(0.5, reward=2, units=1, ndcg=0.7, chosen=True)
IGNORED = Worth(0.5, reward=0, units=1, ndcg=0, chosen=False)


def test_answers_add_up_by_user_and_arm() -> None:
    tallies = Tallies()
    for user, arm, worth in [
        ("anna", 0, CLICKED),
        ("bert", 0, IGNORED._replace(probability=0.25)),
        ("anna", 1, IGNORED),
        ("anna", 0, IGNORED._replace(probability=0.2)),
    ]:
        tallies.add(user, arm, worth)
    first, second, none = tallies.arms(3)
    assert first.weight.tolist() == [2 + 5, 4]
    assert first.reward.tolist() == [4, 0]
    assert first.chosen.tolist() == [2, 0]
    assert first.ndcg.tolist() == [1.4, 0]
    assert first.probability.tolist() == [0.5, 0.25]
    assert first.is_first.tolist() == [True, True]
    assert second.is_first.tolist() == [False]
    assert len(none.weight) == 0


def test_answers_of_a_program_count_as_those_of_a_user() -> None:
    tallies = Tallies()
    for _ in range(MAX_ANSWERS_PER_USER + 30):
        tallies.add("robot", 0, CLICKED)
        tallies.add("anna", 1, CLICKED) if tallies.capped[0] == 1 else None
    robot, anna = tallies.arms(2)
    assert robot.weight.tolist() == [2 * MAX_ANSWERS_PER_USER]
    assert tallies.capped[:2] == [30, 0]
    assert anna.weight.tolist() == [2]


def test_a_policy_has_one_limit_in_all_of_its_arms() -> None:
    tallies = Tallies()
    for number in range(MAX_ANSWERS_PER_USER + 30):
        tallies.add("robot", number % 2, CLICKED, of_policy=(0, 1))
    first, second = tallies.arms(2)
    assert first.weight.sum() + second.weight.sum() == 2 * MAX_ANSWERS_PER_USER
    assert tallies.capped[:2] == [15, 15]


@pytest.mark.parametrize("limit", [100, 1000])
def test_too_many_users_are_sampled_whole(limit: int) -> None:
    """Rates stay what they are, and every user who is left has all of the answers."""
    tallies = Tallies(limit)
    random = np.random.default_rng(0)
    for _ in range(3):
        for user in range(3000):
            tallies.add(f"user {user}", user % 2, CLICKED if random.random() < 0.3 else IGNORED)
    arms = tallies.arms(2)
    users = sum(len(arm.weight) for arm in arms)
    assert limit / 4 < users <= limit
    assert users / 3000 == pytest.approx(tallies.share, rel=0.5)
    assert np.log2(tallies.share) == round(np.log2(tallies.share))
    for arm in arms:
        assert set(arm.weight.tolist()) == {6.0}
        assert arm.reward.sum() / arm.weight.sum() == pytest.approx(0.6, abs=0.25)
