"""Recipes of the linear model."""

from dataclasses import dataclass

from training.recipes.bounds import UNBOUNDED, Bounds


@dataclass(frozen=True)
class LinearRecipe:
    """What follows and what goes together, both in closed form; chosen by validation NDCG@10 on ML-100k and ML-1M."""

    name: str = "closed_form"
    length: int = 200
    """Events that are read of a history; ..."""
    recent: int = 50
    """... the newest ones, which tell what follows."""
    decay: float = 0.7
    """The event k positions before the next one counts k^-decay in what follows."""
    ridge: float = 400.0
    """Of what follows."""
    ease_penalty: float = 500.0
    rank: int = 512
    tempering: float = 0.25
    """Errors on an item count by its number of events to the power of twice minus this."""
    max_items: int = 10_000
    """The most watched ones are known; matrices of items by items are inverted."""
    bounds: Bounds = UNBOUNDED
    index_factory: str = "Flat"
    text_model: str = ""
    """A sentence-transformers model that reads items\' text for the map from content; empty: TF-IDF."""
    seed: int = 0


def small_linear() -> LinearRecipe:
    """The same on a sample."""
    return LinearRecipe("small", bounds=Bounds(max_items=3_000, max_events=100_000))


LINEAR = {"default": LinearRecipe, "closed_form": LinearRecipe, "small": small_linear}
