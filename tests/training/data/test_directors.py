from pathlib import Path

import polars as pl
import pytest

from tests.training.conftest import REAL, Write, load_real
from training.data.directors import with_directors
from training.data.load import load_dataset
from training.errors import DataError

FILMS = """Series_Title,Released_Year,Director
The Prestige,2006,Christopher Nolan
Drishyam,2013,Jeethu Joseph
Drishyam,2015,Nishikant Kamat
Il postino,1994,Michael Radford
Apollo 13,PG,Ron Howard
Amélie,2001,Jean-Pierre Jeunet
Lilo & Stitch,2002,Chris Sanders
Alone,1980,Ann
Alone,1980,Ben
"""


@pytest.mark.parametrize(
    ("title", "year", "director"),
    [
        ("Prestige, The (2006)", 2006, "Christopher Nolan"),
        ("Prestige, The (2007)", 2007, "Christopher Nolan"),  # festivals and cinemas
        ("Prestige, The (1990)", 1990, ""),
        ("Drishyam (2015)", 2015, "Nishikant Kamat"),
        ("Postino, Il (The Postman) (1994)", 1994, "Michael Radford"),
        ("Fabuleux destin, Le (a.k.a. Amelie) (2001)", 2001, "Jean-Pierre Jeunet"),
        ("Apollo 13 (1995)", 1995, "Ron Howard"),
        ("Lilo and Stitch (2002)", 2002, "Chris Sanders"),
        ("Alone (1980)", 1980, ""),  # two films, and nothing tells which
        ("Postino (1994)", 1994, ""),
    ],
)
def test_a_director_is_joined_by_title_and_year(write: Write, title: str, year: int, director: str) -> None:
    folder = write(
        {
            "rating.csv": 'userId,movieId,rating,timestamp\n1,1,4,"2005-04-02 23:53:47"\n',
            "movie.csv": f'movieId,title,genres\n1,"{title}",Drama\n2,"{title}",Drama\n',
            "imdb_top_1000.csv": FILMS,
        }
    )
    assert load_dataset(folder).items.select("year", "director").rows() == [(year, director)] * 2


def test_what_is_known_of_a_director_stays(write: Write) -> None:
    path = write({"imdb_top_1000.csv": FILMS}) / "imdb_top_1000.csv"
    items = pl.DataFrame({"title": ["The Prestige"], "year": [2006], "director": ["Another"]})
    assert with_directors(items, path)["director"].to_list() == ["Another"]


def test_the_table_may_lie_elsewhere(write: Write, tmp_path: Path) -> None:
    folder = write({"events.csv": "user,item,time\na,1,1\n", "items.csv": "id,title,year\n1,Prestige,2006\n"})
    write({"directors.csv": FILMS}, ".")
    assert load_dataset(folder, tmdb=tmp_path / "directors.csv").items["director"].to_list() == ["Christopher Nolan"]
    write({"directors.csv": "Series_Title,Director\nA,B\n"}, ".")
    with pytest.raises(DataError, match="no column 'Released_Year' among Series_Title, Director"):
        load_dataset(folder, tmdb=tmp_path / "directors.csv")


def test_of_real_movies_hundreds_get_the_director_that_other_sources_name() -> None:
    items = load_real("ml-100k").items
    unknown = items.with_columns(named="director", director=pl.lit(""))
    joined = with_directors(unknown, REAL / "tmdb" / "imdb_top_1000.csv").filter(pl.col("director") != "")
    assert joined.height > 200
    assert joined.filter(~pl.col("named").str.contains(pl.col("director"), literal=True)).is_empty()
