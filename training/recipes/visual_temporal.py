"""Recipes of the visual-temporal autoencoder."""

from dataclasses import dataclass, replace
from typing import Literal

from training.recipes.bounds import UNBOUNDED, Bounds


@dataclass(frozen=True)
class VisualTemporalRecipe:
    """Poster CNN with attention, bi-directional RNN, enhanced autoencoder, fusion layer."""

    name: str = "best"
    task: Literal["next", "like"] = "next"
    """What is learned: `next` asks what comes next among all items, `like` whether a rating reaches `liked_from`."""
    liked_from: float = 4.0
    """In stars."""
    without: tuple[str, ...] = ()
    """Parts left out, of models.visual_temporal.PARTS."""
    poster_height: int = 48
    poster_width: int = 32
    channels: tuple[int, ...] = (16, 32, 64)
    """Of each convolution of a network, one after the other."""
    filter_sizes: tuple[int, ...] = (3,)
    """Height and width of the filters: a network for each size, whose features are joined."""
    text_model: str = ""
    """A sentence-transformers model, by local path or name, for overview, keywords, director and cast; by default
    TF-IDF."""
    text_dim: int = 64
    """Of either, reduced by SVD."""
    embedding_dim: int = 64
    rnn_dim: int = 32
    """Of each direction."""
    cell: Literal["gru", "lstm"] = "gru"
    activations: bool = False
    """S5's in the autoencoder: ReLU after both layers of the encoder and the first of the decoder, σ of the bottleneck
    and of the output; and σ of F_CNN, so that the output can equal what it reconstructs. σ is tanh."""
    normalization: bool = True
    """Of batches in the poster networks, and of layers in item encoder and residual blocks. S5 has none."""
    xavier: bool = False
    """For all weights: convolutions, recurrent layers and embeddings too, not the linear layers alone."""
    history_pools: int = 4
    """Weighted sums of the history that the autoencoder reads, each with weights of its own by position and rating.

    With none it reads F_CNN and F_RNN alone.
    """
    dropout: float = 0.3
    length: int = 100
    window: int = 8
    """Newest events that the RNN reads; the other parts read `length`."""
    temperature: float = 0.07
    """Of the cosines of queries and items; 0 for inner products with F as a tanh."""
    batch_users: int = 16
    """Of one step; ..."""
    targets: int = 32
    """... at most so many consecutive positions of each one's sequence, at a random position, are predicted."""
    steps: int = 1_000
    """Of an epoch, in which every user has one turn, at most."""
    posters_per_step: int = 8
    """Posters encoded with gradient in one step; the others keep the features of their last time."""
    item_dropout: float = 0.1
    """Share of items whose learned part is hidden in a step, so that content alone must do."""
    reconstruction_weight: float = 0.02
    genre_weight: float = 0.1
    learning_rate: float = 3e-3
    linear_decay: bool = True
    """The learning rate, to 0 at the last epoch."""
    weight_decay: float = 0.0
    as_published: bool = False
    """Without clipped gradients, which S5 does not name. It stops early and starts from Xavier's weights itself."""
    epochs: int = 16
    patience: int = 4
    max_posters: int = 0
    """Maximum number of posters: those of the most watched items that have one; 0 for all."""
    bounds: Bounds = UNBOUNDED
    index_factory: str = "Flat"
    seed: int = 0

    def published(self) -> "VisualTemporalRecipe":
        """The recipe as its source trains it."""
        return replace(self, as_published=True)

    @property
    def poster_features(self) -> int:
        """Width of what the poster networks make of a poster."""
        return self.channels[-1] * len(self.filter_sizes)


def best_visual_temporal() -> VisualTemporalRecipe:
    """Poster CNN, RNN in both directions and autoencoder, for the next item.

    Chosen by validation NDCG@10 on ML-100k, seed 0.
    """
    return VisualTemporalRecipe(embedding_dim=128, dropout=0.4, epochs=24, patience=12)


def small_visual_temporal() -> VisualTemporalRecipe:
    """The same on a sample: seconds to a minute."""
    bounds = Bounds(max_items=2_000, max_events=40_000)
    return VisualTemporalRecipe("small", length=50, steps=50, epochs=8, max_posters=2_000, bounds=bounds)


def seed_cnn_birnn_ae() -> VisualTemporalRecipe:
    """S5, for likes, on smaller images than published: three poster networks, without normalization, Xavier."""
    return replace(
        best_visual_temporal(),
        name="seed_cnn_birnn_ae",
        task="like",
        poster_height=72,
        poster_width=48,
        channels=(16, 32),
        filter_sizes=(3, 5, 7),
        activations=True,
        normalization=False,
        xavier=True,
        embedding_dim=64,
        history_pools=0,
        dropout=0.5,
        length=50,
        window=50,
        temperature=0.0,
        item_dropout=0.0,
        reconstruction_weight=1.0,
        genre_weight=1.0,
        learning_rate=1e-3,
        linear_decay=False,
        weight_decay=1e-5,
        batch_users=4,
        epochs=100,
        patience=8,
    )


def seed_cnn_birnn_ae_224() -> VisualTemporalRecipe:
    """The same on images of the published size; takes hours without a GPU."""
    return replace(seed_cnn_birnn_ae(), name="seed_cnn_birnn_ae_224", poster_height=224, poster_width=224)


VISUAL_TEMPORAL = {
    "default": best_visual_temporal,
    "best": best_visual_temporal,
    "small": small_visual_temporal,
    "seed_cnn_birnn_ae": seed_cnn_birnn_ae,
    "seed_cnn_birnn_ae_224": seed_cnn_birnn_ae_224,
}
