"""The recipe of the catalog."""

from dataclasses import dataclass


@dataclass(frozen=True)
class CatalogRecipe:
    """Titles, genres, weighted ratings and texts of the items."""

    name: str = "weighted_rating"
    tag_words: int = 1000
    """The most frequent words of tags (REFERENCE_SYSTEMS.md S3)."""
    text_model: str = ""
    """A sentence-transformers model, by local path or name, for texts; by default TF-IDF."""
    seed: int = 0


CATALOG = {"default": CatalogRecipe}
