"""Loss and validation metrics by epoch, drawn."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.fitting.curve import LearningCurve
from training.html_page import COLORS


def draw_curve(axes: Axes, curve: LearningCurve) -> None:
    """The losses on the left, the metrics on the right; a line where the epoch is that is kept."""
    epochs = range(1, len(curve) + 1)
    axes.plot(epochs, curve.loss, color=COLORS[0], label="training loss")
    if "loss" in curve.others:
        axes.plot(epochs, curve.others["loss"], color=COLORS[1], label="validation loss")
    right = axes.twinx()
    metrics = {curve.metric: [abs(value) for value in curve.validation]} | curve.others
    metrics.pop("loss", None)
    for (name, values), color in zip(metrics.items(), COLORS[2:], strict=False):
        right.plot(epochs, values, "--", color=color, label=f"validation {name}")
    axes.axvline(curve.best + 1, color="#999", linewidth=0.8)
    axes.set(xlabel="epoch", ylabel="loss")
    right.set_ylabel(", ".join(metrics))
    lines = [*axes.get_lines()[: 1 + ("loss" in curve.others)], *right.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], frameon=False, fontsize=8)


def write_curves(curves: Mapping[str, LearningCurve], path: Path) -> None:
    """One picture, a model below the other; the format is that of the file's ending."""
    figure = Figure(figsize=(7, 4 * len(curves)), dpi=120, layout="constrained")
    for position, (model, curve) in enumerate(curves.items(), 1):
        axes = figure.add_subplot(len(curves), 1, position)
        draw_curve(axes, curve)
        axes.set_title(model)
    figure.savefig(path)
