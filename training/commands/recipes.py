"""python -m training recipes."""

from typing import Annotated

import typer
from rich.text import Text

from training.errors import TrainingError
from training.recipes import RECIPES, about
from training.terminal import narrow_table, output

COST = (
    "small trains in seconds to a minute on two cores, the others in minutes to an hour; "
    "training/README.md has what each costs and reaches"
)


def recipes_command(model: Annotated[str, typer.Argument(help="Only this model's.", show_default="all")] = "") -> None:
    """List the recipes of every model: what 'train MODEL --recipe NAME' takes."""
    if model and model not in RECIPES:
        raise TrainingError(f"there is no model '{model}'; there are {', '.join(RECIPES)}")
    table = narrow_table("")
    for column in ("model", "recipe"):
        table.add_column(column, no_wrap=True)
    table.add_column("what it is")
    for name in [model] if model else RECIPES:
        for recipe, make in RECIPES[name].items():
            same = [other for other, function in RECIPES[name].items() if function is make and other != "default"]
            alias = recipe == "default" and same
            table.add_row(name, recipe, Text(f"the same as {same[0]}" if alias else about(make)))
    console = output()
    console.print(table)
    console.print(COST, style="italic")
