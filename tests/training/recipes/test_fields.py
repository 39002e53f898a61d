"""Recipe fields given as text."""

import pytest

from training.errors import TrainingError
from training.recipes.fields import with_fields
from training.recipes.rating import best, hybrid_genres
from training.recipes.sequential import SEQUENTIAL
from training.recipes.visual_temporal import best_visual_temporal


def test_fields_of_every_kind_are_set() -> None:
    recipe = with_fields(hybrid_genres(), ["hidden=128, 64,32", "dropout=0", "factors=true", "content=tags"])
    assert (recipe.hidden, recipe.dropout, recipe.factors, recipe.content) == ((128, 64, 32), 0.0, True, ("tags",))
    assert recipe.name == "hybrid_genres"
    assert with_fields(best(), ["bounds.max_items=7"]).bounds.max_items == 7
    assert with_fields(best_visual_temporal(), ["cell=lstm", "without="]).cell == "lstm"
    assert with_fields(hybrid_genres(), []) == hybrid_genres()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("hidden", "--set hidden: a field and its value are needed, such as epochs=5"),
        ("hiden=3", "recipe 'hybrid_genres' has no field 'hiden'; it has embedding_dim, hidden, "),
        ("name=mine", "has no field 'name'"),
        ("hidden=", "hidden=: at least one whole number is needed, such as 64,32"),
        ("hidden=64,0", "hidden=0: it must be at least 1"),
        ("hidden=64,many", "hidden=64,many: it must be a valid integer, or several with commas between"),
        ("epochs=2.5", "epochs=2.5: it must be a valid integer"),
        ("dropout=1", "dropout=1.0: it must be 0 or more and below 1"),
        ("learning_rate=0", "learning_rate=0.0: it must be a number above 0"),
        ("view_weight=inf", "view_weight=inf: it must be a number from 0"),
        ("learning_rate=1e300", "learning_rate=1e+300: it must be a number above 0 to 4,294,967,295"),
        ("seed=99999999999", "seed=99999999999: it must be a number from 0 to 4,294,967,295"),
        ("content=actors", "content=actors: it must be 'genres', 'no_genre', 'tags' or 'director'"),
        ("bounds=5", "bounds is set part by part: bounds.max_items, bounds.max_users, bounds.max_events"),
        ("epochs.more=5", "epochs.more cannot be set in recipe 'hybrid_genres'"),
    ],
)
def test_what_is_wrong_with_a_setting_is_said(setting: str, message: str) -> None:
    with pytest.raises(TrainingError) as error:
        with_fields(hybrid_genres(), [setting])
    assert message in str(error.value)


def test_a_part_that_a_recipe_does_not_have_cannot_be_set() -> None:
    with pytest.raises(TrainingError, match="large_data.epochs cannot be set in recipe 'sasrec'"):
        with_fields(SEQUENTIAL["sasrec"](), ["large_data.epochs=5"])
