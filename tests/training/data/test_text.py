import polars as pl
import pytest

from tests.training.data.conftest import Write
from training.data import text
from training.errors import DataError


def test_fields_and_their_lines(write: Write) -> None:
    path = write({"f": "a::b\r\nc::\n\n"}) / "f"
    assert text.read_fields(path, "::", ["x", "y"]).rows() == [("a", "b", 1), ("c", "", 2)]


def test_latin_1_is_read_where_utf_8_is_not(write: Write) -> None:
    for content in ("é|1\n", "é|1\n".encode("latin-1"), "é|1\r\n".encode("latin-1")):
        assert text.read_fields(write({"f": content}) / "f", "|", ["x", "y"])["x"].to_list() == ["é"]


def test_quoted_fields_may_hold_commas_and_new_lines(write: Write) -> None:
    path = write({"f.csv": 'a,b\n"1,\n2",3\n4,"say ""hi"""\n'}) / "f.csv"
    assert text.read_csv(path).rows() == [("1,\n2", "3", 2), ("4", 'say "hi"', 4)]


def test_a_header_alone_is_an_empty_table(write: Write) -> None:
    assert text.read_csv(write({"f.csv": "a,b\n"}) / "f.csv").is_empty()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("a,a\n1,2\n", "line 1: column 'a' appears twice"),
        ("a,b\n1,2\n3\n", "line 3: expected 2 fields, found 1"),
        ("a,b\n1,2,3\n", "line 2: expected 2 fields, found 3"),
        ("a,b\n1,2\n\n3,4\n", "line 3: expected 2 fields, found 1"),
        ('a,b\n"1\n2",2\n3\n', "line 4: expected 2 fields, found 1"),
        ('a,b\n1,2\n"3,4\n', "line 3: unexpected end of data"),
    ],
)
def test_a_broken_file_is_named_with_its_line(write: Write, content: str, message: str) -> None:
    path = write({"f.csv": content}) / "f.csv"
    with pytest.raises(DataError, match=message) as raised:
        text.read_csv(path)
    assert str(raised.value).startswith(str(path))


def test_a_missing_file_is_named(write: Write) -> None:
    with pytest.raises(DataError, match="nowhere"):
        text.read_csv(write({"f": "1"}) / "nowhere")


@pytest.mark.parametrize("value", ["x", "1e999", "nan", "-inf", "5 stars"])
def test_a_value_that_is_no_finite_number_is_named(write: Write, value: str) -> None:
    path = write({"f.csv": f"a\n1\n{value}\n"}) / "f.csv"
    with pytest.raises(DataError, match=f"line 3: a '{value}' is not a number"):
        text.cast(text.read_csv(path), path, "a", pl.Float32, "a number")


def test_an_empty_value_is_null_and_can_be_required(write: Write) -> None:
    path = write({"f.csv": "a,b\n,1\n2,2\n"}) / "f.csv"
    table = text.cast(text.read_csv(path), path, "a", pl.Int64, "a number")
    assert table["a"].to_list() == [None, 2]
    with pytest.raises(DataError, match="line 2: a is empty"):
        text.require(table, path, ["b", "a"])
