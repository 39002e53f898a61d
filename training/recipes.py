"""Recipes: every training run is one frozen configuration, made by a function.

`small` recipes train in seconds to a minute on two cores and are what the demo uses; the others take minutes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from training.errors import TrainingError


@dataclass(frozen=True)
class RatingRecipe:
    """The rating network and its linear factors."""

    name: str = "hybrid_genres"
    embedding: int = 64
    hidden: tuple[int, ...] = (64, 32)
    content: tuple[str, ...] = ("genres",)
    """What the network knows of an item: some of genres, tags, director."""
    embedding_dropout: float = 0.3
    dropout: float = 0.3
    factors: bool = False
    """Add the inner product of a second pair of embeddings, with biases."""
    view_weight: float = 0.0
    """Weight of telling the items that a user watched from others drawn at random."""
    learning_rate: float = 1e-3
    batch: int = 256
    epochs: int = 15
    patience: int = 15
    served_rank: int = 32
    """Dimensions kept of the table of predictions."""
    index_factory: str = "Flat"
    seed: int = 0


@dataclass(frozen=True)
class SvdRecipe:
    """Biased matrix factorisation by stochastic gradient descent, its size chosen from a grid."""

    name: str = "svd"
    factors: tuple[int, ...] = (50, 100)
    epochs: tuple[int, ...] = (20, 30)
    learning_rate: float = 0.005
    regularisation: float = 0.02
    least_user_ratings: int = 20
    """Users with fewer, and items with at most `most_ignored_item_ratings`, are left out."""
    most_ignored_item_ratings: int = 50
    served_rank: int = 32
    index_factory: str = "Flat"
    seed: int = 0


@dataclass(frozen=True)
class BayesianRecipe:
    """Bayesian matrix factorisation and its linear factors."""

    name: str = "bayesian"
    rank: int = 20
    samples: int = 400
    burn_in: int = 80
    many: int = 500_000
    """From so many ratings on, these count instead."""
    rank_of_many: int = 20
    samples_of_many: int = 400
    noise_freedom: float = 10.0
    """Degrees of freedom of the noise of each user and each item; fewer let them differ more."""
    words: bool = False
    """Whether items' directors, cast and keywords are side information."""
    served_rank: int = 32
    """Dimensions kept of the posterior mean."""
    index_factory: str = "Flat"
    seed: int = 0

    def for_size(self, ratings: int) -> "BayesianRecipe":
        """The recipe with the rank and the number of samples of that many ratings."""
        return self if ratings < self.many else replace(self, rank=self.rank_of_many, samples=self.samples_of_many)


AnyRating = RatingRecipe | SvdRecipe | BayesianRecipe


@dataclass(frozen=True)
class SequentialRecipe:
    """The sequence transformer."""

    name: str = "transformer"
    dimension: int = 64
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.2
    positions: str = "learned"
    """`learned` or `sincos`, counted from the newest event."""
    length: int = 100
    """Events in a window."""
    step: int = 50
    """Events between the starts of two windows of one user."""
    user_embedding: int = 0
    """Width of the user embedding joined to the encoder's output; 0: none."""
    tied: bool = True
    """Output weights are the item embeddings."""
    optimizer: str = "adam"
    learning_rate: float = 2e-3
    batch: int = 64
    epochs: int = 60
    patience: int = 8
    index_factory: str = "Flat"
    seed: int = 0


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


@dataclass(frozen=True)
class CatalogRecipe:
    """Nothing to choose."""

    name: str = "weighted_rating"
    seed: int = 0


@dataclass(frozen=True)
class FusionRecipe:
    """The fitted policy."""

    name: str = "softmax_weights"
    normalisers: tuple[str, ...] = ("none", "zscore", "rank")
    """Candidates, chosen on validation data."""
    users: int = 4000
    """Most validation users to fit on."""
    seed: int = 0


def seed_rating() -> RatingRecipe:
    """S1: no genres, one hidden layer of 128, dropout 0.1."""
    return RatingRecipe("seed_rating", hidden=(128,), content=(), embedding_dropout=0.0, dropout=0.1)


def hybrid_genres() -> RatingRecipe:
    """S4."""
    return RatingRecipe()


def hybrid_mf_deep() -> RatingRecipe:
    """S2: factorisation and deep part, from ratings and views together. It publishes no numbers; these are S4's."""
    return replace(hybrid_genres(), name="hybrid_mf_deep", factors=True, view_weight=0.1)


def ids_content_nn() -> RatingRecipe:
    """S3's network: embeddings of 50 for user, movie and director, genres, 1000 tag words; hidden 128 and 64."""
    return RatingRecipe(
        "ids_content_nn",
        embedding=50,
        hidden=(128, 64),
        content=("genres", "tags", "director"),
        embedding_dropout=0.0,
        dropout=0.5,
        batch=32,
        epochs=50,
        patience=3,
    )


def svd() -> SvdRecipe:
    """S3, which takes it from Surprise."""
    return SvdRecipe()


def bayesian() -> BayesianRecipe:
    return BayesianRecipe()


def best() -> BayesianRecipe:
    """Chosen on a tenth of ML-100k's u1.base, and for many ratings on a tenth of ML-1M's training part."""
    return BayesianRecipe(
        "best", rank=32, samples=800, words=True, rank_of_many=64, samples_of_many=300, served_rank=64
    )


def small_rating() -> RatingRecipe:
    return replace(hybrid_genres(), name="small", batch=512, learning_rate=2e-3, epochs=12)


def seed_transformer() -> SequentialRecipe:
    """S1: windows of 4 with step 2, sin/cos positions, user embedding beside the encoder's output, SGD."""
    return SequentialRecipe(
        "seed_transformer",
        positions="sincos",
        length=4,
        step=2,
        user_embedding=64,
        tied=False,
        optimizer="sgd",
        learning_rate=0.5,
        batch=256,
    )


def transformer() -> SequentialRecipe:
    return SequentialRecipe()


def small_sequential() -> SequentialRecipe:
    return replace(transformer(), name="small", length=50, step=50, batch=48, learning_rate=3e-3, epochs=45, patience=6)


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


def softmax_weights() -> FusionRecipe:
    return FusionRecipe()


CATALOG = {"default": CatalogRecipe}
RATING: Mapping[str, Callable[[], AnyRating]] = {
    "default": best,
    "small": small_rating,
    "seed_rating": seed_rating,
    "hybrid_genres": hybrid_genres,
    "hybrid_mf_deep": hybrid_mf_deep,
    "ids_content_nn": ids_content_nn,
    "svd": svd,
    "bayesian": bayesian,
    "best": best,
}
SEQUENTIAL = {
    "default": transformer,
    "small": small_sequential,
    "transformer": transformer,
    "seed_transformer": seed_transformer,
}
VISUAL_TEMPORAL = {"default": cnn_birnn_ae, "small": small_visual_temporal, "cnn_birnn_ae": cnn_birnn_ae}
FUSION = {"default": softmax_weights}

R = TypeVar("R")


def choose(choices: Mapping[str, Callable[[], R]], name: str) -> R:
    """The recipe of that name; the default is also the small one where there is none. Raises TrainingError."""
    if name == "small" and name not in choices:
        name = "default"
    if name not in choices:
        raise TrainingError(f"no recipe '{name}' here; there are {', '.join(choices)}")
    return choices[name]()
