import numpy as np
import pytest

from tests.training.conftest import load_real
from tests.training.simulation.invented import NUM_USERS, dataset
from training.data.dataset import Dataset
from training.errors import TrainingError
from training.simulation.behavior import Behavior, Habits
from training.simulation.population import Population, population

ITEMS = [f"item {number}" for number in range(12)]


@pytest.fixture(scope="module")
def people() -> Population:
    return population(dataset(ITEMS), NUM_USERS, seed=0, dimensions=2)


def behavior(people: Population, length: int = 4, **habits: float) -> Behavior:
    still = {"item_boredom": 0.0, "genre_boredom": 0.0, "drift": 0.0}
    return Behavior(people, Habits(**{**still, **habits}), length)


def test_users_like_what_is_popular_and_what_they_did_before(people: Population) -> None:
    assert np.all(np.diff(people.appeal[: len(ITEMS)]) >= 0)
    every = np.tile(np.arange(len(ITEMS)), (len(people.users), 1))
    liking = people.liking(people.tastes, every)
    number = np.array([int(user.split()[1]) for user in people.users])
    own = (number[:, None] + np.arange(len(ITEMS))) % 2 == 0
    assert liking[own].mean() > liking[~own].mean() + 0.5


def test_the_same_seed_makes_the_same_users(people: Population) -> None:
    again = population(dataset(ITEMS), NUM_USERS, seed=0, dimensions=2)
    other = population(dataset(ITEMS), NUM_USERS, seed=1, dimensions=2)
    assert np.array_equal(again.tastes, people.tastes)
    assert not np.array_equal(other.tastes, people.tastes)


def test_liking_is_standardized_on_real_data() -> None:
    real: Dataset = load_real("ml-100k")
    people = population(real, 300, seed=0)
    items = np.tile(np.arange(len(people.items)), (300, 1))
    liking = people.liking(people.tastes, items)
    assert liking.mean() == pytest.approx(0, abs=0.1)
    assert liking.std() == pytest.approx(1, abs=0.15)


def test_clicks_come_as_often_as_expected(people: Population) -> None:
    lists = np.tile([11, 3, people.unknown, people.nothing], (len(people.users), 1))
    users, random = np.arange(len(people.users)), np.random.default_rng(0)
    acting = behavior(people, click_rate=0.3)
    expected = acting.clicks(users, lists).mean(axis=0)
    reactions = [acting.react(users, lists, random) for _ in range(400)]
    clicked = np.mean([reaction.clicked for reaction in reactions], axis=(0, 1))
    assert clicked == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(400 * len(users)))
    assert expected[3] == clicked[3] == 0
    assert 0 < expected[2] < 0.3
    assert not any(np.any(reaction.clicked & ~reaction.seen) for reaction in reactions)


def test_ranks_further_down_are_looked_at_less(people: Population) -> None:
    lists = np.tile(np.arange(4), (len(people.users), 1))
    users, random = np.arange(len(people.users)), np.random.default_rng(0)
    acting = behavior(people, position_bias=1.0)
    seen = np.mean([acting.react(users, lists, random).seen for _ in range(400)], axis=(0, 1))
    assert seen == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4], abs=0.02)


@pytest.mark.parametrize(("habit", "same", "other"), [("item_boredom", 0, 2), ("genre_boredom", 0, 2)])
def test_what_is_seen_often_is_clicked_less(people: Population, habit: str, same: int, other: int) -> None:
    users, random = np.arange(len(people.users)), np.random.default_rng(0)
    acting = behavior(people, length=1, **{habit: 1.0})
    seen, beside = (np.full((len(users), 1), item) for item in (same, other))
    before = acting.clicks(users, seen), acting.clicks(users, beside)
    acting.react(users, seen, random)
    assert np.all(acting.clicks(users, seen) < before[0])
    assert np.all(acting.clicks(users, beside) < before[1]) == (habit == "genre_boredom")
    odd = np.full((len(users), 1), 1)
    assert np.all(acting.clicks(users, odd) > 0)


def test_tastes_drift_and_stay_as_strong_as_they_are(people: Population) -> None:
    users, random = np.arange(len(people.users)), np.random.default_rng(0)
    acting, lists = behavior(people, drift=0.2), np.full((len(people.users), 4), people.nothing)
    for _ in range(100):
        acting.react(users, lists, random)
    alike = np.corrcoef(acting.tastes.ravel(), people.tastes.ravel())[0, 1]
    assert abs(alike) < 0.3
    assert acting.tastes.std() == pytest.approx(1, abs=0.25)


def test_ratings_are_of_what_is_clicked_and_follow_taste(people: Population) -> None:
    lists = np.tile([0, 11, 1, 10], (len(people.users), 1))
    users, random = np.arange(len(people.users)), np.random.default_rng(0)
    acting = behavior(people, click_rate=0.5, rating_share=1.0)
    liking = people.liking(people.tastes, lists)
    reactions = [acting.react(users, lists, random) for _ in range(50)]
    for reaction in reactions:
        assert np.array_equal(np.isfinite(reaction.ratings), reaction.clicked)
    rated = np.concatenate([reaction.ratings[reaction.clicked] for reaction in reactions])
    likings = np.concatenate([liking[reaction.clicked] for reaction in reactions])
    assert np.all((rated >= 0) & (rated <= 1))
    assert np.corrcoef(rated, likings)[0, 1] > 0.5


def test_too_little_data_is_refused() -> None:
    with pytest.raises(TrainingError, match="invented: .* are too few to simulate; at least 4 of each"):
        population(dataset(ITEMS[:2]), NUM_USERS, seed=0)
