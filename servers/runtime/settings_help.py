"""--help of a program whose flags are the fields of a settings class, as the typer programs print theirs."""

import inspect
from collections.abc import Iterator
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo
from pydantic_settings import CliPositionalArg
from rich.markup import escape

from protos.marquee.programs import as_called
from servers.runtime.command_line import App
from servers.runtime.settings import ProgramSettings

_POSITIONAL = get_args(CliPositionalArg[str])[1]
ANYWHERE = "Every option can also be set as MARQUEE_<OPTION> in the environment, or in a --settings-file."


def show_help(kind: type[ProgramSettings]) -> None:
    """Prints what the class documents: its docstring, its example, and its fields by the panel of their class."""

    def program(**_: Any) -> None: ...

    parameters = list(_parameters(kind))
    program.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    program.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = App()
    epilog = f"{ANYWHERE}\n\nExample: {kind.example}"
    app.command(help=escape(inspect.getdoc(kind) or ""), epilog=epilog)(program)
    app(["--help"], prog_name=as_called(str(kind.model_config["cli_prog_name"])), standalone_mode=False)


def _parameters(kind: type[ProgramSettings]) -> Iterator[inspect.Parameter]:
    """The program's own fields first, what all programs have last."""
    for parent in kind.__mro__:
        for name in parent.__dict__.get("__annotations__", {}):
            if name in kind.model_fields and name not in _inherited(parent):
                yield _parameter(name, kind.model_fields[name], parent)


def _inherited(parent: type) -> set[str]:
    """Fields that a class changes, which stay in the panel of the class that has introduced them."""
    return {name for above in parent.__mro__[1:] for name in above.__dict__.get("__annotations__", {})}


def _parameter(name: str, field: FieldInfo, declared_in: Any) -> inspect.Parameter:
    text = escape(field.description or "")
    shown: Any
    if _POSITIONAL in field.metadata:
        shown = typer.Argument(metavar=name.upper(), help=text)
    else:
        flag = f"--{name.replace('_', '-')}"
        if bool in (field.annotation, *get_args(field.annotation)) and field.default is not False:
            text += (
                f" The opposite: --no-{flag.removeprefix('--')}."  # a column of its own would make all others narrow
            )
        shown = typer.Option(flag, help=text, rich_help_panel=declared_in.panel)
    default = inspect.Parameter.empty if field.is_required() else field.default
    if field.default_factory:
        default = None
    annotation = Annotated[field.annotation, shown]  # type: ignore[name-defined]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
