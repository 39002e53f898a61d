import pytest

from training.data.tables import display_title


@pytest.mark.parametrize(
    ("published", "title", "year"),
    [
        ("Prestige, The (2006)", "The Prestige", 2006),
        ("Enfer, L' (1994)", "L'Enfer", 1994),
        ("Postino, Il (The Postman) (1994)", "Il Postino (The Postman)", 1994),
        ("Star Maker, The (Uomo delle stelle, L') (1995)", "The Star Maker (L'Uomo delle stelle)", 1995),
        ("Lord of the Rings: The Two Towers, The (2002)", "The Lord of the Rings: The Two Towers", 2002),
        ("Honey, I Shrunk the Kids (1989)", "Honey, I Shrunk the Kids", 1989),
        ("To Have, or Not (1995)", "To Have, or Not", 1995),
        ("Seven (Se7en) (1995)", "Seven (Se7en)", 1995),
        ("Land Before Time III (1995) (V)", "Land Before Time III", 1995),
        ("Two Friends (1986) ", "Two Friends", 1986),
        ("Doctor Who (2005– )", "Doctor Who", 2005),
        ("  Padded, The  (1995)", "The Padded", 1995),
        ("2001: A Space Odyssey", "2001: A Space Odyssey", 0),
        ("unknown", "unknown", 0),
        ("", "", 0),
    ],
)
def test_display_title(published: str, title: str, year: int) -> None:
    assert display_title(published) == (title, year)
