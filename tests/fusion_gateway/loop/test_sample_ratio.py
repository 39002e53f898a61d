"""Whether policies have the users that their probabilities promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fusion_gateway.loop.sample_ratio import Assigned, chi_square_tail, sample_ratio_p


def of_constant(users: int, probability: float) -> Assigned:
    return Assigned(users, users / probability, users / probability**2)


def known(policies: list[Assigned]) -> float:
    found = sample_ratio_p([policies])
    assert found is not None
    return found


CHI_SQUARE_95 = {1: 3.841459, 2: 5.991465, 3: 7.814728, 4: 9.487729, 10: 18.307038, 11: 19.675138}
"""By degrees of freedom."""


@pytest.mark.parametrize(("degrees", "statistic"), CHI_SQUARE_95.items())
def test_tails_are_those_of_tables(degrees: int, statistic: float) -> None:
    assert chi_square_tail(statistic, degrees) == pytest.approx(0.05, abs=1e-6)
    assert chi_square_tail(0, degrees) == 1


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0.01, 0.99))
def test_two_policies_have_pearsons_test(one: int, other: int, probability: float) -> None:
    found = sample_ratio_p([[of_constant(one, probability), of_constant(other, 1 - probability)]])
    users = one + other
    expected = users * probability
    of_smaller = users - expected if one >= other else expected
    if min(one, other) == 0 or of_smaller < 10:
        assert found is None
        return
    excess = (one - expected) ** 2
    pearson = excess / expected + excess / (users - expected)
    assert found == pytest.approx(math.erfc(math.sqrt(pearson / 2)), rel=1e-6, abs=1e-12)


def test_three_policies_have_pearsons_test() -> None:
    users, probabilities = [480, 330, 190], [0.5, 0.3, 0.2]
    found = known([of_constant(*each) for each in zip(users, probabilities, strict=True)])
    expected = 1000 * np.array(probabilities)
    pearson = ((np.array(users) - expected) ** 2 / expected).sum()
    assert found == pytest.approx(math.exp(-pearson / 2))


def test_lost_users_are_noticed() -> None:
    assert known([of_constant(5000, 0.5), of_constant(4990, 0.5)]) > 0.5
    assert known([of_constant(5000, 0.5), of_constant(4600, 0.5)]) < 0.001
    # A third policy's users have no answers at all.
    assert known([of_constant(5000, 0.5), of_constant(3000, 0.3)]) < 0.001


@pytest.mark.parametrize("loses", [False, True])
def test_probabilities_may_change_meanwhile(loses: bool) -> None:
    """Of 300 runs in which they do, about 30 have p below 0.1; nearly all where every tenth user of one is lost."""
    random = np.random.default_rng(0)
    below = 0
    for _ in range(300):
        first = random.uniform(0.1, 0.6, 2000)
        is_first = random.random(2000) < first
        if loses:
            lost = is_first & (random.random(2000) < 0.1)
            first, is_first = first[~lost], is_first[~lost]
        policies = []
        for came, probability in ((is_first, first), (~is_first, 1 - first)):
            inverse = 1 / probability[came]
            policies.append(Assigned(int(came.sum()), inverse.sum(), (inverse**2).sum()))
        below += known(policies) < 0.1
    assert below > 150 if loses else 15 <= below <= 48


def test_one_policy_is_not_tested() -> None:
    assert sample_ratio_p([]) is None
    assert sample_ratio_p([[]]) is None
    assert sample_ratio_p([[of_constant(10, 0.5)]]) is None


def test_what_gateways_drew_by_different_policies_is_not_tested() -> None:
    assert sample_ratio_p([[of_constant(100, 0.5), of_constant(50, 0.5), of_constant(50, 0.5)]]) is None


def test_each_split_is_tested_by_itself() -> None:
    early = [of_constant(500, 0.5), of_constant(500, 0.5)]
    late = [of_constant(300, 1 / 3), of_constant(300, 1 / 3), of_constant(300, 1 / 3)]
    assert sample_ratio_p([early, late]) == 1
    lost = [*late[:2], of_constant(200, 1 / 3)]
    assert known(lost) < 0.001
    assert 0 < known(lost) < (sample_ratio_p([early, lost]) or 0) < 0.001


SMALL = [[0.8] + [0.02] * 10, [0.81] + [0.01] * 19, [0.98, 0.01, 0.01]]


@pytest.mark.parametrize("shares", SMALL)
@pytest.mark.parametrize("users", [300, 3000])
def test_small_policies_that_come_one_after_the_other_are_no_alarm(shares: list[float], users: int) -> None:
    random = np.random.default_rng(0)
    found = [sample_ratio_p(as_they_come(random.choice(len(shares), users, p=shares), shares)) for _ in range(100)]
    assert min(p or 1.0 for p in found) > 0.001


def as_they_come(drawn: NDArray[np.int64], shares: list[float]) -> list[list[Assigned]]:
    """A split from the first user of each policy on, as no policy is known before that."""
    _, starts = np.unique(drawn, return_index=True)
    splits = np.split(drawn, np.sort(starts)[1:])
    return [of_split(split, shares) for split in splits]


def of_split(drawn: NDArray[np.int64], shares: list[float]) -> list[Assigned]:
    counts = np.bincount(drawn, minlength=len(shares)).tolist()
    return [of_constant(count, share) for count, share in zip(counts, shares, strict=True) if count]
