import numpy as np
import pytest

from tests.load import gateway, model_server
from tests.load.conftest import Tiny
from tests.load.tiny_system import USERS
from tests.load.traffic import Traffic


@pytest.fixture
def traffic(tiny: Tiny) -> Traffic:
    return Traffic(tiny.data, tiny.repository, seed=0)


def test_every_user_comes_with_her_own_history(traffic: Traffic) -> None:
    histories = {user.id: user.item.tolist() for user in traffic.users}
    assert histories == {f"user {user}": list(range(1, user + 2)) for user in range(USERS)}
    user = next(user for user in traffic.users if user.id == "user 2")
    assert user.item_id == ["1", "2", "3"]
    np.testing.assert_array_equal(user.rating, [4, np.nan, 4])
    assert user.time.tolist() == [1000, 1001, 1002]


def test_requests_differ_and_cover_all_users(traffic: Traffic) -> None:
    prepared = model_server.prepare(traffic, "rating", candidates=5, k=3)
    assert len(set(prepared)) == len(prepared) >= USERS
    requests = gateway.prepare(traffic, k=4, stored_history=False)
    assert {request.user_id for request in requests} == {f"user {user}" for user in range(USERS)}
    assert {event.HasField("rating") for request in requests for event in request.history} == {True, False}


def test_candidates_are_different_items(traffic: Traffic) -> None:
    assert sorted(traffic.candidates(500)) == sorted(traffic.numbers)
    assert len(set(traffic.candidates(4).tolist())) == 4
