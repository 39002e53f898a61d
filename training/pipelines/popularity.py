"""How popular each item is, overall and in each demographic group: what the gateway knows without any model."""

import numpy as np
import polars as pl

from fusion_gateway.fusion.popularity import FACETS, Popularity, group_of
from training.features.interactions import Ints

HALF_LIVES = 4
"""Over the time range of the events: recent ones count more."""
PRIOR_EVENTS = 0.5
"""Added to the count of every item, so that one nobody watched is unlikely, not impossible."""
GROUP_PRIOR_USERS = 20
"""The group's own counts and the overall shares, as this many average users would have made them, are added up."""


def fit_popularity(events: pl.DataFrame, users: pl.DataFrame | None, numbers: Ints) -> Popularity:
    """Over the items of `numbers`, ascending; one lift per group that has events. Counts halve with age."""
    time = events["time"].to_numpy().astype(np.float64)
    age = time.max() - time
    weight = 0.5 ** (HALF_LIVES * age / max(age.max(), 1))
    item = np.searchsorted(numbers, events["item"].to_numpy())
    count = np.bincount(item, weight, len(numbers)) + PRIOR_EVENTS
    share = count / count.sum()
    prior = GROUP_PRIOR_USERS * weight.sum() / events["user"].n_unique()
    lifts = {}
    for group, members in _groups(users).items():
        inside = events["user"].is_in(members.implode()).to_numpy()
        own = np.bincount(item[inside], weight[inside], len(numbers))
        if own.any():
            # Small groups are pulled to the overall shares.
            lifts[group] = np.log((own + prior * share) / (own.sum() + prior) / share)
    return Popularity(numbers, np.log(share), lifts)


def _groups(users: pl.DataFrame | None) -> dict[str, pl.Series]:
    """Members of each group, for the facts that are known of somebody."""
    if users is None:
        return {}
    groups: dict[str, list[str]] = {}
    for facet in FACETS:
        for user, value in users.select("user", facet).drop_nulls().iter_rows():
            groups.setdefault(group_of(facet, value), []).append(user)
    return {group: pl.Series(members) for group, members in sorted(groups.items())}
