"""Folders to read: tiny ones written here, and the real ones beside the repository."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from training.data.dataset import Dataset
from training.data.load import load_dataset

REAL = Path(__file__).parents[3] / "shared" / "data"

settings.register_profile("no timing", deadline=None)
settings.load_profile("no timing")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write({"events.csv": "user,..."}) makes a folder of these files; text is written as UTF-8."""

    def write_files(files: dict[str, str | bytes], name: str = "mine") -> Path:
        folder = tmp_path / name
        for file, content in files.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return write_files


@pytest.fixture(scope="session", params=["ml-100k", "ml-1m"])
def real(request: pytest.FixtureRequest) -> Dataset:
    """A real MovieLens data set; skips where it is not beside the repository."""
    return load_real(request.param)


@cache
def load_real(name: str) -> Dataset:
    return load_dataset(real_folder(name))


def real_folder(name: str) -> Path:
    folder = REAL / name
    if not folder.is_dir():
        pytest.skip(f"NOT CHECKED ON REAL DATA: there is no {folder}")
    return folder
