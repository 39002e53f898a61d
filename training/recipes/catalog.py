"""The recipe of the catalog."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CatalogRecipe:
    """Titles, genres and weighted ratings of the items; nothing to choose."""

    name: str = "weighted_rating"
    seed: int = 0


CATALOG = {"default": CatalogRecipe}
