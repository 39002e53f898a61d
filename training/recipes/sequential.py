"""Sequence recipes."""

from dataclasses import dataclass, replace

from training.recipes.bounds import UNBOUNDED, Bounds
from training.recipes.linear import LinearRecipe


@dataclass(frozen=True)
class LargeData:
    """Fields that count instead from `min_targets` training targets on, where ties are not shuffled."""

    embedding_dim: int
    num_layers: int
    ema_epochs: float
    epochs: int
    min_targets: int = 500_000


@dataclass(frozen=True)
class SequentialRecipe:
    """The sequence transformer, or the gated one that reads ratings and times."""

    name: str = "transformer"
    gated: bool = False
    embedding_dim: int = 64
    num_layers: int = 2
    heads: int = 2
    dropout: float = 0.2
    positions: str = "learned"
    """`learned` or `sincos`, counted from the newest event. The gated model learns one bias a distance instead."""
    length: int = 100
    """Events in a window, and the maximum number read of a history."""
    stride: int = 50
    """Events between the starts of two windows of one user."""
    shuffled_ties: bool = False
    """Every epoch has the events of one second in a new random order, except with large data."""
    user_embedding: int = 0
    """Width of the user embedding joined to the transformer's output; 0: none."""
    post_norm: bool = False
    """The transformer normalizes what each layer adds up to, not what goes in."""
    relu: bool = False
    """ReLU in the transformer's feed-forward layers in place of GELU."""
    tied: bool = True
    """The transformer's output weights are the item embeddings; the gated model's always are."""
    temperature: float = 0.05
    """What the gated model's cosines are divided by."""
    times: bool = False
    """Whether the gated model reads how long before the query each event was."""
    min_query_gap_secs: int = 0
    """Seconds. A query sooner after the newest event counts as made then: a server cannot know that the next event
    will carry the same second."""
    negatives: int = 0
    """Sampled instead of all items in the softmax; 0: all, unless they are very many."""
    large_catalog_items: int = 50_000
    """Beyond so many items, ..."""
    large_catalog_negatives: int = 4096
    """... so many are sampled."""
    optimizer: str = "adam"
    learning_rate: float = 2e-3
    warmup_steps: int = 0
    """Steps in which the learning rate rises."""
    constant_lr_fraction: float = 1.0
    """Fraction of all steps after which the learning rate falls linearly to 0."""
    batch_tokens: int = 6_400
    """Events in a batch, padding included."""
    bf16: bool = False
    """Encode and compare in bfloat16 while training, on devices that have it."""
    ema_epochs: float = 0.0
    """Epochs of the moving average of the weights that are kept, the newest with the largest share; 0: no average."""
    epochs: int = 60
    patience: int = 10
    published_epochs: int = 0
    """Epochs in the source; 0: as many as `epochs`."""
    as_published: bool = False
    """Without what the source does not say: clipped gradients, small initial embeddings, and validation that stops."""
    large_data: LargeData | None = None
    """What is different with many training targets."""
    linear: LinearRecipe | None = None
    """Fitted after the network and joined to it: scores are their weighted sum."""
    bounds: Bounds = UNBOUNDED
    index_factory: str = "Flat"
    text_model: str = ""
    """A sentence-transformers model that reads items\' text for the map from content; empty: TF-IDF."""
    seed: int = 0

    def published(self) -> "SequentialRecipe":
        """The recipe as its source trains it."""
        return replace(self, as_published=True, epochs=self.published_epochs or self.epochs)

    def for_size(self, targets: int) -> "SequentialRecipe":
        """The recipe for that many training targets."""
        large = self.large_data
        if large is None or targets < large.min_targets:
            return self
        return replace(
            self,
            shuffled_ties=False,
            embedding_dim=large.embedding_dim,
            num_layers=large.num_layers,
            ema_epochs=large.ema_epochs,
            epochs=large.epochs,
        )


def seed_transformer() -> SequentialRecipe:
    """S1: windows of 4 (3 inputs) with step 2, sin/cos positions, ReLU, the user embedding beside the encoder's output,
    SGD, batches of 256 windows; as published 5 epochs. Layers, heads, dropout and learning rate are ours.
    """
    return SequentialRecipe(
        "seed_transformer",
        positions="sincos",
        length=3,
        stride=2,
        user_embedding=64,
        post_norm=True,
        relu=True,
        published_epochs=5,
        tied=False,
        optimizer="sgd",
        learning_rate=0.5,
        batch_tokens=3 * 256,
    )


def transformer() -> SequentialRecipe:
    """S1's with learned positions, longer windows and Adam."""
    return SequentialRecipe()


def sasrec() -> SequentialRecipe:
    """SASRec (Kang and McAuley 2018) with the cross entropy over all items (Klenitskiy and Vasilev 2023).

    The weights are averaged, so that 40 epochs are enough.
    """
    return SequentialRecipe(
        "sasrec",
        heads=1,
        dropout=0.1,
        length=200,
        stride=200,
        learning_rate=1e-3,
        warmup_steps=100,
        constant_lr_fraction=0.4,
        batch_tokens=2_048,
        bf16=True,
        ema_epochs=2,
        epochs=40,
        patience=20,
    )


def best_sequential() -> SequentialRecipe:
    """Gated transformer that reads ratings and times; 64 dimensions, or 128 from 500,000 targets.

    Reads the query time, as the literature does offline.
    """
    return SequentialRecipe(
        "best",
        gated=True,
        heads=1,
        dropout=0.3,
        length=200,
        stride=200,
        shuffled_ties=True,
        times=True,
        warmup_steps=100,
        constant_lr_fraction=0.4,
        batch_tokens=2_048,
        bf16=True,
        epochs=140,
        patience=40,
        large_data=LargeData(embedding_dim=128, num_layers=4, ema_epochs=2, epochs=20),
    )


def best_now_sequential() -> SequentialRecipe:
    """best without distinguishing queries within a minute: what a server can know."""
    return replace(best_sequential(), name="best_now", min_query_gap_secs=60)


def best_time_free_sequential() -> SequentialRecipe:
    """best from the order of events and their ratings alone."""
    return replace(best_sequential(), name="best_time_free", times=False)


def best_with_linear() -> SequentialRecipe:
    """best with the linear model inside, for a server on its own.

    The fusion weighs the two better when they are apart.
    """
    return replace(best_sequential(), name="best_with_linear", linear=LinearRecipe())


def best_time_free_with_linear() -> SequentialRecipe:
    """best_time_free with the linear model inside."""
    return replace(best_time_free_sequential(), name="best_time_free_with_linear", linear=LinearRecipe())


def small_sequential() -> SequentialRecipe:
    """transformer on a sample, 40 epochs."""
    return replace(
        transformer(),
        name="small",
        length=50,
        stride=50,
        batch_tokens=2_400,
        learning_rate=3e-3,
        epochs=40,
        patience=6,
        large_catalog_items=4_000,
        large_catalog_negatives=1_024,
        bounds=Bounds(max_items=6_000, max_events=40_000),
    )


SEQUENTIAL = {
    "default": best_sequential,
    "small": small_sequential,
    "seed_transformer": seed_transformer,
    "transformer": transformer,
    "sasrec": sasrec,
    "best": best_sequential,
    "best_now": best_now_sequential,
    "best_time_free": best_time_free_sequential,
    "best_with_linear": best_with_linear,
    "best_time_free_with_linear": best_time_free_with_linear,
}
