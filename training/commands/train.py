"""python -m training train."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from training import recipes
from training.commands.options import (
    DATA_PANEL,
    HOME,
    MODEL_PANEL,
    RUN_PANEL,
    Data,
    Posters,
    Repository,
    SplitName,
    SplitOption,
    Tmdb,
)
from training.errors import TrainingError
from training.progress import stage

ALL = "all"
"""Every model of recipes.RECIPES, in its order."""
ON_DEVICES = ("rating", "sequential", "visual_temporal")
"""The others have nothing to compute on a GPU."""
MODELS = (ALL, *recipes.RECIPES)


def _known(model: str) -> str:
    if model not in MODELS:
        raise typer.BadParameter(f"'{model}' is none of {', '.join(MODELS)}")
    return model


Model = Annotated[
    str, typer.Argument(help=f"Which model to train: {', '.join(MODELS)}.", metavar="MODEL", callback=_known)
]


def train(
    model: Model,
    data: Data = HOME / "data" / "generated",
    repository: Repository = HOME / "repository",
    recipe: Annotated[
        str,
        typer.Option(
            help="'default', 'small' (seconds), or a name of 'python -m training recipes'.", rich_help_panel=MODEL_PANEL
        ),
    ] = "default",
    split: SplitOption = SplitName.leave_last_out,
    seed: Annotated[int | None, typer.Option(help="Default: the recipe's own.", rich_help_panel=MODEL_PANEL)] = None,
    index: Annotated[
        str | None,
        typer.Option(
            help="FAISS index of the scorers, such as 'HNSW32 efSearch=128'. Default: the recipe's.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    text_model: Annotated[
        str | None,
        typer.Option(
            help="Path or name of a sentence-transformers model to read items' text. Default: TF-IDF.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Train a published system's network without clipping, initial scale and early stopping of ours.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A field of the recipe, such as hidden=64,32 or epochs=5. May be given several times.",
            metavar="FIELD=VALUE",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    posters: Posters = None,
    tmdb: Tmdb = None,
    lowest: Annotated[
        float, typer.Option(help="Ratings below are left out and counted.", rich_help_panel=DATA_PANEL)
    ] = -math.inf,
    highest: Annotated[
        float, typer.Option(help="Ratings above are left out and counted.", rich_help_panel=DATA_PANEL)
    ] = math.inf,
    device: Annotated[
        str,
        typer.Option(
            help="Where rating, sequential and visual_temporal train: 'cpu' or 'cuda'.", rich_help_panel=RUN_PANEL
        ),
    ] = "cpu",
    curves: Annotated[
        Path | None,
        typer.Option(
            help="Also draw loss and validation metrics by epoch to this file, .png or .svg.", rich_help_panel=RUN_PANEL
        ),
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="How often their state is saved.", rich_help_panel=RUN_PANEL)
    ] = 60,
) -> None:
    """Train a model and publish it as the next version. Needs the catalog first, fusion last: 'all' does that.

    'all' leaves out a model that the data cannot feed, and says why.
    """
    from training.artifacts.faiss_index import check_index
    from training.artifacts.repository import known_numbers
    from training.data.load import load_dataset
    from training.features.sentences import checked
    from training.fitting.distributed import world_size
    from training.pipelines.every_model import Instead, train_all, train_one
    from training.pipelines.job import Job, torch_device

    if index:
        check_index(index)
    if text_model:
        if model == "fusion":
            raise TrainingError("--text-model: fusion reads no text")
        text_model = checked(text_model)
    if settings and model == ALL:
        raise TrainingError("--set is for the recipe of one model: name the model instead of 'all'")
    if device != "cpu" and model not in (ALL, *ON_DEVICES):
        raise TrainingError(f"--device: {model} trains on the CPU; {', '.join(ON_DEVICES)} take a device")
    chosen_device = torch_device(device)
    if world_size() > 1 and model != "sequential":
        raise TrainingError(f"several processes train the sequential model only, not '{model}'")
    with stage(f"reading {data}"):
        dataset = load_dataset(data, posters, tmdb, known_numbers(repository))
        rows = split.of(dataset.events)
    job = Job(
        dataset,
        rows,
        repository,
        cache=HOME / "cache",
        scale=(lowest, highest),
        device=chosen_device,
        checkpoint_seconds=checkpoint_seconds,
    )
    instead = Instead({"seed": seed, "index_factory": index, "text_model": text_model}, settings or (), as_published)
    if model == ALL:
        folders = train_all(job, recipe, instead).folders
    else:
        folders = {model: train_one(job, model, recipe, instead)}
    if curves:
        _draw_curves(folders, curves)


def _draw_curves(folders: Mapping[str, Path], path: Path) -> None:
    """Raises TrainingError where no model was trained in epochs."""
    from training.evaluation.learning_curves import write_curves
    from training.fitting.curve import LearningCurve

    read = {model: LearningCurve.read(folder) for model, folder in folders.items()}
    found = {model: curve for model, curve in read.items() if curve}
    if not found:
        raise TrainingError(f"--curves: {', '.join(folders)} is not trained in epochs, and has no curve to draw")
    write_curves(found, path)
