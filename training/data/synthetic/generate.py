"""The embedded data set: an invented audience and its movies, written as a generic folder."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from servers.runtime.files import written_whole
from training.data.synthetic.draw import draw_poster
from training.data.synthetic.invent import make_movies, occupation
from training.data.synthetic.settings import DEFAULTS
from training.data.synthetic.settings import Settings as Settings
from training.data.synthetic.world import GENRES, Items, Users, Watched, make_items, make_users, watch
from training.errors import DataError
from training.progress import track

WITHOUT_POSTER = 0.01
SETTINGS_FILE = "generated.json"


def generate(folder: Path, settings: Settings = DEFAULTS) -> None:
    """Writes events.csv, items.csv, users.csv and posters/; returns at once if exactly that is already there.

    Raises DataError where the folder holds anything else. An interrupted run leaves no half-written folder.
    """
    if _is_there(folder, settings):
        return
    try:
        with written_whole(folder) as partial:
            _write(partial, settings)
    except OSError:
        if not _is_there(folder, settings):  # else another process was faster
            raise


def _write(folder: Path, settings: Settings) -> None:
    (folder / "posters").mkdir(parents=True)
    items = make_items(settings.items, _stream(settings, 0))
    users = make_users(settings.users, _stream(settings, 1))
    watched = watch(items, users, settings.events_per_user, _stream(settings, 2))
    events = _without_ratings(_events_table(watched), settings.unrated, _stream(settings, 6))
    events.write_csv(folder / "events.csv")
    _items_table(items, _stream(settings, 3)).write_csv(folder / "items.csv")
    _users_table(users, _stream(settings, 4)).write_csv(folder / "users.csv")
    _write_posters(items, folder / "posters", _stream(settings, 5))
    (folder / SETTINGS_FILE).write_text(json.dumps(asdict(settings), indent=2) + "\n")


def _is_there(folder: Path, settings: Settings) -> bool:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        # Folders of older versions name fewer settings.
        same = asdict(DEFAULTS) | json.loads((folder / SETTINGS_FILE).read_text()) == asdict(settings)
    except (OSError, TypeError, ValueError):
        same = False
    if not same:
        raise DataError(f"{folder} already holds something else: remove it or choose another folder")
    return True


def _stream(settings: Settings, part: int) -> np.random.Generator:
    return np.random.default_rng([settings.seed, part])


def _events_table(watched: Watched) -> pl.DataFrame:
    """In the order of time."""
    columns = {"user": watched.user + 1, "item": watched.item + 1, "rating": watched.rating, "time": watched.time}
    return pl.DataFrame(columns).sort("time", maintain_order=True)


def _without_ratings(events: pl.DataFrame, share: float, rng: np.random.Generator) -> pl.DataFrame:
    """The same events, a random share of them as views."""
    unrated = pl.lit(rng.random(events.height) < share)
    return events.with_columns(rating=pl.when(~unrated).then("rating"))


def _items_table(items: Items, rng: np.random.Generator) -> pl.DataFrame:
    movies = make_movies(items, rng)
    return pl.DataFrame(
        {
            "id": range(1, len(movies) + 1),
            "title": [movie.title for movie in movies],
            "year": [movie.year for movie in movies],
            "genres": ["|".join(map(GENRES.__getitem__, genres)) for genres in items.genres],
            "director": [movie.director for movie in movies],
            "cast": ["|".join(movie.cast) for movie in movies],
            "keywords": ["|".join(movie.keywords) for movie in movies],
            "overview": [movie.overview for movie in movies],
        }
    )


def _users_table(users: Users, rng: np.random.Generator) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": range(1, len(users.age) + 1),
            "age": users.age,
            "gender": np.where(users.woman, "F", "M"),
            "occupation": [occupation(age, rng) for age in users.age.tolist()],
            "zip": [f"{code:05}" for code in rng.integers(100_000, size=len(users.age)).tolist()],
        }
    )


def _write_posters(items: Items, folder: Path, rng: np.random.Generator) -> None:
    has_poster = rng.random(len(items.genres)) >= WITHOUT_POSTER
    for index in track("posters drawn", range(len(items.genres)), len(items.genres), []):
        poster = draw_poster(items.genres[index], int(items.style[index]), rng)
        if has_poster[index]:
            poster.save(folder / f"{index + 1}.jpg", quality=80)
