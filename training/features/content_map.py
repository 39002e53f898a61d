"""A closed-form map from what is written about an item onto the vector a model would have learned for it.

Kernel ridge regression (Saunders et al. 1998) from the content X of learned items onto their vectors V:

    v(x) = m + k(x, X) (K + λI)⁻¹ (V - m),    k(x, y) = exp(-.6 d²)

where m is the mean vector, and d² the squared distance of two contents, each of whose parts is scaled to a mean of 1.
λ is chosen by leaving one out: the residual of item i, had it been hidden from the fit, is α_i / G_ii with
G = (K + λI)⁻¹ and α = G (V - m). Legend: N learned items, A of which the map keeps, P new items, D dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import save_file

from training.features.content import ContentEncoder
from training.features.interactions import Floats
from training.published import read_tensors

PEOPLE, WORDS = ("director", "cast"), ("overview", "keywords")
READ = (PEOPLE, WORDS, (*PEOPLE, "overview"))
"""What each encoder does not read."""
NAMES = ("content_map_text", "content_map_people", "content_map_meaning")
"""Of the encoders' files; the last one is there with a text model only."""
VECTORS = "content_map.safetensors"
FILES = (VECTORS, *(f"{name}.{ending}" for name in NAMES for ending in ("json", "safetensors")))
WIDTH = 0.6
YEARS_ALIKE = 1.5
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Candidates for λ."""
TEXT_DIMENSION = 256
MAX_ANCHORS = 4_000
"""Learned items that a map keeps: a matrix of all pairs is inverted."""
AT_ONCE = 4_096
"""New items that are mapped together."""


@dataclass(frozen=True)
class MappedContent:
    """The content of items as a map reads it; its distances count genres, text, people and year alike."""

    encoders: tuple[ContentEncoder, ...]
    """Of what is written about an item, and of who made it: people say more where words do not drown them. With a text
    model also of what its keywords mean, beside their words.
    """
    years: Floats
    """[Y] of the items it was fitted on, from the first to the last."""
    scale: Floats
    """[M]: what each column is multiplied by; zeros for a part in which all items are alike."""

    @classmethod
    def fit(cls, items: pl.DataFrame, text_model: str) -> "MappedContent":
        """Scaled so that the mean squared distance of two items is 1, to which each part contributes the same."""
        models = ("", "", text_model) if text_model else ("", "")
        read = zip(READ, models, strict=False)
        encoders = tuple(ContentEncoder.fit(emptied(items, left), TEXT_DIMENSION, 0, model) for left, model in read)
        known = items["year"].filter(items["year"] > 0).to_numpy()
        first, last = (known.min(), known.max()) if len(known) else (0, -1)
        years = np.arange(first, last + 1, dtype=np.float32)
        parts = _parts(items, encoders, years)
        # The mean squared distance of two rows is twice the variance.
        spread = [2 * float(part.var(axis=0).sum()) for part in parts]
        varied = sum(value > 0 for value in spread)
        factor = [(value * varied) ** -0.5 if value > 0 else 0.0 for value in spread]
        widths = [part.shape[1] for part in parts]
        return cls(encoders, years, np.repeat(np.asarray(factor, np.float32), widths))

    def __call__(self, items: pl.DataFrame) -> Floats:
        """[P, M]."""
        return np.hstack(_parts(items, self.encoders, self.years)) * self.scale


def emptied(items: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The same items, of which these texts and lists are not known."""
    empty = (pl.lit("" if items.schema[name] == pl.String else [], dtype=items.schema[name]) for name in columns)
    return items.with_columns(value.alias(name) for name, value in zip(columns, empty, strict=True))


def _parts(items: pl.DataFrame, encoders: Sequence[ContentEncoder], years: Floats) -> list[Floats]:
    read = zip(encoders, READ, strict=False)
    contents = [encoder(emptied(items, left_out)) for encoder, left_out in read]
    # A hill around each year: what came out last year is alike, in the way that what came out ten years ago is not.
    distance = (items["year"].to_numpy()[:, None] - years) / YEARS_ALIKE
    texts = [content.text for content in contents]
    return [contents[0].genres, *texts, np.exp(-np.square(distance)).astype(np.float32)]


@dataclass(frozen=True)
class ContentMap:
    """Fitted on the learned items of a model."""

    content: MappedContent
    anchor: Floats
    """[A, M] scaled content of the learned items that are kept."""
    weight: Floats
    """[A, D]: (K + λI)⁻¹ (V - m)."""
    mean: Floats
    """[D]: m."""

    @classmethod
    def fit(cls, items: pl.DataFrame, vectors: Floats, queries: Floats, text_model: str = "") -> "ContentMap | None":
        """Of learned `items` (as in Dataset.items) with `vectors` [N, D]; None where their content is all the same.

        λ is the one whose error in the scores for the validation `queries` [B, Q] is smallest. These multiply the
        first Q dimensions of a vector.
        """
        kept = np.sort(np.random.default_rng(0).permutation(len(items))[:MAX_ANCHORS])
        items, vectors = items[kept], vectors[kept]
        content = MappedContent.fit(items, text_model)
        if not content.scale.any():
            return None
        anchor = content(items)
        mean = vectors.mean(axis=0)
        weight = _best_weight(_kernel(anchor, anchor), vectors - mean, queries)
        return cls(content, anchor, weight, mean)

    def __call__(self, items: pl.DataFrame) -> Floats:
        """Vectors [P, D] of `items`, as in Dataset.items."""
        mapped = np.empty((len(items), len(self.mean)), np.float32)
        for first in range(0, len(items), AT_ONCE):
            some = self.content(items[first : first + AT_ONCE])
            mapped[first : first + AT_ONCE] = self.mean + _kernel(some, self.anchor) @ self.weight
        return mapped

    def write(self, folder: Path) -> None:
        """Writes those of FILES that the map has."""
        for encoder, name in zip(self.content.encoders, NAMES, strict=False):
            encoder.write(folder, name)
        arrays = {"anchor": self.anchor, "weight": self.weight, "mean": self.mean}
        save_file(arrays | {"years": self.content.years, "scale": self.content.scale}, folder / VECTORS)

    @classmethod
    def read(cls, folder: Path) -> "ContentMap | None":
        """None where the version has no map. Raises TrainingError."""
        if not (folder / VECTORS).is_file():
            return None
        arrays = read_tensors(folder / VECTORS, ("years", "scale", "anchor", "weight", "mean"))
        names = [name for name in NAMES if (folder / f"{name}.json").is_file()]
        encoders = tuple(ContentEncoder.read(folder, name) for name in names)
        content = MappedContent(encoders, arrays.pop("years"), arrays.pop("scale"))
        return cls(content, **arrays)


def _best_weight(kernel: Floats, target: Floats, queries: Floats) -> Floats:
    """The weight [A, D] whose predictions of items left out make the smallest error in the scores."""
    fitted = [_fit(kernel, target, queries, penalty) for penalty in PENALTIES]
    return min(fitted, key=lambda pair: pair[0])[1]


def _fit(kernel: Floats, target: Floats, queries: Floats, penalty: float) -> tuple[float, Floats]:
    """The mean squared error of scores when one item is left out, and the weight [A, D]."""
    regular = kernel + penalty * np.eye(len(kernel), dtype=np.float32)
    inverse = np.asarray(np.linalg.inv(regular), np.float32)
    weight = inverse @ target
    residual = weight / np.diag(inverse)[:, None]
    errors = residual[:, : queries.shape[1]] @ queries.T if len(queries) else residual
    return float(np.square(errors).mean()), weight


def _kernel(rows: Floats, columns: Floats) -> Floats:
    """[P, A]: exp(-WIDTH d²)."""
    squares = np.square(rows).sum(1)[:, None] + np.square(columns).sum(1)
    distance = np.maximum(squares - 2 * rows @ columns.T, 0)
    return np.asarray(np.exp(-WIDTH * distance), np.float32)
