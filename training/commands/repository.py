"""python -m training repository ..."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from servers.runtime.command_line import App
from training.commands.options import HOME, Repository
from training.errors import TrainingError
from training.recipes import RECIPES
from training.terminal import narrow_table, output

app = App(
    help="List and check what is published, and go back to what was.",
    no_args_is_help=True,
    epilog="Example: python -m training repository list",
)


@app.command("list", epilog="Example: python -m training repository list --repository var/repository")
def list_command(repository: Repository = HOME / "repository") -> None:
    """What is published: versions, recipes, data and metrics."""
    from training.artifacts.repository import read_manifest, versions

    table = narrow_table(escape(str(repository)))
    table.add_column("version", no_wrap=True)
    table.add_column("recipe, data, metrics", overflow="fold")
    for model in RECIPES:
        for version in versions(repository, model):
            manifest = read_manifest(repository / model / str(version))
            metrics = ", ".join(f"{metric.name} {metric.value:.4g}" for metric in manifest.metrics)
            made = manifest.created_at.replace("T", " ")[:16]
            source = f"{manifest.recipe.name} on {manifest.data.dataset}, {manifest.data.split}"
            table.add_row(f"{model}/{version}\n{made}", Text(f"{source}\n{metrics}"))
    if not table.row_count:
        raise TrainingError(f"nothing is published in {repository}: run 'python -m training train all'")
    output().print(table)


@app.command("draw", epilog="Example: python -m training repository draw --repository var/repository")
def draw_command(repository: Repository = HOME / "repository") -> None:
    """Draw the networks of the newest versions: their modules, sizes and parameters."""
    from training.artifacts.repository import learning_curves

    curves = learning_curves(repository) if repository.is_dir() else {}
    if not curves:
        raise TrainingError(f"no network is published in {repository}: run 'python -m training train all'")
    for model, curve in curves.items():
        print(f"{model}\n{curve.network}\n")


@app.command("verify", epilog="Example: python -m training repository verify --repository var/repository")
def verify_command(repository: Repository = HOME / "repository") -> None:
    """Check every file of every version against its manifest."""
    from training.artifacts.repository import verify, versions

    folders = [repository / model / str(version) for model in RECIPES for version in versions(repository, model)]
    if not folders:
        raise TrainingError(f"nothing is published in {repository}: run 'python -m training train all'")
    for folder in folders:
        verify(folder)
    print(f"{len(folders)} versions are whole")


@app.command("rollback", epilog="Example: python -m training repository rollback sequential --to 3")
def rollback_command(
    model: Annotated[str, typer.Argument(help="Which model, or 'catalog' or 'fusion'.")],
    to: Annotated[int | None, typer.Option(help="Version to go back to. Default: the one before the newest.")] = None,
    repository: Repository = HOME / "repository",
) -> None:
    """Publish an older version's content as the next version, which servers and gateways then pick up."""
    from training.artifacts.repository import latest, read_manifest, roll_back

    before = latest(repository, model)
    folder = roll_back(repository, model, to)
    made_from = read_manifest(folder).made_from
    line = f"{folder} has the content of version {made_from}, in place of version {before.name}"
    output().print(line, markup=False, soft_wrap=True)
