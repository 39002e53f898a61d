from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.training.conftest import Write
from training.commands.data import app
from training.data.load import load_dataset
from training.errors import DataError

EVENTS = "user,item,rating,time\nann,x/1,4,100\nann,2,,90\nbob,x/1,2.5,80\n"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_generate_then_describe_then_validate(tmp_path: Path) -> None:
    folder, report = tmp_path / "made", tmp_path / "report.html"
    assert run("generate", folder, "--users=20", "--items=50", "--events-per-user=12").exit_code == 0
    described = run("describe", folder, "--report", report)
    assert described.exit_code == 0
    assert "sparsity" in described.output
    assert report.exists()
    checked = run("validate", folder)
    assert (checked.exit_code, checked.stdout) == (0, "no problems found\n")


def test_validate_fails_on_what_would_corrupt_training_only(write: Write) -> None:
    harmful = run("validate", write({"events.csv": EVENTS + "bob,x/1,9,99\n"}, "bad"))
    assert harmful.exit_code == 1
    assert "rating outside" in harmful.output
    noted = run("validate", write({"events.csv": EVENTS}, "bare"))
    assert noted.exit_code == 0
    assert "item without title" in noted.output
    scale = run("validate", write({"events.csv": EVENTS}, "scale"), "--highest", 3)
    assert scale.exit_code == 1


def test_a_converted_folder_loads_as_the_same_data(write: Write, tmp_path: Path) -> None:
    folder = write(
        {"events.csv": EVENTS, "items.csv": "id,title,genres,number\nx/1,One,War|Drama,5\n", "users.csv": "user\nann\n"}
    )
    (folder / "posters").mkdir()
    Image.new("RGB", (4, 6)).save(folder / "posters" / "2.png")
    assert run("convert", folder, tmp_path / "out").exit_code == 0
    before, after = load_dataset(folder), load_dataset(tmp_path / "out")
    assert after.fingerprint == before.fingerprint
    assert after.events.equals(before.events)
    assert after.items.drop("poster").equals(before.items.drop("poster"))
    assert after.items["poster"].to_list() == [str(tmp_path / "out" / "posters" / "2.png"), ""]
    assert after.users is not None
    assert before.users is not None
    assert after.users.equals(before.users)
    again = run("convert", folder, tmp_path / "out")
    assert isinstance(again.exception, DataError)


def test_posters_of_ids_that_are_no_file_names_stay_apart(write: Write, tmp_path: Path) -> None:
    events = "user,item,time\na,x/1,1\na,x_1,2\na,..,3\n"
    items = "id,poster\nx/1,red.png\nx_1,blue.png\n..,red.png\n"
    folder = write({"events.csv": events, "items.csv": items, "red.png": b"red", "blue.png": b"blue"})
    assert run("convert", folder, tmp_path / "out").exit_code == 0
    posters = load_dataset(tmp_path / "out").items.sort("id")["poster"]
    assert [Path(poster).read_bytes() for poster in posters] == [b"red", b"red", b"blue"]
    assert all(Path(poster).parent == tmp_path / "out" / "posters" for poster in posters)


def test_an_interrupted_conversion_leaves_nothing(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write({"events.csv": EVENTS, "posters/2.jpg": b"x"})

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("training.data.writing.shutil.copyfile", fail)
    assert run("convert", folder, tmp_path / "out").exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
