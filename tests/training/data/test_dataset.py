import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from training.data.dataset import EVENTS, ITEMS, USERS, assemble, number_items

IDS = st.lists(
    st.sampled_from(["1", "2", "7", "07", "0", "-3", "b", "c", "tt9", "é", "99999999999999999999"]), unique=True
)


def numbers(ids: list[str], existing: dict[str, int]) -> dict[str, int]:
    return dict(number_items(pl.Series(ids, dtype=pl.String), existing).iter_rows())


def test_whole_numbers_keep_their_value_and_others_follow_in_order() -> None:
    assert numbers(["b", "7", "a", "07"], {}) == {"b": 8, "7": 7, "a": 9, "07": 10}


def test_a_number_that_is_taken_is_not_given_twice() -> None:
    assert numbers(["b", "3", "4"], {"b": 3}) == {"b": 3, "3": 5, "4": 4}


@given(IDS, IDS)
def test_numbers_are_distinct_and_append_only(first: list[str], later: list[str]) -> None:
    before = numbers(first, {})
    after = numbers(later, before)
    assert all(after[id] == before[id] for id in later if id in before)
    assert all(number >= 1 for number in after.values())
    together = before | after
    assert len(set(together.values())) == len(together)


def test_frames_are_completed_and_items_numbered() -> None:
    events = pl.DataFrame(
        {
            "user": ["u", "v"],
            "item": ["x", "2"],
            "rating": [1.0, None],
            "time": [5, 6],
        }
    )
    items = pl.DataFrame({"id": ["x", "3", "2"], "title": [None, "", "Two"]})
    dataset = assemble("d", events, items, pl.DataFrame({"user": ["u"]}))
    assert dataset.events.schema == EVENTS
    assert dataset.items.schema == ITEMS
    assert dataset.users is not None
    assert dataset.users.schema == USERS
    assert dataset.events["item"].to_list() == [4, 2]
    assert dataset.items.select("number", "id", "title").rows() == [
        (2, "2", "Two"),
        (3, "3", "3"),
        (4, "x", "x"),
    ]


def test_fingerprint_follows_the_content_only() -> None:
    events = pl.DataFrame({"user": ["u"], "item": ["2"], "rating": [1.0], "time": [5]})
    items = pl.DataFrame({"id": ["2"], "title": ["Two"], "poster": ["/here/2.jpg"]})
    original = assemble("d", events, items, None).fingerprint
    assert assemble("other", events, items.with_columns(poster=pl.lit("/there.jpg")), None).fingerprint == original
    changed = [
        assemble("d", events.with_columns(rating=pl.lit(2.0)), items, None),
        assemble("d", events.with_columns(user=pl.lit("v")), items, None),
        assemble("d", events.with_columns(time=pl.lit(6)), items, None),
        assemble("d", events, items.with_columns(title=pl.lit("Too")), None),
        assemble("d", events, items.with_columns(poster=pl.lit("")), None),
    ]
    assert len({original, *(dataset.fingerprint for dataset in changed)}) == 6
