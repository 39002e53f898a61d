"""Biased factorization by gradient descent on matrices whose truth is known."""

import numpy as np
import pytest

from training.errors import TrainingError
from training.evaluation.ranking_metrics import rmse
from training.features.interactions import Floats, Ints
from training.models.svd import Descent, Svd, train_svd
from training.models.tables import LowRank, whole

USERS, ITEMS = 40, 30


@pytest.fixture(scope="module")
def ratings() -> tuple[Ints, Ints, Floats]:
    """All cells of a matrix of biases and one factor, in random order."""
    random = np.random.default_rng(0)
    table = 3 + random.normal(0, 0.5, (USERS, 1)) + random.normal(0, 0.5, ITEMS)
    table = table + random.normal(size=(USERS, 1)) * random.normal(size=ITEMS)
    cells = random.permutation(USERS * ITEMS)
    return cells // ITEMS, cells % ITEMS, table.ravel()[cells].astype(np.float32)


def trained(ratings: tuple[Ints, Ints, Floats], **options: float) -> Svd:
    choices = {"factors": 4, "epochs": 200, "learning_rate": 0.02, "regularization": 0.001, "seed": 0} | options
    return train_svd(ratings, (USERS, ITEMS), Descent(**choices))  # type: ignore[arg-type]


def test_what_was_left_out_is_predicted(ratings: tuple[Ints, Ints, Floats]) -> None:
    user, item, rating = ratings
    seen = (user[:900], item[:900], rating[:900])
    model = trained(seen)
    assert rmse(model.predict(user[900:], item[900:]), rating[900:]) < 0.3
    assert rating.std() > 1


def test_the_table_is_the_predictions(ratings: tuple[Ints, Ints, Floats]) -> None:
    model = trained(ratings, epochs=3)
    table = whole(model.table())
    np.testing.assert_allclose(table[ratings[:2]], model.predict(*ratings[:2]), atol=1e-5)


def test_a_table_with_too_many_cells_is_not_written_out(ratings: tuple[Ints, Ints, Floats]) -> None:
    model = trained(ratings, epochs=3)
    table = model.table(largest=USERS * ITEMS - 1)
    assert isinstance(table, LowRank)
    np.testing.assert_allclose(whole(table), whole(model.table()), atol=1e-5)


def test_one_rating_moves_its_own_parameters_as_the_equation_says() -> None:
    one_rating = (np.array([1]), np.array([0]), np.array([4], np.float32))
    model = train_svd(one_rating, (2, 2), Descent(1, 1, 0.1, 0.5, seed=0))
    fresh = np.random.default_rng(0)
    p, q = (fresh.normal(0, 0.1, (2, 1)).astype(np.float32) for _ in range(2))
    error = -p[1, 0] * q[0, 0]
    assert model.user_bias[1] == pytest.approx(0.1 * error)
    user, item = p[1, 0], q[0, 0]
    assert model.user[1, 0] == pytest.approx(user + 0.1 * (error * item - 0.5 * user))
    assert model.item[0, 0] == pytest.approx(item + 0.1 * (error * user - 0.5 * item))
    np.testing.assert_array_equal(model.user[0], p[0])


def test_too_large_a_step_stops_with_a_message(ratings: tuple[Ints, Ints, Floats]) -> None:
    with np.errstate(all="ignore"), pytest.raises(TrainingError, match="diverged at learning rate 50"):
        trained(ratings, learning_rate=50.0)
