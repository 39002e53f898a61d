import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.training.conftest import Write
from training.data.load import load_dataset
from training.data.report import PLOTS, write_report
from training.data.synthetic.generate import Settings, generate


def pictures(page: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"image/png;base64,([^']+)'", page)]


def test_report_is_one_file_with_all_plots(tmp_path: Path) -> None:
    generate(tmp_path / "some", Settings(users=30, items=60, events_per_user=15))
    write_report(load_dataset(tmp_path / "some"), tmp_path / "out" / "report.html")
    page = (tmp_path / "out" / "report.html").read_text()
    HTMLParser().feed(page)
    assert not re.search(r"(src|href)='?\"?https?:", page)
    drawn = pictures(page)
    assert len(drawn) == len(PLOTS) == 12
    assert all(np.asarray(picture.convert("L")).std() > 5 for picture in drawn), "a plot is blank"


@pytest.mark.parametrize("events", ["user,item,time\na,1,5\n", "user,item,time,rating\na,1,5,3\nb,1,5,3\n"])
def test_the_smallest_data_sets_can_be_drawn(write: Write, tmp_path: Path, events: str) -> None:
    write_report(load_dataset(write({"events.csv": events}, "<b>")), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert len(pictures(page)) == 12
    assert "<b>" not in page


def test_a_month_is_drawn_where_it_is(write: Write) -> None:
    """Two events in January 2001, none in February, one in March."""
    events = "user,item,time\na,1,978307200\nb,1,980000000\na,2,985000000\n"
    axes = Figure().subplots()
    timeline = next(draw for title, _, draw in PLOTS if title == "Timeline")
    timeline(axes, load_dataset(write({"events.csv": events}, "some")))
    spans = []
    for bar in axes.patches:
        corners = bar.get_extents().transformed(axes.transData.inverted())
        (left, _), (right, height) = corners.get_points()
        first, last = (str(np.datetime64(round(day), "D")) for day in (left, right))
        spans.append((first, last, round(height)))
    assert spans == [("2001-01-01", "2001-02-01", 2), ("2001-03-01", "2001-04-01", 1)]
