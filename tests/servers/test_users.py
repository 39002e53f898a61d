from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from servers.users import Users

IDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6), unique=True)


def users(folder: Path, known: list[str]) -> Users:
    ids = np.array(sorted(user.encode() for user in known), np.bytes_)
    index = np.array([1 + [user.encode() for user in known].index(each) for each in ids.tolist()], np.int64)
    width = max(1, ids.dtype.itemsize)
    raw = ids.astype(f"S{width}").view(np.uint8).reshape(len(known), width)
    save_file({"user_id": raw, "user_index": index}, folder / "users.safetensors")
    return Users(folder / "users.safetensors")


@given(known=IDS, others=IDS)
def test_it_finds_what_a_dictionary_finds(
    tmp_path_factory: pytest.TempPathFactory, known: list[str], others: list[str]
) -> None:
    known = [user for user in known if user]  # the empty id is the anonymous user
    asked = [
        "",
        *known,
        *others,
        *(user + "!" for user in known),
        *(user[:-1] for user in known),
        "long" * 100,
        "ann\0",
    ]
    answer = users(tmp_path_factory.mktemp("users"), known).index(np.array([[a.encode()] for a in asked], object))
    right = {user: index for index, user in enumerate(known, start=1)}
    assert answer[:, 0].tolist() == [right.get(user, 0) for user in asked]


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    save_file({"user_id": np.zeros((2, 3), np.uint8), "user_index": np.array([1])}, tmp_path / "u")
    with pytest.raises(ValueError, match="does not fit"):
        Users(tmp_path / "u")
