"""A picture of what the item encoder finds alike: by poster only, by text only, by everything."""

from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.artifacts.item_encoder_files import PublishedItemEncoder
from training.artifacts.repository import latest
from training.data.posters import Pixels, StoredPixels, poster_tensor
from training.features.interactions import Floats

ITEMS = 6
NEIGHBORS = 3
KINDS = ("poster", "text", "all")


def contact_sheet(items: pl.DataFrame, repository: Path, cache: Path, out: Path, seed: int) -> None:
    """Writes a PNG: a row for each of 6 random items with a poster, and their nearest ones of each kind.

    `items` as in Dataset.items; encoded by the newest visual_temporal version.
    """
    encoder = PublishedItemEncoder(latest(repository, "visual_temporal"))
    pixels, present = poster_tensor(items, encoder.poster_size, cache)
    alike = likeness(encoder, items, pixels, present)
    shown = np.random.default_rng(seed).choice(np.flatnonzero(present), ITEMS, replace=False)
    figure = Figure(figsize=(1.3 * (1 + len(KINDS) * NEIGHBORS), 2.4 * ITEMS), layout="constrained")
    grid = figure.subplots(ITEMS, 1 + len(KINDS) * NEIGHBORS)
    for axes, item in zip(grid, shown, strict=True):
        columns = [(item, "")]
        for kind in KINDS:
            nearest = [row for row in np.argsort(-alike[kind][item]) if row != item and present[row]][:NEIGHBORS]
            columns += [(row, f"by {kind}") for row in nearest]
        for axis, (row, kind) in zip(axes, columns, strict=True):
            _show(axis, pixels[row], f"{kind}\n{items['title'][int(row)][:18]}")
    figure.savefig(out, dpi=80)


def likeness(
    encoder: PublishedItemEncoder, items: pl.DataFrame, pixels: StoredPixels, present: np.ndarray
) -> dict[str, Floats]:
    """[N, N] cosines for each of KINDS; what is not to be looked at is given as unknown."""
    content = encoder.content(items)
    blank = np.tile(np.array([0, 1], np.float32), (len(items), 1))
    nothing = np.hstack([0 * content.genres, 0 * content.text, blank])
    only_text = np.hstack([0 * content.genres, content.text, blank])
    features = {
        "poster": encoder.encode(nothing, pixels, present)[0],
        "text": encoder.encode(only_text, pixels, np.zeros_like(present))[0],
        "all": encoder.encode(content.all, pixels, present)[0],
    }
    return {kind: _cosines(feature) for kind, feature in features.items()}


def _cosines(feature: Floats) -> Floats:
    """Of the differences from the mean: what all items have in common says nothing."""
    centered = feature - feature.mean(axis=0)
    unit = centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit.T, np.float32)


def _show(axis: Axes, pixels: Pixels, title: str) -> None:
    axis.imshow(pixels.transpose(1, 2, 0))
    axis.set_title(title, fontsize=7)
    axis.axis("off")
