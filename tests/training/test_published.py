"""Files that are small, and declare much."""

import io
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.errors import TrainingError
from training.published import read_arrays, read_table, read_text


def test_what_was_written_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), names=np.array(["ä"]))
    arrays = read_arrays(tmp_path / "a.npz")
    assert (arrays["x"].tolist(), arrays["names"].tolist()) == ([0, 1, 2], ["ä"])
    pl.DataFrame({"n": [1, 2], "m": [3, 4]}).write_parquet(tmp_path / "a[1].parquet")
    assert read_table(tmp_path / "a[1].parquet", ["m"]).rows() == [(3,), (4,)]


def test_a_table_of_too_many_rows_or_without_a_column(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pl.select(number=pl.repeat(0, 5_000_001)).write_parquet(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(TrainingError, match=r"items\.parquet has 5,000,001 rows, more than 5,000,000"):
        read_table(path)
    with pytest.raises(TrainingError, match=r"items\.parquet cannot be read: .*id"):
        read_table(path, ["id"], max_rows=10_000_000)


def test_arrays_that_declare_more_than_they_hold(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(tmp_path / "golden.npz", "w") as archive:
        archive.writestr("score.npy", header.getvalue())
    with pytest.raises(TrainingError, match=r"golden\.npz declares arrays of 8,796,093,022,208 bytes, more than"):
        read_arrays(tmp_path / "golden.npz")


@pytest.mark.parametrize("content", [b"", b"PK", b"nothing"])
def test_arrays_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "golden.npz").write_bytes(content)
    with pytest.raises(TrainingError, match=r"golden\.npz cannot be read"):
        read_arrays(tmp_path / "golden.npz")


def test_a_text_that_is_too_long_or_missing(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("12345")
    with pytest.raises(TrainingError, match=r"manifest\.json has 5 bytes, more than 4"):
        read_text(tmp_path / "manifest.json", 4)
    with pytest.raises(TrainingError, match="nothing is missing"):
        read_text(tmp_path / "nothing")
