"""Every common shape of an events file is read as what it says; the rest is refused with its line and what to do."""

import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from fusion_gateway.ingest.errors import DataError, MissingColumn
from fusion_gateway.ingest.events import DAY, EventsFile, Given, in_file_order

RATED = [("ann", "m1", 3.5, 964982703), ("bob", "m2", None, 1577836800), ("ann", "m2", 4.0, 1577923210)]
IN_ORDER = [(user, item, rating, number) for number, (user, item, rating, _) in enumerate(RATED, start=1)]
UNRATED = [(user, item, None, time) for user, item, _, time in RATED]


def text(
    separator: str = ",",
    header: str | None = "user,item,rating,time",
    times: tuple[str, ...] = ("964982703", "1577836800", "1577923210"),
    ratings: tuple[str, ...] = ("3.5", "", "4"),
) -> str:
    columns = ("ann", "bob", "ann"), ("m1", "m2", "m2"), ratings, times
    rows = [separator.join(row) for row in zip(*columns, strict=True)]
    names = [] if header is None else [header.replace(",", separator)]
    return "\n".join([*names, *rows]) + "\n"


BOOKS = '"User-ID";"ISBN";"Book-Rating"\n"ann";"m1";"3,5"\n"bob";"m2";""\n"ann";"m2";"4"\n'
ACCENTED = text().replace("ann", "é")
WITH_ACCENTS = [("é" if user == "ann" else user, *rest) for user, *rest in RATED]
ZONED = ("2000-07-30T20:45:03+02:00", "2020-01-01 00:00Z", "2020-01-01T23:00:10-0100")
AMERICAN = ("07/30/2000 6:45:03 PM", "1/1/2020 12:00 AM", "01/02/2020 12:00:10 AM")
OBJECTS = """{"user": "ann", "item": "m1", "rating": 3.5, "time": 964982703}
{"user": "bob", "item": "m2", "time": 1577836800}

{"user": "ann", "item": "m2", "rating": 4, "time": 1577923210, "tags": ["a"]}
"""
WITH_ZERO = [RATED[0], ("bob", "m2", 0.0, 1577836800), RATED[2]]
SEQUENCES = [
    ("ann", "m1", None, DAY),
    ("ann", "m2", None, 2 * DAY),
    ("ann", "m1", None, 3 * DAY),
    ("bob", "m2", None, DAY),
]

DAYS = [("ann", "m1", 3.5, 964915200), ("bob", "m2", None, 1577836800), ("ann", "m2", 4.0, 1577923200)]
CLICKS = [("8", "214536518", 0.0, 1500000000), ("9", "7", 3.0, 1500076800)]
LIKED = [("ann", "m1", 1.0, DAY), ("bob", "m2", 0.0, DAY)]
LONG = 'user,item,review\nann,m1,"' + "so good, " * 40_000 + '"\n'

READ: dict[str, tuple[str, str | bytes, list[tuple[Any, ...]]]] = {
    "canonical": ("f.csv", text(), RATED),
    "MovieLens names": ("f.csv", text(header="userId,movieId,rating,timestamp"), RATED),
    "RecBole names": ("f.inter", text("\t", "user_id:token,item_id:token,rating:float,timestamp:float"), RATED),
    "capitals": ("f.csv", text(header="User,Item,Rating,Time"), RATED),
    "user_id, item_id": ("f.csv", text(header="user_id,item_id,rating,timestamp"), RATED),
    "Amazon names": ("f.csv", text(header="reviewerID,asin,overall,unixReviewTime"), RATED),
    "Book-Crossing": ("f.csv", BOOKS, IN_ORDER),
    "uid, iid, score": ("f.csv", text(header="uid,iid,score,ts"), RATED),
    "semicolons": ("f.csv", text(";"), RATED),
    "tabs": ("f.tsv", text("\t"), RATED),
    "pipes": ("f.txt", text("|"), RATED),
    "double colons": ("f.dat", text("::", None), RATED),
    "decimal comma": ("f.csv", text(";", ratings=("3,5", "", "4,0")), RATED),
    "no header": ("f.csv", text(header=None), RATED),
    "byte order mark": ("f.csv", "\ufeff" + text(), RATED),
    "UTF-16": ("f.csv", text().encode("utf-16"), RATED),
    "latin-1": ("f.csv", ACCENTED.encode("latin-1"), WITH_ACCENTS),
    "gzip": ("f.csv.gz", gzip.compress(text().encode(), mtime=0), RATED),
    "Windows line ends": ("f.csv", text().replace("\n", "\r\n"), RATED),
    "no rating": ("f.csv", "user,item,time\nann,m1,964982703\nbob,m2,1577836800\nann,m2,1577923210\n", UNRATED),
    "no time": ("f.csv", "user,item,rating\nann,m1,3.5\nbob,m2,\nann,m2,4\n", IN_ORDER),
    "milliseconds": ("f.csv", text(times=("964982703001", "1577836800999", "1577923210000")), RATED),
    "microseconds": ("f.csv", text(times=("964982703000001", "1577836800000000", "1577923210000000")), RATED),
    "nanoseconds": ("f.csv", text(times=("964982703000000001", "1577836800000000000", "1577923210000000000")), RATED),
    "float seconds": ("f.csv", text(times=("964982703.0", "1577836800.25", "1.57792321e9")), RATED),
    "ISO": ("f.csv", text(times=("2000-07-30T18:45:03Z", "2020-01-01", "2020-01-02 00:00:10.5")), RATED),
    "ISO with zones": ("f.csv", text(times=ZONED), RATED),
    "day first": ("f.csv", text(times=("30/07/2000 18:45:03", "1/1/2020", "02/01/2020 00:00:10")), RATED),
    "points": ("f.csv", text(times=("30.07.2000 18:45:03", "01.01.2020", "02.01.2020 0:00:10")), RATED),
    "month first": ("f.csv", text(times=AMERICAN), RATED),
    "padded": ("f.csv", text(ratings=("    3.5", " ", "4 ")).replace("m1", "m1  "), RATED),
    "NULL and nan": ("f.csv", text(ratings=("3.5", "NULL", "4")), RATED),
    "pandas index": ("f.csv", ",user,item,rating\n0,ann,m1,3.5\n1,bob,m2,nan\n2,ann,m2,4.0\n", IN_ORDER),
    "JSON lines": ("f.jsonl", OBJECTS, RATED),
    "blanks between": ("f.txt", text(" ", None, ratings=("3.5", "0", "4")), WITH_ZERO),
    "20200102": ("f.csv", text(times=("20000730", "20200101", "20200102")), DAYS),
    "blanks behind commas": ("f.csv", 'user, item, rating\nann, "m1", 3.5\nbob, "m2", \nann, "m2", 4\n', IN_ORDER),
    "comments above": ("f.csv", "# exported today\n\n# by hand\n" + text(), RATED),
    "a title above": ("f.csv", "Report of orders\n" + text(";"), RATED),
    "sep=; of Excel": ("f.csv", "sep=;\n" + text(";"), RATED),
    "separators at the ends": ("f.csv", text(";").replace("\n", ";\n").replace("time;\n", "time\n"), RATED),
    "date before item": ("f.csv", "8,2017-07-14T02:40:00Z,214536518,0\n9,2017-07-15,7,3\n", CLICKS),
    "true and false": ("f.csv", "user,item,liked\nann,m1,True\nbob,m2,false\n", LIKED),
    "very long text": ("f.csv", LONG, [("ann", "m1", None, DAY)]),
    "a line a user": ("f.txt", "ann m1 m2 m1\nbob m2\n", SEQUENCES),
}  # fmt: skip


def read(folder: Path, name: str, content: str | bytes, given: Given = Given()) -> list[tuple[Any, ...]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return EventsFile.open(path, given).read().rows()


@pytest.mark.parametrize("variant", READ)
def test_common_shapes_are_read(tmp_path: Path, variant: str) -> None:
    name, content, expected = READ[variant]
    assert read(tmp_path, name, content) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user,item,time\na,1,1\na,1,soon\n", "line 3: time 'soon' is not read as unix seconds: write all times as"),
        ("user,item,time\na,1,2020-01-01\na,1,1600000000\na,1,2020-01-02\n", "line 3: time '1600000000' is not"),
        ("user,item,time\na,1,25/12/2020\na,1,12/25/2020\n", "line 3: time '12/25/2020' is not read as dates with"),
        ("user,item,time\na,1,2020-02-30\n", "line 2: time '2020-02-30' is not read as ISO dates"),
        ("user,item,time\na,1,1\na,1,\n", "line 3: time is empty: fill it in, or --skip-incomplete .* --time none"),
        ("user,item,time\na,1,1\na,1,-5\n", "line 3: time '-5' is before 1970"),
        ("user,item,time\na,1,1600000000000\na,1,978307100\na,1,1600000000000\n", "line 3: time '978307100' is not"),
        ("user,item,time\na,,1\n", "line 2: item is empty"),
        ("user,item\na,1\nNULL,2\n", "line 3: user is empty"),
        ("user,item\na,1\nuser,item\na,2\n", "line 3: the header is repeated here"),
        ("user,item,Stars{}\na,1,dislike\n", r"'dislike' is not a finite number \(column 'Stars{}'\)"),
        ("user,item,rating\na,1,dislike\n", r"'dislike' is not a finite number \(column 'rating'\); --rating none"),
        ("user,item,rating,time\na,1,good,1\n", "line 2: rating 'good' is not a finite number"),
        ("user,movieId,isbn\na,1,1\n", "'isbn' may each be the item: 'training data import' takes --item NAME"),
        ("kunde;artikel\nann1;m1\n", "to be the user among kunde, artikel: 'training data import' takes --user NAME"),
        ("a,b,c\nx,y,1\n", "no column is known to be the user among a, b, c: 'training data import' takes --user NAME"),
        (f"user,item\n{'x' * 257},1\n", "line 2: user xxx.* has more than 256 bytes"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_names_the_line_and_what_to_do(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, "f.csv", content)


def test_a_column_of_any_name_can_be_given(tmp_path: Path) -> None:
    content = "wer,was,wann,Sterne,time\nann,m1,2020-01-01,3,x\n"
    given = Given({"user": "wer", "item": "was", "time": "wann", "rating": "Sterne"})
    assert read(tmp_path, "f.csv", content, given) == [("ann", "m1", 3.0, 1577836800)]
    with pytest.raises(MissingColumn) as raised:
        read(tmp_path, "f.csv", content)
    assert (raised.value.role, raised.value.names) == ("user", ["wer", "was", "wann", "Sterne", "time"])
    with pytest.raises(DataError, match="--user nobody: there is no such column"):
        read(tmp_path, "f.csv", content, Given({"user": "nobody"}))


def test_incomplete_rows_are_left_out_and_counted_on_request(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("user,item,time\nann,m1,5\n,m1,6\nann,,7\nann,m2,NULL\n")
    file = EventsFile.open(path, Given(skip_incomplete=True))
    assert len(file.sample) == 1
    assert file.read().rows() == [("ann", "m1", None, 5)]
    assert file.skipped == 3


def test_a_count_is_no_rating_unless_it_is_said_to_be(tmp_path: Path) -> None:
    content = "userID\tartistID\tweight\n2\t51\t13883\n2\t52\t4\n"
    assert [row[2] for row in read(tmp_path, "f.dat", content)] == [None, None]
    assert [row[2] for row in read(tmp_path, "f.dat", content, Given({"rating": "weight"}))] == [13883, 4]
    assert [row[2] for row in read(tmp_path, "f.dat", content.replace("13883", "5"))] == [5, 4]


def test_commas_between_thousands_are_no_decimal_commas(tmp_path: Path) -> None:
    content = 'user,item,plays\na,x,"1,851"\nb,y,"4,131"\nb,z,12\n'
    assert [row[2] for row in read(tmp_path, "f.csv", content, Given({"rating": "plays"}))] == [1851, 4131, 12]


def test_a_guess_and_times_that_are_no_dates_are_pointed_out(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("a1,b2,3\na1,b3,4\n")
    assert "--user" in EventsFile.open(path).notes[0]
    path.write_text("user,item,date\na,1,42930.11\n")
    assert "Excel" in EventsFile.open(path).notes[0]


def test_one_column_cannot_be_two_things(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'user' cannot be two things"):
        read(tmp_path, "f.csv", "user,item\na,1\n", Given({"item": "user"}))


def test_names_that_are_given_make_a_header(tmp_path: Path) -> None:
    given = Given({"user": "wer", "item": "was"})
    assert read(tmp_path, "f.csv", "wer,was\nann,tea\n", given) == [("ann", "tea", None, DAY)]


def test_dates_that_may_be_read_either_way_are_pointed_out(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("user,item,date\na,1,03/04/2020\n")
    [note] = EventsFile.open(path).notes
    assert "--month-first" in note
    moments = [EventsFile.open(path, Given(month_first=first)).read()["time"][0] for first in (False, True)]
    assert [datetime.fromtimestamp(moment, UTC).month for moment in moments] == [4, 3]


def test_typed_columns_of_parquet_are_read(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    columns = {
        "user": [7.0, 8.0],
        "item": [1, 2],
        "rating": [float("nan"), 4.0],
        "time": [964982703, 1577836800],
    }
    frame = pl.DataFrame(columns).with_columns(pl.from_epoch("time"))
    frame.write_parquet(path)
    assert EventsFile.open(path).read().rows() == [("7", "1", None, 964982703), ("8", "2", 4.0, 1577836800)]
    frame.with_columns(user=pl.Series([7.5, 8])).write_parquet(path)
    with pytest.raises(DataError, match=r"row 1: user 7.5 is not a whole number"):
        EventsFile.open(path).read()
    frame.with_columns(item=pl.Series([[1], [2]])).write_parquet(path)
    with pytest.raises(DataError, match=r"column 'item' is List\(Int64\), which is no item"):
        EventsFile.open(path).read()


def test_ids_that_pandas_has_written_as_floats_are_whole_again(tmp_path: Path) -> None:
    assert read(tmp_path, "f.csv", "user,item,time\n7.0,a,1\n8.0,1.0,2\n") == [
        ("7", "a", None, 1),
        ("8", "1.0", None, 2),
    ]


def test_ids_keep_their_zeros_blanks_and_case(tmp_path: Path) -> None:
    rows = read(tmp_path, "f.csv", "user,item,time\n007,Pink Floyd,1\n7,pink floyd,2\n*,🎬,3\n")
    assert [row[:2] for row in rows] == [("007", "Pink Floyd"), ("7", "pink floyd"), ("*", "🎬")]


def test_without_times_each_users_order_is_kept() -> None:
    together = pl.DataFrame({"user": ["b", "b", "a"], "item": ["1", "2", "1"]})
    assert in_file_order(together)["time"].to_list() == [DAY, 2 * DAY, DAY]
    mixed = pl.DataFrame({"user": ["b", "a", "b"], "item": ["1", "2", "1"]})
    assert in_file_order(mixed)["time"].to_list() == [1, 2, 3]


SPELLINGS: dict[str, Callable[[datetime], str]] = {
    "seconds": lambda moment: f"{moment.timestamp():.0f}",
    "milliseconds": lambda moment: f"{moment.timestamp():.0f}000",
    "ISO": lambda moment: moment.isoformat(),
    "blank": lambda moment: f"{moment:%Y-%m-%d %H:%M:%S}",
    "points": lambda moment: f"{moment:%d.%m.%Y %H:%M:%S}",
}
MOMENTS = st.datetimes(datetime(1973, 6, 1), datetime(2038, 1, 1), timezones=st.just(UTC))


@settings(deadline=None, max_examples=60)
@drawn(
    st.lists(MOMENTS.map(lambda moment: moment.replace(microsecond=0)), min_size=1, max_size=20),
    st.sampled_from(list(SPELLINGS)),
)
def test_a_moment_is_the_same_in_every_spelling(
    tmp_path_factory: pytest.TempPathFactory, moments: list[datetime], spelling: str
) -> None:
    path = tmp_path_factory.mktemp("times") / "f.csv"
    lines = [f"a,{number},{SPELLINGS[spelling](moment)}" for number, moment in enumerate(moments)]
    path.write_text("\n".join(["user,item,time", *lines]) + "\n")
    assert EventsFile.open(path).read()["time"].to_list() == [int(moment.timestamp()) for moment in moments]
