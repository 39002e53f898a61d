"""The estimators against sums by hand, against the package obp, and against the truth of simulated users."""

from dataclasses import replace

import numpy as np
import pytest

from training.benchmark.off_policy import NAIVE, coverage
from training.off_policy.estimators import (
    doubly_robust,
    earned_by_user,
    effective_users,
    inverse_propensity,
    mean_by_user,
    on_policy,
    self_normalized,
)
from training.off_policy.logged import Doubles, Logged
from training.off_policy.overlap import overlap
from training.off_policy.reward_model import FOLDS, fit_reward_model

ITEMS = 10
RUNS, USERS = 25, 200
BY_CHANCE = 0.8
"""Where the true coverage is 0.95, fewer than one of 1000 times RUNS intervals cover less."""


def logged(ranks: int = 3, answers: int = 500) -> tuple[Logged, Doubles]:
    """Random ones, and a target policy's probabilities."""
    random = np.random.default_rng(ranks)
    size = (answers, ranks)
    log = Logged(
        user=random.integers(0, 80, answers),
        item=random.integers(0, ITEMS, size),
        propensity=random.uniform(0.05, 1, size),
        reward=random.integers(0, 2, size).astype(np.float64),
    )
    return log, random.uniform(0, 1, size)


def two_answers() -> tuple[Logged, Doubles]:
    """The second list ends after one item."""
    log = Logged(
        user=np.array([0, 1]),
        item=np.array([[4, 7], [4, -1]]),
        propensity=np.array([[0.5, 0.25], [0.2, 1.0]]),
        reward=np.array([[1.0, 1.0], [3.0, 0.0]]),
    )
    return log, np.array([[0.5, 0.5], [0.4, 0.7]])


def test_values_by_hand() -> None:
    log, target = two_answers()
    assert on_policy(log).mean() == (2 + 3) / 2
    assert inverse_propensity(log, target).mean() == ((1 + 2) + 2 * 3) / 2
    # Rank 1: (1 + 6) / (1 + 2); rank 2, which half of the lists have: 2 / 2.
    assert self_normalized(log, target).mean() == pytest.approx(7 / 3 + 1 / 2)
    predicted = np.array([[0.5, 0.5], [1.0, 9.0]])
    expected = np.array([[2.0, 1.0], [2.0, 9.0]])
    first, second = (2 + 0.5) + (1 + 2 * 0.5), 2 + 2 * 2
    assert doubly_robust(log, target, predicted, expected).mean() == (first + second) / 2


def test_a_users_answers_are_one_observation() -> None:
    values, user = np.array([0.0, 1.0, 2.0, 5.0]), np.arange(4)
    once = mean_by_user(values, user)
    assert mean_by_user(np.repeat(values, 9), np.repeat(user, 9)) == pytest.approx(once)
    assert mean_by_user(np.repeat(values, 9), np.arange(36)).high < once.high
    assert mean_by_user(values, np.zeros(4, np.int64)) == (2, -np.inf, np.inf)


def test_the_logged_policy_is_worth_what_it_earned() -> None:
    log, _ = logged()
    model = fit_reward_model(log, ITEMS)
    predicted = model.predicted(log)
    same = [f(log, log.propensity) for f in (inverse_propensity, self_normalized)]
    same.append(doubly_robust(log, log.propensity, predicted, predicted))
    for estimate in same:
        assert estimate.mean() == pytest.approx(on_policy(log).mean())


@pytest.mark.filterwarnings("ignore")  # of obp's own imports
@pytest.mark.parametrize("ranks", [1, 4])
def test_agrees_with_the_package_obp(ranks: int) -> None:
    obp = pytest.importorskip("obp.ope", reason="the package obp is not installed: its estimates are not compared")
    log, target = logged(ranks)
    flat = {"reward": log.reward.ravel(), "position": np.tile(np.arange(ranks), len(log.user))}
    theirs = obp.SlateIndependentIPS(len_list=ranks).estimate_policy_value(
        slate_id=np.repeat(np.arange(len(log.user)), ranks),
        pscore_item_position=log.propensity.ravel(),
        evaluation_policy_pscore_item_position=target.ravel(),
        **flat,
    )
    assert inverse_propensity(log, target).mean() == pytest.approx(theirs, abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_agrees_with_the_package_obp_at_one_rank() -> None:
    obp = pytest.importorskip("obp.ope", reason="the package obp is not installed: its estimates are not compared")
    log, _ = logged(ranks=1)
    random = np.random.default_rng(0)
    policy = random.dirichlet(np.ones(ITEMS), len(log.user))
    rewards = random.uniform(0, 1, (len(log.user), ITEMS))
    rows, item = np.arange(len(log.user)), log.item[:, 0]
    target, predicted = policy[rows, item][:, None], rewards[rows, item][:, None]
    given = {
        "reward": log.reward[:, 0],
        "action": item,
        "position": np.zeros(len(log.user), np.int64),
        "pscore": log.propensity[:, 0],
        "action_dist": policy[:, :, None],
        "estimated_rewards_by_reg_model": rewards[:, :, None],
    }
    expected = (policy * rewards).sum(axis=1, keepdims=True)
    ours = {
        "InverseProbabilityWeighting": inverse_propensity(log, target),
        "SelfNormalizedInverseProbabilityWeighting": self_normalized(log, target),
        "DoublyRobust": doubly_robust(log, target, predicted, expected),
    }
    for name, estimate in ours.items():
        theirs = getattr(obp, name)().estimate_policy_value(**given)
        assert estimate.mean() == pytest.approx(theirs, abs=1e-6), name


def test_intervals_hold_the_truth() -> None:
    found = {each.estimator: each for each in coverage(RUNS, USERS)}
    naive = found.pop(NAIVE)
    assert naive.covered < 0.5
    for each in found.values():
        assert each.covered >= BY_CHANCE, each
        assert abs(each.bias) < 4 * each.deviation / RUNS**0.5, each


def test_a_reward_model_knows_nothing_of_the_users_it_is_for() -> None:
    log, _ = logged()
    changed = np.where((log.user % FOLDS == 0)[:, None], 1 - log.reward, log.reward)
    before, after = (fit_reward_model(replace(log, reward=reward), ITEMS) for reward in (log.reward, changed))
    of_fold = log.user % FOLDS == 0
    np.testing.assert_array_equal(before.predicted(log)[of_fold], after.predicted(log)[of_fold])
    assert not np.allclose(before.predicted(log)[~of_fold], after.predicted(log)[~of_fold])


def test_what_the_log_could_not_show_is_refused() -> None:
    random = np.random.default_rng(1)
    shown = random.integers(0, 4, (2000, 1))
    log = Logged(np.arange(2000), shown, np.full((2000, 1), 0.25), shown.astype(np.float64))
    # The log shows four items; the policy would show the first of them in 60 %, and a fifth in 40 %.
    found = overlap(log, np.where(shown == 0, 0.6, 0.0))
    assert found.unsupported.low < 0.4 < found.unsupported.high
    assert "could not have shown" in found.refusal
    same = overlap(log, np.full((2000, 1), 0.25))
    assert same.is_supported
    assert not same.refusal


def test_what_the_log_perhaps_could_not_show_is_no_support() -> None:
    random = np.random.default_rng(1)
    shown = random.integers(0, 4, (400, 1))
    quarter, reward = np.full((400, 1), 0.25), np.full((400, 1), 2.0)
    log = Logged(np.arange(400), shown, quarter, reward)
    # The policy shows a fifth item in 4 %, which so few answers do not tell from more than 5 %.
    found = overlap(log, np.where(shown == 0, 0.66, 0.1))
    assert not found.refusal
    assert found.unsupported.low < 0.05 < found.unsupported.high
    assert not found.is_supported
    assert found.bias == pytest.approx(found.unsupported.high * 2)


def test_a_log_of_few_answers_is_refused() -> None:
    log, target = logged(answers=50)
    assert "at least 100 are needed" in overlap(log, target).refusal
    assert "tell as much as 0 " in overlap(log, np.zeros_like(target)).refusal


def test_a_few_longer_lists_do_not_make_the_others_unknown() -> None:
    log, _ = logged()
    longer = np.full((len(log.user), 2), -1)
    longer[0] = 3
    ones = np.ones_like(longer, np.float64)
    wide = Logged(
        user=log.user,
        item=np.hstack([log.item, longer]),
        propensity=np.hstack([log.propensity, ones]),
        reward=np.hstack([log.reward, ones * 0]),
    )
    target = np.hstack([log.propensity, ones * 0])
    assert overlap(wide, target).effective == pytest.approx(overlap(log, log.propensity).effective)
    assert not overlap(wide, target).refusal


def test_rare_outcomes_are_refused_and_have_no_interval() -> None:
    random = np.random.default_rng(2)
    answers = 3000
    log = Logged(
        user=np.arange(answers),
        item=random.integers(0, 4, (answers, 1)),
        propensity=np.full((answers, 1), 0.25),
        reward=np.zeros((answers, 1)),
    )
    target = np.where(log.item == 0, 0.7, 0.1)
    none = inverse_propensity(log, target)
    assert str(earned_by_user(none, log.user, effective_users(none, log.user))) == "0.0000 (no interval)"
    assert "as those of 0 users with an outcome; at least 10" in overlap(log, target).refusal
    # As many users have outcomes of equal, small weight: large ones are missing by chance.
    log.reward[np.flatnonzero(log.item != 0)[:12]] = 1.0
    assert effective_users(inverse_propensity(log, target), log.user) == pytest.approx(12)
    assert "as those of 6 users with an outcome; at least 10" in overlap(log, target).refusal


def test_few_outcomes_make_an_interval_wider_and_keep_it_above_0() -> None:
    clicked, user = (np.arange(3000) < 12).astype(np.float64), np.arange(3000)
    found, plain = earned_by_user(clicked, user, effective_users(clicked, user)), mean_by_user(clicked, user)
    assert 0 < plain.low < found.low < found.value < plain.high < found.high
    # Of 12 outcomes, three have nearly all of the weight.
    weighted = clicked * np.where(user < 3, 50.0, 1.0)
    assert np.isnan(earned_by_user(weighted, user, effective_users(weighted, user)).low)


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.5, np.nan])
def test_what_is_no_propensity_is_refused(propensity: float) -> None:
    log, _ = two_answers()
    with pytest.raises(ValueError, match="propensity: each must be above 0 and at most 1"):
        replace(log, propensity=np.full((2, 2), propensity))
