"""Rating recipes: networks, factorization by gradient descent, and Bayesian factorization."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from training.recipes.bounds import UNBOUNDED, Bounds

Content = Literal["genres", "no_genre", "tags", "director"]
Repeated = Literal["last", "mean"]


@dataclass(frozen=True)
class RatingRecipe:
    """The rating network and its linear factors."""

    name: str = "hybrid_genres"
    embedding_dim: int = 64
    hidden: tuple[int, ...] = (64, 32)
    ids: bool = True
    """Whether users and items have embeddings of their own; without, all users get the same ratings."""
    content: tuple[Content, ...] = ("genres",)
    """What the network knows of an item; `no_genre` is a flag for those without any."""
    embedding_dropout: float = 0.3
    dropout: float = 0.3
    factors: bool = False
    """Add the inner product of a second pair of embeddings, with biases."""
    rating_weight: float = 1.0
    """Of the squared error of ratings; 0: only views are learned from."""
    view_weight: float = 0.0
    """Weight of telling the items that a user watched, rated or not, from others drawn at random."""
    learning_rate: float = 1e-3
    l2: float = 0.0
    """Weight of the squares of the hidden layers' weights, added to the loss."""
    batch_size: int = 256
    epochs: int = 15
    patience: int = 15
    as_published: bool = False
    """Without what the sources do not say: clipped gradients, small initial embeddings, and validation that stops."""
    repeated: Repeated = "last"
    """Which of a user's ratings of one item counts: last, or mean."""
    served_rank: int = 32
    """Dimensions kept of the table of predictions."""
    bounds: Bounds = UNBOUNDED
    index_factory: str = "Flat"
    text_model: str = ""
    """A sentence-transformers model that reads items\' text for the map from content; empty: TF-IDF."""
    seed: int = 0

    def published(self) -> "RatingRecipe":
        """The recipe as its source trains it."""
        return replace(self, as_published=True)


@dataclass(frozen=True)
class SvdRecipe:
    """Biased matrix factorization by stochastic gradient descent, its size chosen from a grid by cross-validation."""

    name: str = "svd"
    factors: tuple[int, ...] = (50, 100)
    epochs: tuple[int, ...] = (20, 30)
    folds: int = 3
    """Of the cross-validation that chooses."""
    learning_rate: float = 0.005
    regularization: float = 0.02
    min_user_ratings: int = 20
    """Users with fewer, and items with at most `max_ignored_item_ratings`, are left out."""
    max_ignored_item_ratings: int = 50
    repeated: Repeated = "last"
    """Which of a user's ratings of one item counts: last, or mean."""
    served_rank: int = 32
    bounds: Bounds = UNBOUNDED
    index_factory: str = "Flat"
    text_model: str = ""
    """A sentence-transformers model that reads items\' text for the map from content; empty: TF-IDF."""
    seed: int = 0


@dataclass(frozen=True)
class LargeData:
    """Fields that count instead from `min_ratings` ratings on."""

    rank: int
    samples: int
    min_ratings: int = 500_000


@dataclass(frozen=True)
class BayesianRecipe:
    """Bayesian matrix factorization and its linear factors."""

    name: str = "bayesian"
    rank: int = 20
    samples: int = 400
    burn_in: int = 80
    large_data: LargeData | None = None
    """What is different with many ratings."""
    noise_freedom: float = 10.0
    """Degrees of freedom of the noise of each user and each item; fewer let them differ more."""
    words: bool = False
    """Whether items' directors, cast and keywords are side information."""
    repeated: Repeated = "last"
    """Which of a user's ratings of one item counts: last, or mean."""
    served_rank: int = 32
    """Dimensions kept of the posterior mean."""
    bounds: Bounds = UNBOUNDED
    index_factory: str = "Flat"
    text_model: str = ""
    """A sentence-transformers model that reads items\' text for the map from content; empty: TF-IDF."""
    seed: int = 0

    def for_size(self, ratings: int) -> "BayesianRecipe":
        """The recipe for that many ratings."""
        large = self.large_data
        if large is None or ratings < large.min_ratings:
            return self
        return replace(self, rank=large.rank, samples=large.samples)


AnyRating = RatingRecipe | SvdRecipe | BayesianRecipe


def seed_rating() -> RatingRecipe:
    """S1, a network of user and item embeddings: no genres, one hidden layer of 128, dropout 0.1."""
    return RatingRecipe("seed_rating", hidden=(128,), content=(), embedding_dropout=0.0, dropout=0.1)


def hybrid_genres() -> RatingRecipe:
    """S4: a network of ids and genres, and a flag for movies without a genre."""
    return RatingRecipe(content=("genres", "no_genre"))


def hybrid_mf_deep() -> RatingRecipe:
    """S2: factorization and deep part, from ratings and views together. It publishes no sizes; these are S4's."""
    return replace(hybrid_genres(), name="hybrid_mf_deep", factors=True, view_weight=1.0, patience=4)


def ids_content_nn() -> RatingRecipe:
    """S3's network: embeddings of 50 for user, movie and director, genres, 1000 tag words; hidden 128 and 64."""
    return RatingRecipe(
        "ids_content_nn",
        embedding_dim=50,
        hidden=(128, 64),
        content=("genres", "tags", "director"),
        embedding_dropout=0.0,
        dropout=0.5,
        batch_size=32,
        epochs=50,
        patience=3,
        repeated="mean",
    )


def ids_content_fewer() -> RatingRecipe:
    """S3's first step against overfitting: hidden 64 and 32."""
    return replace(ids_content_nn(), name="ids_content_fewer", hidden=(64, 32))


def ids_content_slower() -> RatingRecipe:
    """S3's second step: half the learning rate."""
    return replace(ids_content_fewer(), name="ids_content_slower", learning_rate=5e-4)


def ids_content_l2() -> RatingRecipe:
    """S3's third step: L2 of the hidden layers."""
    return replace(ids_content_slower(), name="ids_content_l2", l2=1e-3)


def ids_content_dropout() -> RatingRecipe:
    """S3's fourth step: dropout .6."""
    return replace(ids_content_l2(), name="ids_content_dropout", dropout=0.6)


def ids_content_fewest() -> RatingRecipe:
    """S3's fifth step: hidden 32 and 16."""
    return replace(ids_content_dropout(), name="ids_content_fewest", hidden=(32, 16))


def content_nn() -> RatingRecipe:
    """S3's second network: genres and 1000 tag words alone, hidden 64 and 32; all users get the same ratings."""
    ids_alike = replace(ids_content_fewer(), name="content_nn", ids=False, embedding_dim=1)
    return replace(ids_alike, content=("genres", "tags"), patience=5)


def content_dropout() -> RatingRecipe:
    """S3's second network with dropout .6."""
    return replace(content_nn(), name="content_dropout", dropout=0.6)


def content_slower() -> RatingRecipe:
    """S3's second network with half the learning rate as well."""
    return replace(content_dropout(), name="content_slower", learning_rate=5e-4)


def content_fewest() -> RatingRecipe:
    """S3's second network as it measures it by five folds: hidden 32 and 16 as well."""
    return replace(content_slower(), name="content_fewest", hidden=(32, 16))


def svd() -> SvdRecipe:
    """S3, which takes it from Surprise: biased factorization by gradient descent."""
    return SvdRecipe(repeated="mean")


def bayesian() -> BayesianRecipe:
    """Bayesian factorization of rank 20, without words."""
    return BayesianRecipe()


def best() -> BayesianRecipe:
    """Bayesian factorization with people and keywords; rank 32, or 64 from 500,000 ratings.

    Chosen on a tenth of ML-100k's u1.base, and for many ratings on a tenth of ML-1M's training part.
    """
    return BayesianRecipe(
        "best", rank=32, samples=800, words=True, large_data=LargeData(rank=64, samples=300), served_rank=64
    )


def small_rating() -> RatingRecipe:
    """hybrid_genres on a sample, 12 epochs."""
    bounds = Bounds(max_items=6_000, max_users=2_000, max_events=60_000)
    return replace(hybrid_genres(), name="small", batch_size=512, learning_rate=2e-3, epochs=12, bounds=bounds)


RATING: Mapping[str, Callable[[], AnyRating]] = {
    "default": best,
    "small": small_rating,
    "seed_rating": seed_rating,
    "hybrid_genres": hybrid_genres,
    "hybrid_mf_deep": hybrid_mf_deep,
    "ids_content_nn": ids_content_nn,
    "ids_content_fewer": ids_content_fewer,
    "ids_content_slower": ids_content_slower,
    "ids_content_l2": ids_content_l2,
    "ids_content_dropout": ids_content_dropout,
    "ids_content_fewest": ids_content_fewest,
    "content_nn": content_nn,
    "content_dropout": content_dropout,
    "content_slower": content_slower,
    "content_fewest": content_fewest,
    "svd": svd,
    "bayesian": bayesian,
    "best": best,
}
