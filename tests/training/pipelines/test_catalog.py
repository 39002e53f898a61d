"""A published catalog can be read by a gateway, whatever the data."""

import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fusion_gateway.catalog.catalog import MAX_GENRES, load_catalog, open_catalog
from fusion_gateway.catalog.rating_scale import RatingScale
from fusion_gateway.catalog.text_files import TEXT_FILES
from servers.runtime.repository import Repository
from training.__main__ import app
from training.pipelines.catalog import rating_scale


def test_texts_and_genres_of_any_length_are_cut_to_what_a_gateway_takes(tmp_path: Path) -> None:
    genres = "|".join([f"genre {number}" for number in range(150)] + ["g" * 500])
    data, repository = tmp_path / "data", tmp_path / "repository"
    data.mkdir()
    (data / "items.csv").write_text(f"id,title,genres,director\n1,{'t' * 5000},{genres},{'d' * 5000}\n2,Two,Drama,\n")
    rows = [f"user {user},{item},4,{1000 * user + item}" for user in range(20) for item in (1, 2)]
    (data / "events.csv").write_text("\n".join(["user,item,rating,time", *rows]))
    arguments = ["train", "catalog", "--data", str(data), "--repository", str(repository)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    folder = repository / "catalog" / "1"
    catalog = load_catalog(
        folder / "items.parquet", 1, {name: folder / name for name in TEXT_FILES if (folder / name).exists()}
    )
    assert [len(title) for title in catalog.title] == [1000, 3]
    assert len(catalog.genres[0]) == MAX_GENRES


@pytest.mark.parametrize(
    ("ratings", "scale"),
    [
        pytest.param([0.5, 3, 4.5, 3.5], {"lowest": 0.5, "highest": 4.5, "step": 0.5}, id="halves"),
        pytest.param([1, 5, math.nan, 3], {"lowest": 1, "highest": 5, "step": 2}, id="two apart"),
        pytest.param([0.1, 0.2, 0.7], {"lowest": 0.1, "highest": 0.7, "step": 0.1}, id="tenths"),
        pytest.param([0, 31.4, 100, 27.2], {"lowest": 0, "highest": 100, "step": 0}, id="any value"),
        pytest.param([4, 4], {}, id="one value"),
        pytest.param([math.nan], {}, id="none"),
    ],
)
def test_the_scale_is_that_of_the_ratings(ratings: list[float], scale: dict[str, float]) -> None:
    assert rating_scale(np.array(ratings, np.float32)) == scale


def test_a_catalog_has_the_scale_of_its_data_and_keeps_it_when_items_are_added(tmp_path: Path) -> None:
    data, repository = tmp_path / "data", tmp_path / "repository"
    data.mkdir()
    (data / "items.csv").write_text("id,title\n1,One\n2,Two\n")
    rows = [f"user {user},{item},{user % 10 + 1},{1000 * user + item}" for user in range(20) for item in (1, 2)]
    (data / "events.csv").write_text("\n".join(["user,item,rating,time", *rows]))
    (tmp_path / "new.csv").write_text("id,title\n3,Three\n")
    for arguments in (["train", "catalog", "--data", data], ["onboard", "--items", tmp_path / "new.csv"]):
        command = [*map(str, arguments), "--repository", str(repository)]
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    published = Repository(repository)
    for version, count in ((1, 2), (2, 3)):
        catalog = open_catalog(published.open("catalog", version))
        assert (len(catalog), catalog.rating_scale) == (count, RatingScale(1, 10, 1))
