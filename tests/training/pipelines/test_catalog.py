"""A published catalog can be read by a gateway, whatever the data."""

from pathlib import Path

from typer.testing import CliRunner

from fusion_gateway.catalog.catalog import MAX_GENRES, load_catalog
from fusion_gateway.catalog.text_files import TEXT_FILES
from training.__main__ import app


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
