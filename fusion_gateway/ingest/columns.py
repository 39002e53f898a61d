"""Which column is what: the usual names, and a guess from the values where there is no header."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fusion_gateway.ingest.errors import DataError, MissingColumn
from fusion_gateway.ingest.times import are_dates, looks_like_time

Synonyms = Sequence[Sequence[str]]
"""Names as `folded` leaves them, in groups: a name of an earlier group counts before those of later ones."""

ITEM: Synonyms = (
    ("item", "itemid", "iid"),
    (
        "movie", "movieid", "film", "filmid", "product", "productid", "asin", "isbn", "artist", "artistid", "track",
        "trackid", "song", "songid", "book", "bookid", "game", "gameid", "sku", "article", "articleid", "video",
        "videoid", "show", "showid", "anime", "animeid", "business", "businessid", "place", "placeid", "poi",
        "recipe", "recipeid", "content", "contentid", "offer", "offerid", "tmdbid", "imdbid", "stockcode",
        "lineitemsku",
    ),
    ("parentasin", "gmapid", "listing", "listingid", "course", "courseid", "joke", "jokeid", "news", "newsid"),
)  # fmt: skip
USER: Synonyms = (
    ("user", "userid", "uid"),
    (
        "reviewer", "reviewerid", "customer", "customerid", "member", "memberid", "visitor", "visitorid", "account",
        "accountid", "client", "clientid", "person", "personid", "listener", "listenerid", "reader", "readerid",
        "buyer", "buyerid", "profile", "profileid", "username", "email", "useremail", "customeremail",
    ),
    ("session", "sessionid"),
)  # fmt: skip
TIME: Synonyms = (
    ("time", "timestamp", "ts"),
    ("unixreviewtime", "unixtime", "datetime", "date", "eventtime", "createdat", "unixtimestamp", "timestampms"),
    (
        "reviewtime", "reviewdate", "ratingtime", "ratingdate", "orderdate", "orderedat", "invoicedate", "purchasedate",
        "purchasedat", "watchedat", "playedat", "listenedat", "viewedat", "updatedat", "lastupdated", "moment", "when",
        "day",
    ),
)  # fmt: skip
RATING: Synonyms = (
    ("rating", "ratings"),
    ("score", "stars", "overall", "grade", "bookrating", "movierating", "userrating", "myrating", "value"),
    ("liked", "islike"),
)  # fmt: skip
COUNT: Synonyms = (
    ("weight", "count", "plays", "playcount", "listencount", "quantity", "hours", "playtime", "clicks", "views"),
)
"""Columns that may be ratings and may be counts, which their values tell."""
TITLE: Synonyms = (("title", "name"), ("itemname", "movietitle", "booktitle", "producttitle", "productname"))
OF_ITEMS: Mapping[str, Synonyms] = {
    "item": (("id",), *ITEM),
    "title": TITLE,
    "year": (("year",), ("releaseyear", "yearofpublication", "publicationyear", "releasedyear")),
    "released": (("releasedate", "released", "published", "publicationdate", "firstairdate"),),
    "genres": (("genres", "genre"), ("categories", "category", "listedin", "genrelist"), ("class",)),
    "director": (("director",), ("directors", "author", "authors", "bookauthor", "creator", "brand")),
    "cast": (("cast",), ("actors", "starring")),
    "keywords": (("keywords",), ("tags", "keyword")),
    "overview": (("overview",), ("description", "summary", "plot", "abstract")),
    "reviews": (("reviews",), ("review", "reviewtext")),
    "poster": (("poster",),),
    "number": (("number",),),
}
OF_USERS: Mapping[str, Synonyms] = {
    "user": (*USER, ("id",)),
    "age": (("age",),),
    "gender": (("gender",), ("sex",)),
    "occupation": (("occupation",), ("job", "profession")),
    "zip": (("zip",), ("zipcode", "postcode", "postalcode", "location")),
}
OF_EVENTS: Mapping[str, Synonyms] = {"user": USER, "item": ITEM, "time": TIME, "rating": (*RATING, *COUNT)}
NONE = "none"
"""Given in place of a column's name: the file has no such column, whatever it looks like."""
RECBOLE_TYPE = re.compile(r":(token|token_seq|float|float_seq)$")


@dataclass(frozen=True)
class EventColumns:
    """The columns of a file of events, by name; "" where there is none."""

    user: str
    item: str
    time: str
    rating: str

    @property
    def rating_is_guessed(self) -> bool:
        """Whether the rating may be a count."""
        return folded(self.rating) in COUNT[0]


def folded(name: str) -> str:
    """A column's name without case, punctuation and RecBole's type."""
    return re.sub(r"[\W_]+", "", RECBOLE_TYPE.sub("", name.strip()).casefold())


def _usual_names() -> set[str]:
    names: set[str] = set()
    for table in (OF_EVENTS, OF_ITEMS, OF_USERS):
        for groups in table.values():
            names.update(*groups)
    return names


USUAL_NAMES = _usual_names()


def has_header(rows: Sequence[Sequence[str]], given: Collection[str] = ()) -> bool:
    """Whether the first row names the columns.

    So it is where one of the names that the caller has `given` is in it, or a usual one, or where it has no digit above
    a column of which every value has one.
    """
    first, *rest = rows
    names = [folded(name) for name in first]
    if not USUAL_NAMES.isdisjoint(names) or any(folded(name) in names for name in given):
        return True
    if not rest or any(map(_has_digit, first)):
        return False
    whole = [row for row in rest if len(row) == len(first)]
    columns = zip(*whole, strict=True)
    return any(all(map(_has_digit, column)) for column in columns)


def _has_digit(text: str) -> bool:
    return any(letter.isdigit() for letter in text)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def choose(role: str, groups: Synonyms, names: Sequence[str], path: object, given: str = "") -> str:
    """The column for a role: the one that is `given`, else that with a usual name; "" where there is none.

    Raises DataError where the given one is not there, MissingColumn where two fit equally well.
    """
    if given:
        return _given(role, names, path, given)
    for group in groups:
        fitting = [name for name in names if folded(name) in group]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            listed = " and ".join(map(repr, fitting[:3]))
            raise MissingColumn(
                f"{path}: {listed} may each be the {role}: 'training data import' takes --{role} NAME",
                role,
                list(names),
            )
    return ""


def first_fitting(groups: Synonyms, names: Sequence[str]) -> str:
    """The column with the most usual name; "" where there is none."""
    fitting = [name for group in groups for name in names if folded(name) in group]
    return fitting[0] if fitting else ""


def _given(role: str, names: Sequence[str], path: object, given: str) -> str:
    if given == NONE:
        return ""
    exact = [name for name in names if name == given] or [name for name in names if folded(name) == folded(given)]
    if len(exact) != 1:
        raise DataError(f"{path}: --{role} {given}: there is no such column among {', '.join(names)}")
    return exact[0]


def columns_of_events(
    path: object, names: Sequence[str], headed: bool, sample: Sequence[Sequence[str]], given: Mapping[str, str]
) -> EventColumns:
    """User, item, time and rating of a file; `sample` are its first rows, as text.

    Raises MissingColumn where there is no user or no item, and DataError where a column is given for two.
    """
    found = {role: choose(role, groups, names, path, given.get(role, "")) for role, groups in OF_EVENTS.items()}
    if not headed:
        found = _by_values(names, sample, found, given)
    for role in ("user", "item"):
        if not found[role]:
            raise MissingColumn.of(path, role, list(names))
    chosen = [name for name in found.values() if name]
    repeated = [name for name in chosen if chosen.count(name) > 1]
    if repeated:
        raise DataError(f"{path}: column {repeated[0]!r} cannot be two things: choose a column for each")
    return EventColumns(**found)


def _by_values(
    names: Sequence[str], sample: Sequence[Sequence[str]], found: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """Without a header: user before item, then what looks like a time, and small numbers as the rating."""
    columns = dict(zip(names, zip(*sample, strict=True), strict=True))
    free = [name for name in names if name not in found.values()]
    chosen = dict(found)
    dates = [name for name in free if are_dates(columns[name])]
    if not chosen["time"] and given.get("time") != NONE and dates:
        chosen["time"] = dates[0]
    free = [name for name in free if name not in dates]
    for role in ("user", "item"):
        if not chosen[role] and free:
            chosen[role] = free.pop(0)
    if not chosen["time"] and given.get("time") != NONE:
        chosen["time"] = next((name for name in free if looks_like_time(columns[name])), "")
        free = [name for name in free if name != chosen["time"]]
    if not chosen["rating"] and given.get("rating") != NONE:
        chosen["rating"] = next((name for name in free if all(map(_is_rating, columns[name]))), "")
    return chosen


def _is_rating(text: str) -> bool:
    return not text.strip() or (_is_number(text) and 0 <= float(text.replace(",", ".")) <= 100)
