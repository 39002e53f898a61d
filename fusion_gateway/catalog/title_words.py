"""Titles as words to compare."""

import re
import unicodedata

ARTICLES = {"the", "a", "an"}


def words_of(title: str) -> list[str]:
    """Without accents, case, punctuation and a year in brackets; without articles where other words are left.

    Of a title without a letter or digit, what is between blanks.
    """
    plain = unicodedata.normalize("NFKD", re.sub(r"\(\d{4}\)\s*$", "", title)).casefold()
    words = re.findall(r"\w+", "".join(letter for letter in plain if not unicodedata.combining(letter)))
    return [word for word in words if word not in ARTICLES] or words or plain.split()
