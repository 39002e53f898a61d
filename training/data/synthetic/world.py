"""The invented world behind the generated data: who likes what, what leads to what, and what is watched next.

What makes a user choose the next item is one of three causes, and each model of Marquee sees one of them best:

taste   a low-rank utility of user and item; ratings are this and noise
order   part 3 comes after part 2, and each circle of items leads on to another circle
style   the look of the poster, which has nothing to do with genre; the mood for a style lasts for some items

The other two causes still count a little. Half of the items are off the mainstream, with few events each, and found by
their style: content helps there. Popularity sees only what is mainstream and good.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

GENRES = (
    "Action", "Adventure", "Animation", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Horror", "Romance",
    "Sci-Fi", "War",
)  # fmt: skip
PALETTES = ("noir", "neon", "pastel", "sepia", "primary", "frost", "forest", "gold")
STYLES = tuple((palette, framed) for palette in PALETTES for framed in (False, True))

CAUSES_AT_FIRST, CAUSES_AT_LAST = np.array([0.1, 0.45, 0.45]), np.array([0.45, 0.18, 0.37])
"""How often a choice is made for taste, order and style, at both ends of a life: users come to know what they like."""
WEIGHTS = np.array([[3.5, 0.5, 1.0], [0.7, 4.5, 1.0], [0.7, 0.5, 4.5]], np.float32)
"""[cause, what counts]: weights of taste (in standard deviations), order and style (0 or 1)."""
MOOD = 25
"""Mean number of items after which the mood for a style changes."""
OBSCURE_SHARE, OBSCURE = 0.5, np.array([0.8, 2.5, -0.5], np.float32)
"""Share of items off the mainstream, and by cause what that costs them: who looks for a style does not mind."""
UNHEARD = 3.0
"""Cost of an item that a user has not heard of yet: word of it comes at a random moment of the user's life."""
SKIPPED_PART = 1.0
"""Cost of a part of a series whose part before has not been seen."""
CIRCLE = 12
"""Items in a circle."""
SERIES_SHARE = 0.2
"""Share of items that are part of a series of 3 to 5."""
FACTORS = 3
"""Dimensions of taste."""
MEAN_RATING, RATING_SPREAD, RATING_NOISE = 2.8, 0.8, 0.4
FIRST_SECOND, DAYS = 1_577_836_800, 900
"""Users join within so many days from 2020."""
TOGETHER = 512
"""Users simulated at once, to bound memory."""


@dataclass(frozen=True)
class Items:
    """N items; index 0 is item 1."""

    genres: list[list[int]]
    """Positions in GENRES, the main one first."""
    style: Ints
    circle: Ints
    """Circle c leads on to circle c + 1, the last one to circle 0."""
    previous: Ints
    """Item that is the part before in the series, -1 for none."""
    obscure: NDArray[np.bool_]
    factors: Floats
    """[N, FACTORS + 1]: tastes it meets, and quality, which meets everyone's."""


@dataclass(frozen=True)
class Users:
    """U users."""

    age: Ints
    woman: NDArray[np.bool_]
    factors: Floats
    """[U, FACTORS + 1]."""
    generosity: Floats
    """What they add to their ratings."""


@dataclass(frozen=True)
class Watched:
    """E events, each user's in order; indices from 0."""

    user: Ints
    item: Ints
    rating: Ints
    time: Ints


def make_items(count: int, rng: np.random.Generator) -> Items:
    sizes = rng.choice([1, 2, 3], size=count, p=[0.35, 0.45, 0.2])
    genres = [rng.choice(len(GENRES), size=size, replace=False).tolist() for size in sizes]
    style = rng.integers(len(STYLES), size=count)
    met_by_genre = rng.normal(0, 0.8, (len(GENRES), FACTORS))
    factors = np.stack([met_by_genre[row].mean(0) for row in genres]) + rng.normal(0, 0.4, (count, FACTORS))
    previous = np.full(count, -1)
    for series in _series(count, rng):
        for before, part in pairwise(series):
            previous[part], genres[part], style[part] = before, genres[before], style[before]
            factors[part] = factors[before] + rng.normal(0, 0.2, FACTORS)
    quality = rng.normal(0, 0.35, (count, 1))
    circle = rng.permutation(count) % max(2, count // CIRCLE)
    obscure = rng.random(count) < OBSCURE_SHARE
    return Items(genres, style, circle, previous, obscure, np.hstack([factors, quality]))


def _series(count: int, rng: np.random.Generator) -> list[list[int]]:
    members = rng.permutation(count)[: int(count * SERIES_SHARE)]
    lengths = rng.integers(3, 6, size=len(members) // 3)
    return [part.tolist() for part in np.split(members, np.cumsum(lengths)) if len(part)]


def make_users(count: int, rng: np.random.Generator) -> Users:
    """Age and gender say something about taste."""
    age = np.clip(rng.normal(34, 12, count), 13, 80).astype(np.int64)
    woman = rng.random(count) < 0.45
    group = np.digitize(age, (25, 40)) * 2 + woman
    taste = 0.5 * rng.normal(size=(6, FACTORS))[group] + 0.85 * rng.normal(size=(count, FACTORS))
    taste -= taste.mean(0)
    factors = np.hstack([taste / np.sqrt(FACTORS), np.full((count, 1), 0.6)])
    return Users(age, woman, factors, rng.normal(0, 0.35, count))


def watch(items: Items, users: Users, mean_events: int, rng: np.random.Generator) -> Watched:
    """Every user's life, one item after the other; a user watches 12 items or more, and at most half of them all."""
    parts = []
    for first in range(0, len(users.age), TOGETHER):
        who = np.arange(first, min(first + TOGETHER, len(users.age)))
        drawn = rng.lognormal(np.log(mean_events) - 0.06, 0.35, len(who))
        max_items = len(items.style) // 2
        count = np.clip(drawn, min(12, max_items), max_items).astype(np.int64)
        liking = users.factors[who] @ items.factors.T
        liking = (liking / liking.std()).astype(np.float32)
        chosen = _choose(items, liking, count, rng)
        rating = _rate(np.take_along_axis(liking, chosen, 1) + users.generosity[who, None], rng)
        real = np.arange(chosen.shape[1]) < count[:, None]
        user = np.broadcast_to(who[:, None], chosen.shape)
        parts.append((user[real], chosen[real], rating[real], _times(chosen.shape, rng)[real]))
    return Watched(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _choose(items: Items, liking: Floats, count: Ints, rng: np.random.Generator) -> Ints:
    """[B, max events]: the items in the order watched; ignore what is beyond a user's count."""
    B, circles = len(liking), items.circle.max() + 1
    heard = rng.uniform(-0.2, 1.0, liking.shape) * count[:, None]
    mood = rng.integers(len(STYLES), size=B)
    parts = np.flatnonzero(items.previous >= 0)
    before = items.previous[parts]
    seen, rows = np.zeros(liking.shape, bool), np.arange(B)
    chosen = np.zeros((B, int(count.max())), np.int64)
    for step in range(chosen.shape[1]):
        mood = np.where(rng.random(B) < 1 / MOOD, rng.integers(len(STYLES), size=B), mood)
        experience = np.minimum(step / count, 1)[:, None]
        causes = (1 - experience) * CAUSES_AT_FIRST + experience * CAUSES_AT_LAST
        cause = (rng.random((B, 1)) > causes.cumsum(1)[:, :2]).sum(1)
        taste, order, style = WEIGHTS[cause].T[:, :, None]
        draw = taste * liking + style * (items.style == mood[:, None])
        draw -= UNHEARD * (heard > step) + OBSCURE[cause][:, None] * items.obscure
        draw[:, parts] -= SKIPPED_PART * ~seen[:, before]
        if step:
            draw += order * (items.circle == (items.circle[chosen[:, step - 1]][:, None] + 1) % circles)
            for lately in chosen[:, max(0, step - 2) : step].T:
                draw[:, parts] += order * (before == lately[:, None])
        arrival = rng.standard_exponential(draw.shape, dtype=np.float32) * np.exp(-draw)
        arrival[seen] = np.inf
        chosen[:, step] = arrival.argmin(1)  # the first to arrive is a draw from the softmax
        seen[rows, chosen[:, step]] = True
    return chosen


def _rate(liking: Floats, rng: np.random.Generator) -> Ints:
    exact = MEAN_RATING + RATING_SPREAD * liking + rng.normal(0, RATING_NOISE, liking.shape)
    return np.clip(np.round(exact), 1, 5).astype(np.int64)


def _times(shape: tuple[int, int], rng: np.random.Generator) -> Ints:
    """Unix seconds: the next item on the same evening, or after some days."""
    same_evening = rng.random(shape) < 0.55
    pause = np.where(same_evening, rng.uniform(5400, 9000, shape), rng.exponential(6 * 86400, shape))
    joined = FIRST_SECOND + rng.uniform(0, DAYS * 86400, (shape[0], 1))
    return (joined + pause.cumsum(1)).astype(np.int64)
