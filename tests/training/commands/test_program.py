"""python -m training, as its users meet it before anything is trained."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from training.__main__ import app
from training.recipes import RECIPES

HEAVY = ("polars", "numpy", "torch", "sklearn", "matplotlib", "onnx", "numba")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Of every command and group, the words that call it."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def test_help_imports_nothing_that_takes_long() -> None:
    source = f"import sys, training.__main__; print(*sys.modules.keys() & {set(HEAVY)})"
    assert subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60).stdout == "\n"


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_help_has_an_example_and_says_what_options_take(path: tuple[str, ...]) -> None:
    shown = invoke(*path, "--help")
    assert " ".join(["Example: python -m training", *path]) in shown
    assert "<str>" not in shown


def test_recipes_are_listed() -> None:
    listed = invoke("recipes")
    assert all(f"{model} {recipe}" in listed for model, recipes in RECIPES.items() for recipe in recipes)
    assert "sequential default the same as best" in listed
    assert "rating" not in invoke("recipes", "linear").split()


@pytest.mark.parametrize("model", RECIPES)
def test_every_recipe_says_what_it_is(model: str) -> None:
    assert all(recipe.__doc__ for recipe in RECIPES[model].values())


def test_a_recipe_that_no_model_has(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text("user,item,time\nann,tea,1\n")
    arguments = ["train", "all", "--recipe", "smal", "--data", str(tmp_path), "--repository", str(tmp_path)]
    error = CliRunner().invoke(app, arguments).exception
    assert "catalog has no recipe 'smal'; there are catalog: default, small; rating: default, small," in str(error)
