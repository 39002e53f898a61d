import time

import pytest

from tests.training.conftest import Write
from training.data.load import load_dataset
from training.data.validate import validate

EVENTS = "user,item,rating,time\nann,1,4,100\nann,2,,90\nbob,1,2.5,80\n"
ITEMS = "id,title\n1,One\n2,Two\n"


def problems(folder_files: dict[str, str | bytes], write: Write) -> dict[str, tuple[int, list[str], bool]]:
    files: dict[str, str | bytes] = {"events.csv": EVENTS, "items.csv": ITEMS}
    found = validate(load_dataset(write(files | folder_files)), 1, 5)
    return {problem.name: (problem.count, problem.examples, problem.harmful) for problem in found}


def test_a_sound_data_set_has_no_problems(write: Write) -> None:
    assert problems({}, write) == {}


@pytest.mark.parametrize(
    ("line", "name", "example"),
    [
        ("bob,2,6,95", "rating outside 1 to 5", "user bob, item 2: 6"),
        ("bob,2,0.5,95", "rating outside 1 to 5", "user bob, item 2: 0.5"),
        (f"bob,2,3,{int(time.time()) + 172_800}", "time in the future", "user bob, item 2: "),
    ],
    ids=range(3),
)
def test_what_would_corrupt_training_is_harmful(write: Write, line: str, name: str, example: str) -> None:
    ((found, (count, examples, harmful)),) = problems({"events.csv": f"{EVENTS}{line}\n"}, write).items()
    assert found.startswith(name)
    assert (count, harmful) == (1, True)
    assert examples[0].startswith(example)


def test_what_is_only_missing_is_a_note(write: Write) -> None:
    files: dict[str, str | bytes] = {
        "items.csv": "id,title\n1,One\n2,\n",
        "users.csv": "user\nann\nbob\neve\n",
        "posters/1.jpg": b"no image",
    }
    found = problems(files | {"events.csv": f"{EVENTS}bob,1,3,95\n"}, write)
    assert {name: (count, harmful) for name, (count, _, harmful) in found.items()} == {
        "user and item more than once": (1, False),
        "user without events": (1, False),
        "item without title, genres and overview": (1, False),
        "unreadable poster": (1, False),
    }
    assert found["user without events"][1] == ["user eve"]
    assert "posters/1.jpg" in found["unreadable poster"][1][0]


def test_times_that_are_an_order_may_begin_at_0_and_dates_may_not(write: Write) -> None:
    order = f"{EVENTS}bob,2,3,0\n"
    assert problems({"events.csv": order}, write) == {}
    dates = f"{order}ann,1,4,1600000000\n"
    assert problems({"events.csv": dates}, write)["time of 0 among dates"] == (1, ["user bob, item 2: 0"], True)


def test_only_the_first_examples_are_kept(write: Write) -> None:
    many = "".join(f"bob,{item},9,95\n" for item in range(3, 9))
    count, examples, _ = problems({"events.csv": EVENTS + many}, write)["rating outside 1 to 5 (--lowest, --highest)"]
    assert (count, len(examples)) == (6, 3)
