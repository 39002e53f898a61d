"""One look for the --help of every program: typer's, with types by the names that command lines give them."""

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import CommandFunctionType

from protos.marquee.programs import as_called

TYPES = {"str": "TEXT", "int": "INTEGER", "float": "NUMBER", "path": "PATH", "file": "FILE", "directory": "FOLDER"}


class Command(TyperCommand):
    """A command without Python's type names in its help."""

    def get_params(self, ctx: Any) -> Any:
        return [_renamed(parameter, ctx) for parameter in super().get_params(ctx)]


class Group(TyperGroup):
    """A group of such commands."""

    def get_params(self, ctx: Any) -> Any:
        return [_renamed(parameter, ctx) for parameter in super().get_params(ctx)]


class App(typer.Typer):
    """A typer program of these."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=Group, add_completion=False, pretty_exceptions_enable=False, **_as_called(options))

    def command(self, name: str | None = None, **options: Any) -> Callable[[CommandFunctionType], CommandFunctionType]:
        return super().command(name, cls=Command, **_as_called(options))


def _as_called(options: dict[str, Any]) -> dict[str, Any]:
    """With the program's own name in texts."""
    return {name: as_called(value) if isinstance(value, str) else value for name, value in options.items()}


def _renamed(parameter: Any, ctx: Any) -> Any:
    shown = parameter.display_type_rich(ctx)
    if shown != parameter.metavar:
        parameter.display_type_rich = lambda ctx: type_name(shown.strip("<>"))
    return parameter


def type_name(label: str) -> str:
    """From typer's name, such as "int", "int range", "list[str]", "bool" or "cpu|cuda", to the usual one."""
    if label == "bool":
        return ""  # a flag takes no value
    if label.startswith("list["):
        return type_name(label[len("list[") : -1]) + "..."
    label = label.removesuffix(" range")
    return TYPES.get(label, label)
