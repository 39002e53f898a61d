"""Recipes of the visual-temporal autoencoder."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class VisualTemporalRecipe:
    """Poster CNN with attention, bi-directional RNN, enhanced autoencoder, fusion layer."""

    name: str = "cnn_birnn_ae"
    poster_height: int = 72
    poster_width: int = 48
    channels: tuple[int, ...] = (16, 32, 64)
    text_dimension: int = 64
    """Of the TF-IDF of overview, keywords, director and cast, reduced by SVD."""
    dimension: int = 64
    dropout: float = 0.1
    length: int = 50
    prefixes: int = 16
    """Positions of each user's sequence that an epoch asks for ..."""
    steps: int = 1_000
    """... in at most this many steps."""
    posters_per_step: int = 128
    """Posters encoded with gradient in one step; the others keep the features of their last time."""
    item_dropout: float = 0.1
    """Share of items whose learned part is hidden in a step, so that content alone must do."""
    reconstruction_weight: float = 0.02
    genre_weight: float = 0.3
    learning_rate: float = 2e-3
    weight_decay: float = 1e-5
    batch: int = 128
    epochs: int = 40
    patience: int = 6
    index_factory: str = "Flat"
    seed: int = 0


def cnn_birnn_ae() -> VisualTemporalRecipe:
    return VisualTemporalRecipe()


def small_visual_temporal() -> VisualTemporalRecipe:
    return replace(
        cnn_birnn_ae(),
        name="small",
        poster_height=48,
        poster_width=32,
        length=20,
        posters_per_step=48,
        steps=60,
        prefixes=12,
        epochs=10,
        patience=4,
    )


VISUAL_TEMPORAL = {"default": cnn_birnn_ae, "small": small_visual_temporal, "cnn_birnn_ae": cnn_birnn_ae}
