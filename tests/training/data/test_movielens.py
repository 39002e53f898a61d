import polars as pl
import pytest

from tests.training.conftest import Write, load_real
from training.data import movielens
from training.data.dataset import Dataset
from training.data.load import load_dataset
from training.data.writing import write_generic
from training.errors import DataError


def test_latest_folder(write: Write) -> None:
    tags = "userId,movieId,tag,timestamp\n1,10,Noir ,1\n2,10,noir,2\n2,10,slow,3\n"
    folder = write(
        {
            "ratings.csv": "userId,movieId,rating,timestamp\n1,10,4.5,100\n1,20,3,90\n",
            "movies.csv": 'movieId,title,genres\n10,"Heat, The (1995)",Crime|Drama\n20,Sky (2001),(no genres listed)\n',
            "tags.csv": tags,
        }
    )
    tables = movielens.read_latest(folder)
    assert tables.events.rows() == [("1", "10", 4.5, 100), ("1", "20", 3.0, 90)]
    items = tables.items.select("title", "year", "genres", "keywords").rows()
    assert items == [("The Heat", 1995, ["Crime", "Drama"], ["noir", "slow"]), ("Sky", 2001, [], None)]


def test_files_of_kaggle(write: Write) -> None:
    folder = write(
        {
            "rating.csv": 'userId,movieId,rating,timestamp\n1,10,4.5,"2005-04-02 23:53:47"\n',
            "movie.csv": 'movieId,title,genres\n10,"Heat, The (1995)",Crime|Drama\n20,Sky (2001),(no genres listed)\n',
            "tag.csv": "userId,movieId,tag,timestamp\n1,10,slow,\n2,10,Noir,\n2,10,noir,\n2,10,slow,\n3,99,x,\n",
        }
    )
    dataset = load_dataset(folder)
    assert dataset.events.rows() == [("1", 10, 4.5, 1112486027)]
    items = dataset.items.select("title", "year", "genres", "keywords").rows()
    assert items == [("The Heat", 1995, ["Crime", "Drama"], ["slow", "noir"]), ("Sky", 2001, [], [])]
    assert dataset.tags is not None
    assert dataset.tags.rows() == [("1", ["slow"], 10), ("2", ["noir", "slow"], 10)]
    write_generic(dataset, folder.parent / "written")
    again = load_dataset(folder.parent / "written")
    assert again.tags is not None
    assert again.tags.equals(dataset.tags)
    assert again.fingerprint == dataset.fingerprint


MOVIES = "1::Toy Story (1995)::Animation\n2::Lac, Le (1997)::Drama|Romance\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ratings.dat": "1::1::5::7\n1::2::5\n"}, "ratings.dat: line 2: expected 4 fields, found 3"),
        ({"ratings.dat": "1::1::five::7\n"}, "ratings.dat: line 1: rating 'five' is not a finite number"),
        ({"ratings.dat": "1::1::5::noon\n"}, "ratings.dat: line 1: time 'noon' is not read as"),
        ({"ratings.dat": "1::1::5::7\n1::2::5::\n"}, "ratings.dat: line 2: time is empty"),
        ({"ratings.dat": "::1::5::7\n"}, "ratings.dat: line 1: user is empty"),
        ({"movies.dat": MOVIES + "1::Again (1999)::Drama\n"}, "movies.dat: line 3: id '1' appears twice"),
        ({"users.dat": "1::F::old::10::1\n"}, "users.dat: line 1: age 'old' is not a whole number"),
    ],
)
def test_a_broken_line_is_named(write: Write, files: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        movielens.read_1m(write({"ratings.dat": "1::1::5::7\n", "movies.dat": MOVIES} | files))


def test_real_data_is_complete(real: Dataset) -> None:
    expected = {"ml-100k": (100_000, 943, 1682, 1667), "ml-1m": (1_000_209, 6040, 3883, 3872)}
    events, users, items, posters = expected[real.name]
    assert (len(real.events), real.events["user"].n_unique(), len(real.items)) == (events, users, items)
    assert real.items.filter(pl.col("poster") != "").height == posters
    assert real.users is not None
    assert real.users.null_count().sum_horizontal().item() == 0
    assert real.events.null_count().sum_horizontal().item() == 0
    assert real.items["number"].cast(pl.String).equals(real.items["id"])


def test_real_rows_are_read_as_published() -> None:
    small, large = load_real("ml-100k"), load_real("ml-1m")
    assert small.events.row(0) == ("196", 242, 3.0, 881250949)
    assert large.events.row(0) == ("1", 1193, 5.0, 978300760)
    toy_story = small.items.row(0, named=True)
    assert (toy_story["title"], toy_story["year"], toy_story["director"]) == ("Toy Story", 1995, "John Lasseter")
    assert toy_story["genres"] == ["Animation", "Children's", "Comedy"]
    assert toy_story["poster"].endswith("posters/ml-100k/1.jpg")
    assert toy_story["cast"][0] == "Tom Hanks"
    assert "Les Misérables" in small.items["title"]
    assert large.users is not None
    assert large.users.row(0) == ("1", 1, "F", "K-12 student", "48067")


def test_of_published_files_nothing_is_guessed(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    load_dataset(write({"ratings.dat": "1::1::5::978300760\n", "movies.dat": "1::Heat (1995)::Drama\n"}))
    assert "guessed" not in capfd.readouterr().err
