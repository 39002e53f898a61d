"""What is known of users and items besides their ratings, as blocks of 0/1 columns for the Bayesian factorization."""

from collections import Counter

import numpy as np
import polars as pl

from fusion_gateway.fusion.popularity import AGES
from training.features.content import genre_flags
from training.features.interactions import Floats

YEARS = (1, 1930, 1940, 1950, 1960, 1970, 1975, 1980, 1985, *range(1988, 2026, 2))
MIN_ITEMS = 3
"""Items that a director, an actor or a keyword must have."""


def user_blocks(users: pl.DataFrame | None, user_ids: list[str]) -> list[Floats]:
    """One block [U, K] of age group, gender, occupation and region; none where nothing is known of anybody."""
    if users is None:
        return []
    table = pl.DataFrame({"user": user_ids}).join(users, on="user", how="left", maintain_order="left")
    age = table["age"].fill_null(-1).to_numpy()
    columns = [
        _one_hot(np.where(age < 0, -1, np.digitize(age, AGES)).tolist()),
        *(_one_hot(table[name].fill_null("").to_list()) for name in ("gender", "occupation")),
        _one_hot(table["zip"].fill_null("").str.slice(0, 1).to_list()),
    ]
    return [np.hstack(columns)]


def item_blocks(items: pl.DataFrame, words: bool = False) -> list[Floats]:
    """One block [N, K] of years and genres, and with `words` one of directors, cast and keywords."""
    years = _one_hot(np.digitize(items["year"].to_numpy(), YEARS).tolist())
    return [np.hstack([years, genre_flags(items)]), *([_words(items)] if words else [])]


def _words(items: pl.DataFrame) -> Floats:
    """[N, K] of the people and keywords that occur often enough to say something."""
    of_item = [_words_of(*row) for row in items.select("director", "cast", "keywords").iter_rows()]
    count = Counter(word for words in of_item for word in words if word[1])
    frequent = sorted(word for word, items_with in count.items() if items_with >= MIN_ITEMS)
    column = {word: index for index, word in enumerate(frequent)}
    flags = np.zeros((len(items), len(column)), np.float32)
    for row, words in zip(flags, of_item, strict=True):
        row[[column[word] for word in words if word in column]] = 1
    return flags


def _words_of(director: str, cast: list[str], keywords: list[str]) -> set[tuple[str, str]]:
    people = {("director", director), *(("cast", name) for name in cast)}
    return people | {("keyword", word) for word in keywords}


def _one_hot(values: list[object]) -> Floats:
    names = sorted(set(values), key=str)
    column = {name: index for index, name in enumerate(names)}
    return np.eye(len(names), dtype=np.float32)[[column[value] for value in values]]
