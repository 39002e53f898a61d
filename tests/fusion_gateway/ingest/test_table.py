"""Text tables: fields, quotes, encodings, and what is refused with its line."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from fusion_gateway.ingest.checks import LINE, cast, require
from fusion_gateway.ingest.errors import DataError
from fusion_gateway.ingest.table import BATCH, open_table, read_fields, whole


def write(folder: Path, content: str | bytes, name: str = "f.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(path: Path) -> list[tuple[object, ...]]:
    return whole(open_table(path)).rows()


def test_fields_of_a_known_form_and_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "a::b\r\nc::\n\n")
    assert read_fields(path, "::", ["x", "y"]).rows() == [("a", "b", 1), ("c", "", 2)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_encodings_are_recognized(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path, "user,item\r\né,1\r\nü,2\r\n".encode(encoding))
    assert whole(open_table(path))["user"].to_list() == ["é", "ü"]


def test_a_damaged_line_among_utf_8_is_named_and_not_read_as_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 3: not UTF-8"):
        open_table(write(tmp_path, "user,item\njosé,1\n".encode() + b"x\xe9,2\n"))


def test_gzip_is_unpacked_on_the_way(tmp_path: Path) -> None:
    assert rows(write(tmp_path, gzip.compress(b"user;item\n1;2\n"), "f.csv.gz")) == [("1", "2", 2)]


def test_quoted_fields_may_hold_separators_and_line_ends_of_any_kind(tmp_path: Path) -> None:
    path = write(tmp_path, 'user,item\n"1,\r\n2",3\n4,"say ""hi"""\n')
    assert rows(path) == [("1,\r\n2", "3", 2), ("4", 'say "hi"', 4)]


def test_a_quote_inside_a_field_of_tabs_is_a_letter(tmp_path: Path) -> None:
    path = write(tmp_path, 'id\ttitle\n1\t"Tis Pity\n2\tSay "No"\n')
    assert rows(path) == [("1", '"Tis Pity', 2), ("2", 'Say "No"', 3)]


def test_lone_carriage_returns_end_lines(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "user,item\r1,2\r3,4\r")) == [("1", "2", 2), ("3", "4", 3)]


def test_a_byte_order_mark_is_taken_off_the_first_line_only(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "\ufeffuser,item\n\ufeffa,1\n")) == [("\ufeffa", "1", 2)]


def test_a_header_alone_is_an_empty_table(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "user,item\n")) == []


def test_a_table_of_several_batches_keeps_its_lines_with_and_without_quotes(tmp_path: Path) -> None:
    many = BATCH + 5
    for user in ("u", '"u"'):
        path = write(tmp_path, "user,item\n" + "".join(f"{user},{number}\n" for number in range(many)))
        table = whole(open_table(path))
        assert len(table) == many
        assert table[LINE].to_list() == list(range(2, many + 2))
        assert table["item"][-1] == str(many - 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("user,item,item\n1,2,3\n", "line 1: column 'item' appears twice"),
        ("user,item\n1,2\n3\n", "line 3: expected 2 fields, found 1"),
        ("user,item\n1,2,3\n", "line 2: expected 2 fields, found 3"),
        ('user,item\n"1\n2",2\n3\n', "line 4: expected 2 fields, found 1"),
        ('user,item\n1,2\n"3,4\n', "line 3: quotes that do not match"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"user,item\n1,\x002\n", "holds NUL bytes"),
        (gzip.compress(b"user,item\n" + bytes(range(48, 58)) * 1000, mtime=0)[:-20], "cannot be read"),
        ('[{"user": 1}]', "looks like a JSON array"),
        ('{"user": 1}\n{"user": \n', "line 2: not a JSON object"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message) as raised:
        whole(open_table(path))
    assert str(raised.value).startswith(str(path))


def test_what_is_no_file_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no file"):
        open_table(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is a folder: name the files in it"):
        open_table(tmp_path)


def test_brackets_in_a_path_are_no_pattern(tmp_path: Path) -> None:
    for name in ("run[1]", "run1"):
        (tmp_path / name).mkdir()
        pl.DataFrame({"user": [name], "item": ["1"]}).write_parquet(tmp_path / name / "f.parquet")
    assert whole(open_table(tmp_path / "run[1]" / "f.parquet")).rows() == [("run[1]", "1")]


@pytest.mark.parametrize("value", ["x", "1e999", "-inf", "5 stars"])
def test_a_value_that_is_no_finite_number_is_named(tmp_path: Path, value: str) -> None:
    path = write(tmp_path, f"user,item\n1,1\n1,{value}\n")
    with pytest.raises(DataError, match=f"line 3: item '{value}' is not a number"):
        cast(whole(open_table(path)), path, "item", pl.Float32, "a number")


def test_missing_values_are_null_and_can_be_required(tmp_path: Path) -> None:
    path = write(tmp_path, "user,item\n,1\nNULL,1\n 2.0 ,2\n")
    table = cast(whole(open_table(path)), path, "user", pl.Int64, "a number")
    assert table["user"].to_list() == [None, None, 2]
    with pytest.raises(DataError, match="line 2: user is empty"):
        require(table, path, ["item", "user"])
