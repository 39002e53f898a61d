"""The visual-temporal benchmark as pictures: bars, confusion matrices, curves by epoch, attention maps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.benchmark import likes
from training.benchmark.published import S5_LIKES
from training.benchmark.runner import Cell
from training.benchmark.visual_temporal import LIKES
from training.benchmark.visual_temporal_report import by_model, confusions, like_metrics, rankings, whole_of
from training.data.dataset import Dataset
from training.html_page import COLORS, image, picture

SHOWN_METRICS = ("precision", "recall", "f1")
Bars = Mapping[str, float]
"""Of one model, by metric."""
Published = Mapping[str, tuple[float, ...]]
"""The same by model, in the metrics' order."""
NOTHING: Published = {}
COLUMNS = 2
"""Of the panels of a picture."""


class Panel(NamedTuple):
    """A plot and what is said of it."""

    title: str
    caption: str
    draw: Callable[[Axes], None]


def panels(cells: Sequence[Cell], dataset: Dataset, part: str) -> Iterator[Panel]:
    """All that the part of the benchmark can show but the attention maps."""
    if part == LIKES:
        yield from _like_panels(cells, dataset)
    else:
        bars = {own[0].model: _means(own, part) for own in by_model(cells)}
        yield Panel("All models", "Means over queries and seeds.", partial(_bars, bars=bars))
    whole = whole_of(cells)[0]
    yield Panel("Loss", "Of the training part, by epoch, first seed.", partial(_curve, name="loss", cell=whole))
    name = "accuracy" if "accuracy" in whole.arrays else "curve"
    chosen_by = "What chooses the epoch, on the validation part; first seed."
    caption = "Of the validation ratings at a probability of a half; first seed." if name == "accuracy" else chosen_by
    title = "Accuracy" if name == "accuracy" else "Validation NDCG@10"
    yield Panel(title, caption, partial(_curve, name=name, cell=whole))


def _like_panels(cells: Sequence[Cell], dataset: Dataset) -> Iterator[Panel]:
    for cut in likes.CUTS:
        bars = {own[0].model: _like_means(own, dataset, cut) for own in by_model(cells)}
        caption = "Means over seeds. Black: what S5 published, of other data and an unnamed cut."
        yield Panel(f"Liked from {cut:.0f}", caption, partial(_bars, bars=bars, published=S5_LIKES))
    for (model, cut), table in confusions(whole_of(cells), dataset).items():
        title = f"Confusion matrix, {model}, liked from {cut:.0f}"
        yield Panel(title, "Test ratings, summed over seeds.", partial(_confusion, table=table))


def _means(own: Sequence[Cell], part: str) -> Bars:
    return {f"{metric}, {protocol}": float(values.mean()) for protocol, metric, values in rankings(own, part)}


def _like_means(own: Sequence[Cell], dataset: Dataset, cut: float) -> Bars:
    found = like_metrics(own, dataset, cut)
    return {name: float(np.mean(found[name])) for name in SHOWN_METRICS}


def _bars(axes: Axes, bars: Mapping[str, Bars], published: Published = NOTHING) -> None:
    names = list(next(iter(bars.values())))
    height = 0.8 / len(names)
    rows = np.arange(len(bars))
    for position, name in enumerate(names):
        values = [metrics[name] for metrics in bars.values()]
        color = COLORS[position % len(COLORS)]
        axes.barh(rows + position * height, values, height, color=color, label=name)
    for row, model in enumerate(bars):
        said = published.get(model, ())
        axes.plot(said, row + np.arange(len(said)) * height, "k|", markersize=8)
    axes.set_yticks(rows + 0.4 - height / 2, list(bars))
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=8, loc="lower left")


def _confusion(axes: Axes, table: np.ndarray) -> None:
    axes.imshow(table, cmap="Blues")
    for (row, column), count in np.ndenumerate(table):
        color = "white" if count > table.max() / 2 else "black"
        axes.text(column, row, f"{count:,}", ha="center", va="center", color=color)
    axes.set_xticks((0, 1), ("liked", "not liked"))
    axes.set_yticks((0, 1), ("said: liked", "said: not liked"))
    axes.set_xlabel("in truth")


def _curve(axes: Axes, name: str, cell: Cell) -> None:
    values = np.abs(cell.arrays[name])
    axes.plot(np.arange(1, len(values) + 1), values, color=COLORS[0])
    axes.set(xlabel="epoch", ylabel=name)


def draw(cells: Sequence[Cell], dataset: Dataset, part: str, path: Path) -> None:
    """Writes the attention maps where there are some, else all panels; the format is that of the file's ending."""
    attention = attention_figure(cells)
    (attention or _figure(list(panels(cells, dataset, part)))).savefig(path)


def page_parts(cells: Sequence[Cell], dataset: Dataset, part: str) -> Iterator[str]:
    """Of an HTML page."""
    for panel in panels(cells, dataset, part):
        yield picture(panel.title, panel.caption, panel.draw)
    if attention := attention_figure(cells):
        yield image("Attention", "Where a poster counts, as a multiple of the mean region.", attention)


def _figure(shown: Sequence[Panel]) -> Figure:
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(7 * COLUMNS, 5 * rows), dpi=100, layout="constrained")
    for position, panel in enumerate(shown, 1):
        axes = figure.add_subplot(rows, COLUMNS, position)
        panel.draw(axes)
        axes.set_title(panel.title)
    return figure


def attention_figure(cells: Sequence[Cell]) -> Figure | None:
    """Posters above the weights of their regions in the first whole model; None where no cell has such."""
    whole = next((cell for cell in cells if "attention" in cell.arrays), None)
    if whole is None or not len(whole.arrays["posters"]):
        return None
    posters, maps = whole.arrays["posters"], whole.arrays["attention"]
    figure = Figure(figsize=(1.6 * len(posters), 5), dpi=120, layout="constrained")
    for position, (poster, weight) in enumerate(zip(posters, maps, strict=True)):
        top = figure.add_subplot(2, len(posters), position + 1)
        below = figure.add_subplot(2, len(posters), len(posters) + position + 1)
        top.imshow(poster.transpose(1, 2, 0))
        below.imshow(poster.transpose(1, 2, 0).mean(2), cmap="gray", extent=(0, 1, 0, 1.5))
        below.imshow(weight, cmap="magma", alpha=0.6, extent=(0, 1, 0, 1.5))
        below.set_title(f"{weight.max() * weight.size:.1f} × mean", fontsize=8)
        for axes in (top, below):
            axes.set_axis_off()
    return figure
