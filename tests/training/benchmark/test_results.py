"""The tables of results on the pages are what the JSON files say."""

import shutil
from pathlib import Path

import pytest

from training import recipes
from training.benchmark.result_tables import recipes as table
from training.benchmark.result_tables.files import Results, markdown
from training.benchmark.result_tables.pages import FOLDER, PAGES, rendered
from training.commands.results import results_command
from training.errors import TrainingError

ROOT = Path(__file__).parents[3]


def test_the_pages_tables_are_what_the_files_say() -> None:
    results_command(root=ROOT)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The pages and the files, to change."""
    shutil.copytree(ROOT / FOLDER, tmp_path / FOLDER)
    for page in PAGES:
        shutil.copy(ROOT / page, tmp_path / page)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_a_changed_number_is_found_and_mended(page: Path, copy: Path) -> None:
    original = (copy / page).read_text()
    (copy / page).write_text(original.replace("0.1384", "0.1484"))
    with pytest.raises(TrainingError, match=f"{page}: tables differ"):
        results_command(root=copy)
    results_command(write=True, root=copy)
    assert (copy / page).read_text() == original


def test_text_beside_the_tables_stays() -> None:
    page = "before\n<!-- table: growth -->\nold\n<!-- end -->\nafter\n"
    new = rendered(page, Results(ROOT / FOLDER))
    assert new.startswith("before\n")
    assert new.endswith("<!-- end -->\nafter\n")
    assert "old" not in new
    assert rendered(new, Results(ROOT / FOLDER)) == new


def test_an_unknown_table_is_named() -> None:
    with pytest.raises(TrainingError, match="there is no table 'nope'; there are headlines, "):
        rendered("<!-- table: nope -->\n<!-- end -->", Results(ROOT / FOLDER))


def test_two_rows_for_one_cell_are_an_error() -> None:
    with pytest.raises(ValueError, match="growth-sequential: 6 rows have"):
        Results(ROOT / FOLDER).row("growth-sequential", protocol="growth")


def test_every_file_is_on_a_page() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "training").rglob("*.md"))
    assert [file.name for file in (ROOT / FOLDER).iterdir() if file.name not in pages and file.suffix != ".md"] == []


def test_markdown() -> None:
    assert markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_every_recipe_is_described() -> None:
    assert table.RATING.keys() == recipes.RATING.keys() - {"default"}
    assert table.SEQUENTIAL.keys() == recipes.SEQUENTIAL.keys() - {"default"}
    assert table.VISUAL_TEMPORAL.keys() == recipes.VISUAL_TEMPORAL.keys() - {"default"}
    assert set(table.LINEAR) == {recipes.LINEAR["default"]().name}
    assert set(table.FUSED) == {recipes.FUSION["default"]().name}
