from pathlib import Path

import polars as pl
import pytest

from fusion_gateway.catalog.popularity_file import load_popularity
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Repository
from tests.fusion_gateway.world import publish

WHOLE = {"number": [1, 2], "log_share": [-1.0, -2.0], "age=25": [0.5, 0.0]}
BROKEN = [
    ({"number": [1, 2]}, "not a table of popularity"),
    ({**WHOLE, "number": [2, 1]}, "every number once, sorted"),
    ({**WHOLE, "number": [1, None]}, "every number once, sorted"),
    ({**WHOLE, "log_share": [-1.0, float("nan")]}, "finite values"),
    ({**WHOLE, "log_share": [{"a": 1.0}, {"a": 2.0}]}, "not a table of popularity|finite values"),
    ({**WHOLE, "age=25": [[0.5], []]}, "not a table of popularity"),
    ({**WHOLE, "age=25": ["a", "b"]}, "not a table of popularity"),
    ({"number": range(2_000_001)}, "2000001 rows of popularity are too many; at most 2000000"),
    ({"number": range(300_000), **{f"g={n}": [0.0] * 300_000 for n in range(166)}}, "more than 50000000 values"),
]


def popularity(folder: Path, columns: dict[str, object]) -> pl.DataFrame:
    table = pl.DataFrame(columns)
    table.write_parquet(folder / "popularity.parquet")
    publish(folder / "repository", "fusion", {"popularity.parquet": (folder / "popularity.parquet").read_bytes()})
    return table


def test_a_whole_one_is_read(tmp_path: Path) -> None:
    popularity(tmp_path, dict(WHOLE))
    found = load_popularity(Repository(tmp_path / "repository").open("fusion", 1))
    assert found.scores(found.number, ["age=25"]).tolist() == [-0.5, -2.0]


@pytest.mark.parametrize(("columns", "message"), BROKEN)
def test_a_broken_one_is_refused(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    popularity(tmp_path, columns)
    with pytest.raises(ArtifactError, match=message):
        load_popularity(Repository(tmp_path / "repository").open("fusion", 1))
