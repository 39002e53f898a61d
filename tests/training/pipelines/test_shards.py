"""Lists for everybody that several runs share out."""

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from tests.load import tiny_system
from training.__main__ import app
from training.errors import TrainingError
from training.pipelines.recommend import Shard


def test_shards_are_all_lists_and_none_twice(tmp_path: Path) -> None:
    repository = tiny_system.publish(tmp_path / "repository")
    events = tiny_system.write_events(tmp_path / "events") / "events.csv"

    def lists(name: str, *flags: str) -> pl.DataFrame:
        where = ["--events", str(events), "--repository", str(repository), "--out", str(tmp_path / name)]
        result = CliRunner().invoke(app, ["recommend", *where, "--k", "5", *flags])
        assert result.exit_code == 0, result.output
        return pl.read_parquet(tmp_path / name).drop("score").sort("user", "rank")

    shards = [lists(f"{index}.parquet", "--shard", f"{index}/3") for index in range(3)]
    assert [shard["user"].n_unique() for shard in shards] == [4, 1, 2]
    assert pl.concat(shards).sort("user", "rank").equals(lists("all.parquet"))
    written = (tmp_path / "0.parquet").stat().st_mtime_ns
    lists("0.parquet", "--shard", "0/3", "--skip-existing")
    assert (tmp_path / "0.parquet").stat().st_mtime_ns == written


def test_shares_are_the_same_on_every_machine() -> None:
    users = [user for user in "012345678" if Shard(1, 3).has(user)]
    assert "".join(users) == "034678"


@pytest.mark.parametrize("shard", ["3/3", "-1/3", "1", "0/0", "a/b"])
def test_a_shard_that_there_is_not(shard: str) -> None:
    with pytest.raises(TrainingError, match="--shard: .* is not INDEX/COUNT"):
        Shard.parse(shard)
