"""What is known of users and items besides their ratings, as blocks of 0/1 columns for the Bayesian factorisation."""

import numpy as np
import polars as pl

from training.content import genre_flags
from training.interactions import Floats

AGES = (18, 25, 35, 45, 50, 56)
YEARS = (1, 1930, 1940, 1950, 1960, 1970, 1975, 1980, 1985, *range(1988, 2026, 2))


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


def item_blocks(items: pl.DataFrame) -> list[Floats]:
    """One block [N, K] of years and genres."""
    return [np.hstack([_one_hot(np.digitize(items["year"].to_numpy(), YEARS).tolist()), genre_flags(items)])]


def _one_hot(values: list[object]) -> Floats:
    names = sorted(set(values), key=str)
    return np.array([[value == name for name in names] for value in values], np.float32)
