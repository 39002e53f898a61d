"""Titles as words to compare."""

import re
import unicodedata

ARTICLES = {"the", "a", "an"}
INITIALS = re.compile(r"(?<!\w)\w(?:[.*·]\w)+(?!\w)[.*]?")
"""E.T., M*A*S*H: people write them without what stands between."""
BEFORE_A_YEAR = re.compile(r"(?P<title>.*\S)\s+\(?(?P<year>(?:18|19|20)\d\d)\)?\s*$")


def words_of(title: str) -> list[str]:
    """Without accents, case, punctuation and a year in brackets; without articles where other words are left. Initials
    are one word.

    Of a title without a letter or digit, what is between blanks.
    """
    plain = unicodedata.normalize("NFKD", re.sub(r"\(\d{4}\)\s*$", "", title)).casefold()
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words = re.findall(r"\w+", INITIALS.sub(lambda found: re.sub(r"\W", "", found[0]), plain))
    return [word for word in words if word not in ARTICLES] or words or plain.split()


def without_year(query: str) -> tuple[str, int]:
    """The words before a year at the end, and the year: "fargo 1996" is ("fargo", 1996); year 0 where there is none."""
    found = BEFORE_A_YEAR.fullmatch(query)
    return (found["title"], int(found["year"])) if found else (query, 0)


def without_parentheses(title: str) -> str:
    """ "Il Postino (The Postman)" is "Il Postino"; what is left empty stays as it is."""
    return re.sub(r"\s*\([^()]*\)\s*", " ", title).strip() or title
