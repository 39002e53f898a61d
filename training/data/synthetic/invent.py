"""Names and words for the invented movies and their audience."""

from dataclasses import dataclass, replace
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from training.data.synthetic.world import GENRES, STYLES, Items

SUBJECTS = {
    "Action": "Strike Bullet Pursuit Vengeance Impact Getaway",
    "Adventure": "Voyage Expedition Compass Treasure Horizon Summit",
    "Animation": "Puppet Pencil Hedgehog Teapot Kite Marble",
    "Comedy": "Wedding Landlord Holiday Mixup Neighbor Picnic",
    "Crime": "Heist Alibi Ledger Witness Racket Verdict",
    "Documentary": "Archive River Factory Orchestra Glacier Census",
    "Drama": "Inheritance Silence Daughter Harvest Letter Winter",
    "Fantasy": "Dragon Spell Kingdom Lantern Oracle Thorn",
    "Horror": "Cellar Shadow Asylum Whisper Grave Hollow",
    "Romance": "Kiss Promise Waltz Garden Heart Serenade",
    "Sci-Fi": "Orbit Android Signal Colony Quantum Nebula",
    "War": "Trench Battalion Armistice Convoy Siege Frontier",
}
KEYWORDS = {
    "Action": "car chase|explosion|martial arts|hostage",
    "Adventure": "jungle|lost city|sailing ship|mountain",
    "Animation": "talking animal|toy|stop motion|cartoon",
    "Comedy": "mistaken identity|slapstick|roommate|prank",
    "Crime": "detective|bank robbery|mafia|undercover",
    "Documentary": "interview|nature|archive footage|history",
    "Drama": "family|grief|small town|coming of age",
    "Fantasy": "magic|wizard|prophecy|sword",
    "Horror": "haunted house|monster|curse|nightmare",
    "Romance": "first love|love triangle|letters|summer",
    "Sci-Fi": "spaceship|time travel|robot|alien",
    "War": "soldier|resistance|battlefield|prisoner of war",
}
LOOKS = {
    "noir": "Shot in deep shadow and hard light.",
    "neon": "Lit by neon signs and wet streets.",
    "pastel": "Painted in soft, powdery colors.",
    "sepia": "Told in faded browns, like an old album.",
    "primary": "Dressed in bold red, yellow and blue.",
    "frost": "Set in pale, icy light.",
    "forest": "Drenched in mossy greens.",
    "gold": "Bathed in golden evening sun.",
}
FRAMED = "Told as a story within the story."
ADJECTIVES = (
    "Last", "Hidden", "Crimson", "Broken", "Distant", "Quiet", "Burning", "Golden", "Forgotten", "Seventh", "Hollow",
    "Paper", "Restless", "Iron",
)  # fmt: skip
PLACES = (
    "Avalon", "Marrow Bay", "Kestrel Hill", "Sorrento", "the North", "Lisbon", "Ashford", "the Delta", "Elm Street",
    "Tarn", "the Moon",
)  # fmt: skip
HEROES = (
    "A retired teacher", "A lost twin", "A young pilot", "A stubborn clerk", "An exiled prince", "A night nurse",
    "A lonely poet",
)  # fmt: skip
DEEDS = (
    "must choose between", "stumbles upon", "cannot let go of", "sets out to find", "is haunted by",
    "learns the truth about",
)  # fmt: skip
FIRST = (
    "Ada", "Boris", "Clara", "Dario", "Edith", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Leon", "Mara",
    "Nils", "Olga", "Pavel", "Rosa", "Sven", "Tessa", "Viktor",
)  # fmt: skip
LAST = (
    "Adler", "Brandt", "Castell", "Dorn", "Eklund", "Ferro", "Galloway", "Hartmann", "Ibarra", "Jansson", "Kovacs",
    "Lindqvist", "Moreau", "Novak", "Okafor",
)  # fmt: skip
OCCUPATIONS = (
    "artist", "engineer", "educator", "doctor", "lawyer", "clerical", "sales", "scientist", "programmer", "writer",
    "homemaker", "other",
)  # fmt: skip
NUMERALS = ("", " II", " III", " IV", " V")


@dataclass(frozen=True)
class Movie:
    title: str
    year: int
    director: str
    cast: list[str]
    keywords: list[str]
    overview: str


@dataclass(frozen=True)
class People:
    directors: list[NDArray[np.str_]]
    """By style."""
    actors: list[NDArray[np.str_]]
    """By genre."""


def make_movies(items: Items, rng: np.random.Generator) -> list[Movie]:
    """One for each item. Parts of a series share title, director and cast; directors have a style, actors a genre."""
    names = rng.permutation([f"{first} {last}" for last in LAST for first in FIRST])
    people = People(np.array_split(names[:48], len(STYLES)), np.array_split(names[48:], len(GENRES)))
    movies: dict[int, Movie] = {}
    taken: set[str] = set()
    for item in range(len(items.style)):
        first, *sequels = _parts_up_to(items, item)
        if first not in movies:
            title = _title(GENRES[items.genres[first][0]], taken, rng)
            movies[first] = _first(title, items, first, people, rng)
        for number, part in enumerate(sequels, start=1):
            if part not in movies:
                movies[part] = _sequel(movies[first], number, _text(items, part, rng))
    return [movies[item] for item in range(len(items.style))]


def _parts_up_to(items: Items, item: int) -> list[int]:
    parts = [item]
    while items.previous[parts[0]] >= 0:
        parts.insert(0, int(items.previous[parts[0]]))
    return parts


def _first(title: str, items: Items, item: int, people: People, rng: np.random.Generator) -> Movie:
    house = items.style[item] if rng.random() < 0.75 else rng.integers(len(STYLES))
    director = str(rng.choice(people.directors[house]))
    cast = [str(rng.choice(people.actors[genre])) for genre in rng.choice(items.genres[item], size=4)]
    year = max(1930, int(2015 - rng.exponential(14)))
    return Movie(title, year, director, list(dict.fromkeys(cast)), *_text(items, item, rng))


def _sequel(first: Movie, number: int, text: tuple[list[str], str]) -> Movie:
    keywords, overview = text
    title, year = first.title + NUMERALS[number], first.year + 2 * number
    return replace(first, title=title, year=year, keywords=keywords, overview=overview)


def _title(genre: str, taken: set[str], rng: np.random.Generator) -> str:
    """A title not taken yet; a place or a number is added until it is new."""
    subject, other = (str(rng.choice(SUBJECTS[name].split())) for name in (genre, rng.choice(GENRES)))
    adjective, place = str(rng.choice(ADJECTIVES)), str(rng.choice(PLACES))
    forms = [f"The {adjective} {subject}", f"{subject} of {place}", f"{adjective} {subject}", f"{subject} and {other}"]
    rng.shuffle(forms)
    longer = (f"{forms[0]} of {place}, Chapter {number}" for number in count(1))
    title = next(form for form in chain(forms, longer) if form not in taken)
    taken.add(title)
    return title


def _text(items: Items, item: int, rng: np.random.Generator) -> tuple[list[str], str]:
    """Keywords and overview; the look is described of some movies only."""
    genres = [GENRES[genre] for genre in items.genres[item]]
    keywords = [str(rng.choice(KEYWORDS[genre].split("|"))) for genre in [*genres, genres[0]]]
    hero, deed = rng.choice(HEROES), rng.choice(DEEDS)
    things = " and ".join(f"the {rng.choice(SUBJECTS[genre].split()).lower()}" for genre in [*genres, genres[0]][:2])
    overview = f"{hero} {deed} {things} near {rng.choice(PLACES)}: {', '.join(genres).lower()} and {keywords[0]}."
    if rng.random() < 0.5:
        palette, framed = STYLES[items.style[item]]
        overview += f" {LOOKS[palette]}{' ' + FRAMED if framed else ''}"
    return list(dict.fromkeys(keywords)), overview


def occupation(age: int, rng: np.random.Generator) -> str:
    if age < 23:
        return "student"
    return "retired" if age > 66 else str(rng.choice(OCCUPATIONS))
