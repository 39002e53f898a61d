"""Texts of callers on a terminal."""

from io import StringIO

import pytest
from rich.progress import track
from rich.table import Table
from rich.text import Text

from fusion_gateway.terminal import tables
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.terminal import Terminal, printable
from training import progress, terminal

ATTACK = "a\x1b]0;owned\x07\x9b2J\r\u202eb"
SHOWN = "a\ufffd]0;owned\ufffd\ufffd2J\ufffd\ufffdb"


def test_control_characters_are_replaced() -> None:
    assert printable(ATTACK) == SHOWN
    assert printable("Amélie\tحب 🎬\n") == "Amélie\tحب 🎬\n"


def test_texts_in_tables_and_lines_are_printable_and_styles_are_kept() -> None:
    written = StringIO()
    console = Terminal(file=written, force_terminal=True, color_system="standard", width=60)
    table = Table()
    table.add_row(Text(ATTACK, "bold"))
    console.print(table, ATTACK, markup=False)
    assert "\x1b[1m" in written.getvalue()
    for attack in ("\x1b]", "\x9b", "\x07", "\u202e"):
        assert attack not in written.getvalue()
    assert list(track(range(2), console=console)) == [0, 1]  # a bar moves the cursor


def test_an_answer_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    item = pb.Item(id=ATTACK, title=ATTACK, genres=[ATTACK])
    tables.console().print(tables.matches(pb.SearchItemsResponse(matches=[pb.Match(item=item)])))
    tables.console().print(tables.page_of_users(pb.ListUsersResponse(users=[pb.User(id=ATTACK)])))
    terminal.output().print(ATTACK)
    printed = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(printed)
    assert isinstance(progress.console, Terminal)
