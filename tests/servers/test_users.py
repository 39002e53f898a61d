import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.users import Users

IDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6), unique=True)


def users(known: list[str]) -> Users:
    index_of = {user.encode(): index for index, user in enumerate(known, start=1)}
    ids = np.array(sorted(index_of), np.bytes_)
    index = np.array([index_of[user] for user in ids.tolist()], np.int64)
    width = max(1, ids.dtype.itemsize)
    raw = ids.astype(f"S{width}").view(np.uint8).reshape(len(known), width)
    return Users({"user_id": raw, "user_index": index})


@given(known=IDS, others=IDS)
def test_it_finds_what_a_dictionary_finds(known: list[str], others: list[str]) -> None:
    known = [user for user in known if user]  # the empty id is the anonymous user
    queried = [
        "",
        *known,
        *others,
        *(user + "!" for user in known),
        *(user[:-1] for user in known),
        "long" * 100,
        "ann\0",
    ]
    answer = users(known).index(np.array([[a.encode()] for a in queried], object))
    right = {user: index for index, user in enumerate(known, start=1)}
    assert answer[:, 0].tolist() == [right.get(user, 0) for user in queried]


@pytest.mark.parametrize(
    ("ids", "index", "message"),
    [
        ("ab", [1], "user_index does not fit user_id"),
        ("ba", [1, 2], "user_id is not ascending"),
        ("aa", [1, 2], "user_id is not ascending"),
        ("ab", [1, 3], "user_index is not from 1 to the number of users"),
        ("ab", [0, 1], "user_index is not from 1 to the number of users"),
    ],
)
def test_what_does_not_fit_together_is_refused(ids: str, index: list[int], message: str) -> None:
    raw = np.frombuffer(ids.encode(), np.uint8)[:, None]
    with pytest.raises(ValueError, match=message):
        Users({"user_id": raw, "user_index": np.array(index)})


def test_the_last_user_has_the_largest_index() -> None:
    assert users(["ann", "bob", "al"]).last == b"al"
    assert users([]).last == b""
