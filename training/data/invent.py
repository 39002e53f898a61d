"""Names and words for the invented movies and their audience."""

from dataclasses import dataclass

import numpy as np

from training.data.world import GENRES, STYLES, Items

SUBJECTS = {
    "Action": "Strike Bullet Pursuit Vengeance Impact Getaway",
    "Adventure": "Voyage Expedition Compass Treasure Horizon Summit",
    "Animation": "Puppet Pencil Hedgehog Teapot Kite Marble",
    "Comedy": "Wedding Landlord Holiday Mixup Neighbour Picnic",
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
    "pastel": "Painted in soft, powdery colours.",
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
    "A retired teacher", "Two sisters", "A young pilot", "A stubborn clerk", "An exiled prince", "A night nurse",
    "Three friends",
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


def make_movies(items: Items, rng: np.random.Generator) -> list[Movie]:
    """One for each item. Parts of a series share title, director and cast; directors have a style, actors a genre."""
    people = [f"{first} {last}" for last in LAST for first in FIRST]
    rng.shuffle(people)
    directors = np.array_split(people[:48], len(STYLES))
    actors = dict(zip(GENRES, np.array_split(people[48:228], len(GENRES)), strict=True))
    movies: dict[int, Movie] = {}
    taken: set[str] = set()
    for item in range(len(items.style)):
        series = _parts_up_to(items, item)
        if series[0] not in movies:
            movies[series[0]] = _first(items, series[0], directors, actors, taken, rng)
        for number, part in enumerate(series[1:], start=1):
            movies.setdefault(part, _sequel(movies[series[0]], items, part, number, rng))
    return [movies[item] for item in range(len(items.style))]


def _parts_up_to(items: Items, item: int) -> list[int]:
    parts = [item]
    while items.previous[parts[0]] >= 0:
        parts.insert(0, int(items.previous[parts[0]]))
    return parts


def _first(
    items: Items,
    item: int,
    directors: list[np.ndarray],
    actors: dict[str, np.ndarray],
    taken: set[str],
    rng: np.random.Generator,
) -> Movie:
    genre = GENRES[items.genres[item][0]]
    house = items.style[item] if rng.random() < 0.75 else rng.integers(len(STYLES))
    cast = [str(rng.choice(actors[GENRES[genre]])) for genre in rng.choice(items.genres[item], size=4)]
    year = int(2015 - rng.exponential(14))
    title = _title(genre, taken, rng)
    return Movie(
        title, max(year, 1930), str(rng.choice(directors[house])), list(dict.fromkeys(cast)), *_text(items, item, rng)
    )


def _sequel(first: Movie, items: Items, item: int, number: int, rng: np.random.Generator) -> Movie:
    year = first.year + 2 * number
    return Movie(first.title + NUMERALS[number], year, first.director, first.cast, *_text(items, item, rng))


def _title(genre: str, taken: set[str], rng: np.random.Generator) -> str:
    """A title not taken yet; a place or a number is added until it is new."""
    subject, other = (str(rng.choice(SUBJECTS[name].split())) for name in (genre, rng.choice(GENRES)))
    adjective, place = str(rng.choice(ADJECTIVES)), str(rng.choice(PLACES))
    forms = [f"The {adjective} {subject}", f"{subject} of {place}", f"{adjective} {subject}", f"{subject} and {other}"]
    rng.shuffle(forms)
    forms += [f"{forms[0]} of {place}"] + [
        f"{forms[0]} of {place}, Chapter {number}" for number in range(2, len(taken) + 3)
    ]
    title = next(form for form in forms if form not in taken)
    taken.add(title)
    return title


def _text(items: Items, item: int, rng: np.random.Generator) -> tuple[list[str], str]:
    """Keywords and overview; the look is told of some movies only."""
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
