"""Data in which each item is liked by more users than the one before."""

import polars as pl

from training.data.dataset import Dataset, assemble

NUM_USERS = 40


def dataset(items: list[str]) -> Dataset:
    """The last item is the most popular; even and odd users keep to genres of their own."""
    rows = []
    for user in range(NUM_USERS):
        for position, item in enumerate(items):
            if (user + position) % 2 == 0 and user < 4 * (position + 1):
                rows.append((f"user {user}", item, None, 1000 * user + position))
    events = pl.DataFrame(rows, ["user", "item", "rating", "time"], orient="row")
    genres = [["even" if position % 2 == 0 else "odd"] for position in range(len(items))]
    return assemble("invented", events, pl.DataFrame({"id": items, "genres": genres}), None)
