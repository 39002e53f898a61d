import numpy as np
import pytest

from fusion_gateway.loop.answer_cap import MAX_ANSWERS_PER_USER
from fusion_gateway.loop.evidence import Evidence, Observed, Posterior
from fusion_gateway.loop.metrics import DAY
from fusion_gateway.loop.thompson import beyond, percent, probability_best

HALF_LIFE = 7 * DAY
START = 1_800_000_000.0


def of_users(
    rates: dict[str, float], users: int, answers: int = 10, probability: float = 0.5, seed: int = 0
) -> Evidence:
    """Each policy has users of its own, whose rates vary."""
    random = np.random.default_rng(seed)
    evidence = Evidence(rates, HALF_LIFE)
    for policy, rate in rates.items():
        for user in range(users):
            own = random.gamma(4, rate / 4)
            for reward in random.poisson(own, answers).tolist():
                evidence.add(Observed(policy, probability, f"{policy} {user}", START, reward))
    return evidence


def test_the_posterior_is_as_wide_as_means_of_new_users_vary() -> None:
    equal = {"a": 1.0, "b": 1.0}
    found = [of_users(equal, 200, seed=seed).posteriors()["a"] for seed in range(60)]
    means = [posterior.mean for posterior in found]
    deviation = float(np.mean([posterior.deviation for posterior in found]))
    assert np.mean(means) == pytest.approx(1.0, abs=0.02)
    assert np.std(means) == pytest.approx(deviation, rel=0.3)
    # Poisson's variance and that of the users: 1 / 10 and 1 / 4 of the squared rate.
    assert deviation == pytest.approx(np.sqrt((0.1 + 0.25) / 200), rel=0.15)


def test_what_differs_is_found_and_what_does_not_is_not() -> None:
    better = probability_best(of_users({"a": 1.0, "b": 1.3}, users=300).posteriors())
    assert better["b"] > 0.99
    both = {"a": 1.0, "b": 1.0}
    many = [of_users(both, 100, seed=seed).posteriors() for seed in range(100)]
    equal = [probability_best(posteriors)["a"] for posteriors in many]
    # Of equal policies the probability is uniform: it says "surely" as rarely as it may.
    assert np.mean(np.array(equal) > 0.95) == pytest.approx(0.05, abs=0.06)
    assert np.mean(equal) == pytest.approx(0.5, abs=0.09)


def test_shares_that_change_while_rewards_change_do_not_bias() -> None:
    """Both policies are equal, but the days on which b has many users are poor ones."""
    random, evidence = np.random.default_rng(0), Evidence("ab", 365 * DAY)
    for day, (share_of_b, rate) in enumerate([(0.2, 2.0), (0.8, 0.5)]):
        for user in range(4000):
            policy = "b" if random.random() < share_of_b else "a"
            probability = share_of_b if policy == "b" else 1 - share_of_b
            evidence.add(Observed(policy, probability, f"{user}", START + day * DAY, int(random.poisson(rate))))
    a, b = evidence.posteriors().values()
    assert a.mean == pytest.approx(1.25, abs=0.1)
    assert b.mean == pytest.approx(1.25, abs=0.1)


def test_old_answers_count_less() -> None:
    evidence = Evidence("ab", HALF_LIFE)
    for policy in "ab":
        for user in range(200):
            evidence.add(Observed(policy, 0.5, f"{user}", START, 1.0 + user % 2))
    for user in range(200):
        evidence.add(Observed("a", 0.5, f"{user}", START + HALF_LIFE, 4.0 + user % 2))
        evidence.add(Observed("b", 0.5, f"{user}", START + HALF_LIFE, 1.0 + user % 2))
    posteriors = evidence.posteriors()
    assert posteriors["a"].mean == pytest.approx((1.5 + 2 * 4.5) / 3, abs=0.1)
    assert posteriors["b"].mean == pytest.approx(1.5, abs=0.1)
    for policy in "ab":
        evidence.add(Observed(policy, 0.5, "late", START + 500 * HALF_LIFE, 1.0))
    assert all(np.isfinite(posterior).all() for posterior in evidence.posteriors().values())


def test_a_program_counts_as_a_busy_user() -> None:
    evidence = of_users({"a": 1.0, "b": 1.0}, users=100)
    before = evidence.posteriors()["a"]
    for _ in range(100 * MAX_ANSWERS_PER_USER):
        evidence.add(Observed("a", 0.5, "robot", START, 10.0))
    assert evidence.answers["a"] == 1000 + MAX_ANSWERS_PER_USER
    assert abs(evidence.posteriors()["a"].mean - before.mean) < 3 * evidence.posteriors()["a"].deviation


def test_answers_that_were_not_drawn_say_nothing() -> None:
    evidence = Evidence("ab", HALF_LIFE)
    evidence.add(Observed("a", 1.0, "anna", START, 5.0))
    evidence.add(Observed("c", 0.5, "anna", START, 5.0))
    assert evidence.answers == {"a": 0, "b": 0}
    assert evidence.posteriors() == {}


def test_a_policy_without_answers_may_be_the_best() -> None:
    evidence = Evidence("ab", HALF_LIFE)
    for user in range(500):
        evidence.add(Observed("a", 0.5, f"{user}", START, user % 3))
    posteriors = evidence.posteriors()
    assert posteriors["b"].deviation > 3 * posteriors["a"].deviation
    assert 0.3 < probability_best(posteriors)["b"] < 0.7


def test_the_probability_of_being_best_is_that_of_the_normal_distribution() -> None:
    best = probability_best({"a": Posterior(0.0, 0.6), "b": Posterior(1.0, 0.8)})
    assert best["b"] == pytest.approx(0.8413, abs=0.01)  # of a difference of one deviation
    assert sum(best.values()) == pytest.approx(1)
    assert best == probability_best({"a": Posterior(0.0, 0.6), "b": Posterior(1.0, 0.8)})


def test_floors_leave_each_policy_its_part() -> None:
    assert percent({"a": 1.0, "b": 0.0, "c": 0.0}, 5) == {"a": 90, "b": 5, "c": 5}
    assert percent({"a": 0.5, "b": 0.5}, 0) == {"a": 50, "b": 50}
    assert percent({"a": 1.0}, 5) == {"a": 100}
    assert percent({"a": 1.0, "b": 0.0}, 60) == {"a": 50, "b": 50}


def test_a_guardrail_stops_what_is_surely_beyond_it() -> None:
    posteriors = {"control": Posterior(1.0, 0.05), "worse": Posterior(1.6, 0.05), "unsure": Posterior(1.6, 0.3)}
    assert beyond(posteriors, "control", 1.2, above=True) == ["worse"]
    assert beyond(posteriors, "control", 1.7, above=True) == []
    assert beyond({**posteriors, "poor": Posterior(0.5, 0.05)}, "control", 0.9, above=False) == ["poor"]


@pytest.mark.parametrize("deviation", [0.0005, 0.3])
def test_what_some_look_finds_by_chance_stops_nothing(deviation: float) -> None:
    """Somewhat more than three deviations, as one of very many looks has."""
    posteriors = {"control": Posterior(1.0, 0.0), "even": Posterior(1.2 + 3.2 * deviation, deviation)}
    assert beyond(posteriors, "control", 1.2, above=True) == []


def test_next_pages_add_to_the_first_ones() -> None:
    evidence = Evidence("ab", HALF_LIFE)
    for user in range(300):
        for policy in "ab":
            evidence.add(Observed(policy, 0.5, f"{user}", START, 1.0 + user % 2))
        evidence.add(Observed("b", 0.5, f"{user}", START, 1.0, units=0))
    found = evidence.posteriors()
    assert found["b"].mean == pytest.approx(found["a"].mean + 1, rel=0.05)
    assert evidence.answers == {"a": 300, "b": 300}


def test_ratings_are_judged_by_their_mean() -> None:
    """Policy b is rated three times as often as a, and half as high; an answer without ratings tells nothing."""
    evidence = Evidence("ab", HALF_LIFE)
    for user in range(300):
        evidence.add(Observed("a", 0.5, f"{user}", START, 4.0 + user % 2, units=1))
        evidence.add(Observed("b", 0.5, f"{user}", START, 6.0 + user % 2, units=3))
        evidence.add(Observed("b", 0.5, f"{user} more", START, 0.0, units=0))
    found = evidence.posteriors()
    assert found["a"].mean == pytest.approx(4.5, rel=0.05)
    assert found["b"].mean == pytest.approx(6.5 / 3, rel=0.05)
    assert evidence.answers == {"a": 300, "b": 300}
