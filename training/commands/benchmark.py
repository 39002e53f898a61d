"""python -m training benchmark ..."""

from pathlib import Path
from typing import Annotated

import typer

from servers.runtime.command_line import App
from training.commands.options import HOME, numbers
from training.terminal import output

app = App(
    help="Train recipes under the papers' protocols and measure them.",
    no_args_is_help=True,
    epilog="Example: python -m training benchmark rating --data data/ml-100k --recipe best,svd --split u1",
)
Data = Annotated[Path, typer.Option(help="Data folder.")]
Json = Annotated[Path | None, typer.Option(help="Also write the metrics to this file.")]
Device = Annotated[str, typer.Option(help="'cpu' or 'cuda'.")]
Work = Annotated[Path, typer.Option(help="Finished cells are kept here.")]
AsPublished = Annotated[
    bool, typer.Option("--as-published", help="Also without clipping, initial scale and early stopping of ours.")
]
Seeds = Annotated[str, typer.Option(help="Whole numbers with commas between.")]


@app.command(
    "rating", epilog="Example: python -m training benchmark rating --data data/ml-100k --recipe best,svd --split u1"
)
def rating_command(
    data: Data,
    split: Annotated[str, typer.Option(help="u1 to u5, u1..u5, 90/10 or another random split, last-20%.")] = "90/10",
    recipe: Annotated[str, typer.Option(help="Recipes, and perhaps myfm or user-user, with commas between.")] = "best",
    seeds: Seeds = "0,1,2",
    json: Json = None,
    work: Work = HOME / "benchmark",
    device: Device = "cpu",
    as_published: AsPublished = False,
) -> None:
    """Rating recipes beside baselines and published metrics, measured as they would be served."""
    from training.benchmark import rating
    from training.benchmark.report import as_table, rows
    from training.benchmark.runner import Runner
    from training.data.load import load_dataset
    from training.evaluation.results_file import run_as_json
    from training.pipelines.job import torch_device

    dataset = load_dataset(data)
    runner = Runner(dataset, work, torch_device(device))
    todo = rating.measurements(runner, data, split, recipe.split(","), numbers(seeds), as_published)
    cells = runner.run(todo)
    output().print(as_table(cells, dataset.name, split))
    if json:
        json.write_text(run_as_json(list(rows(cells, dataset.name, split))))


@app.command(
    "sequential",
    epilog="Example: python -m training benchmark sequential --data data/ml-100k --recipe best_time_free --seeds 0",
)
def sequential_command(
    data: Data,
    split: Annotated[
        str, typer.Option(help="leave-last-out, leave-last-out-random-ties, global-time, seed-windows.")
    ] = "leave-last-out",
    recipe: Annotated[str, typer.Option(help="Recipes with commas between.")] = "best",
    seeds: Seeds = "0,1,2",
    json: Json = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw the learning curves to this file.")] = None,
    work: Work = HOME / "benchmark",
    device: Device = "cpu",
    as_published: AsPublished = False,
) -> None:
    """Sequence recipes beside baselines and published metrics, measured as they would be served."""
    from training.benchmark import sequential
    from training.benchmark.runner import Runner
    from training.benchmark.sequential_report import as_table, draw, rows
    from training.data.load import load_dataset
    from training.evaluation.results_file import run_as_json
    from training.pipelines.job import torch_device

    dataset = load_dataset(data)
    runner = Runner(dataset, work, torch_device(device))
    cells = runner.run(sequential.measurements(runner, split, recipe.split(","), numbers(seeds), as_published))
    output().print(as_table(cells, dataset.name, split))
    if json:
        json.write_text(run_as_json(list(rows(cells, dataset.name, split))))
    if picture:
        draw(cells, f"{dataset.name}, {split}", picture)


@app.command("signals", epilog="Example: python -m training benchmark signals --data data/ml-100k --hidden 0.5")
def signals_command(
    data: Data,
    hidden: Annotated[float, typer.Option(min=0, max=0.99, help="Share of the training ratings that are views.")] = 0.5,
    seeds: Seeds = "0,1,2",
    json: Json = None,
    work: Work = HOME / "benchmark",
    device: Device = "cpu",
) -> None:
    """hybrid_mf_deep from ratings, from views, and from both: RMSE and NDCG@10."""
    from training.benchmark import signals
    from training.benchmark.runner import Runner
    from training.data.load import load_dataset
    from training.evaluation.results_file import run_as_json
    from training.pipelines.job import torch_device

    dataset = load_dataset(data)
    runner = Runner(dataset, work, torch_device(device))
    cells = runner.run(signals.measurements(runner, hidden, numbers(seeds)))
    output().print(signals.as_table(cells, dataset.name, hidden))
    if json:
        json.write_text(run_as_json(list(signals.rows(cells, dataset.name, hidden))))


@app.command("fusions", epilog="Example: python -m training benchmark fusions --data data/ml-100k --seeds 0")
def fusions_command(data: Data, seeds: Seeds = "0,1,2", json: Json = None, work: Work = HOME / "benchmark") -> None:
    """S1's two models apart, fused after their scores, and joined in their last layers."""
    from training.benchmark import middle_fusion
    from training.benchmark.runner import Runner
    from training.data.load import load_dataset
    from training.evaluation.results_file import run_as_json

    dataset = load_dataset(data)
    cells = Runner(dataset, work).run(middle_fusion.measurements(Runner(dataset, work), numbers(seeds)))
    output().print(middle_fusion.as_table(cells, dataset.name))
    if json:
        json.write_text(run_as_json(list(middle_fusion.rows(cells, dataset.name))))


@app.command(
    "visual-temporal",
    epilog="Example: python -m training benchmark visual-temporal --data data/ml-100k --part ablation",
)
def visual_temporal_command(
    data: Data,
    part: Annotated[
        str, typer.Option(help="next: next item; ablation: without each part; likes: S5's metrics; cold: hidden items.")
    ] = "next",
    recipe: Annotated[str, typer.Option(help="Recipes with commas between.")] = "best",
    seeds: Seeds = "0,1,2",
    json: Json = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw to this file: of next and ablation attention maps, else bars, confusion, curves."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page of tables and pictures to this file.")] = None,
    work: Work = HOME / "benchmark",
    device: Device = "cpu",
) -> None:
    """The visual-temporal model, whole and without its parts, beside baselines and S5's published metrics."""
    from training.benchmark import visual_temporal
    from training.benchmark.runner import Runner
    from training.benchmark.visual_temporal_report import as_table, confusion_table, rows
    from training.data.load import load_dataset
    from training.evaluation.results_file import run_as_json
    from training.pipelines.job import torch_device

    dataset = load_dataset(data)
    runner = Runner(dataset, work, torch_device(device))
    cells = runner.run(visual_temporal.measurements(runner, part, recipe.split(","), numbers(seeds)))
    tables = [as_table(cells, dataset, part)]
    if part == visual_temporal.LIKES:
        tables.append(confusion_table(cells, dataset))
    output().print(*tables)
    if json:
        json.write_text(run_as_json(list(rows(cells, dataset, part))))
    if picture:
        from training.benchmark.visual_temporal_pictures import draw

        draw(cells, dataset, part, picture)
    if report:
        from training.benchmark.visual_temporal_pictures import page_parts
        from training.html_page import table_grid, write_page

        parts = [*map(table_grid, tables), "<main>", *page_parts(cells, dataset, part), "</main>"]
        write_page(report, f"Visual-temporal benchmark, {part}, on {dataset.name}", parts)


@app.command(
    "fold-in", epilog="Example: python -m training benchmark fold-in --data data/ml-100k --picture fold-in.png"
)
def fold_in_command(
    data: Data,
    recipe: Annotated[str, typer.Option(help="A rating recipe.")] = "best",
    seeds: Seeds = "0,1,2",
    json: Json = None,
    picture: Annotated[Path | None, typer.Option(help="Also draw the curves to this file, .png or .svg.")] = None,
    work: Work = HOME / "benchmark",
    device: Device = "cpu",
) -> None:
    """RMSE for users held out entirely, from no rating of theirs to twenty, beside item mean and biases."""
    from training.benchmark.fold_in import as_table, curve_rows, draw, fold_in_curves, mean_curves
    from training.benchmark.runner import Runner
    from training.data.load import load_dataset
    from training.evaluation.results_file import run_as_json
    from training.pipelines.job import torch_device

    dataset = load_dataset(data)
    runner = Runner(dataset, work, torch_device(device))
    runs = [fold_in_curves(runner, recipe, seed) for seed in numbers(seeds)]
    curves = mean_curves(runs)
    title = f"{dataset.name}: users never seen in training, {len(runs)} seeds"
    output().print(as_table(curves, title))
    if json:
        json.write_text(run_as_json(list(curve_rows(runs, dataset.name, recipe, numbers(seeds)))))
    if picture:
        draw(curves, title, picture)


@app.command("cold", epilog="Example: python -m training benchmark cold --data data/ml-100k --models linear")
def cold_command(
    data: Data,
    models: Annotated[
        str, typer.Option(help="With commas between: linear, or with a recipe as sequential=transformer.")
    ] = "linear,sequential",
    seeds: Seeds = "0,1,2",
    text_model: Annotated[
        str, typer.Option(help="Path or name of a sentence-transformers model that reads items' text. Default: TF-IDF.")
    ] = "",
    json: Json = None,
    work: Work = HOME / "benchmark",
    device: Device = "cpu",
) -> None:
    """Items nobody has watched, as scorers rank them by the map from content onto what they learned."""
    from training.benchmark import cold_maps, cold_slot
    from training.benchmark.runner import Runner
    from training.data.load import load_dataset
    from training.evaluation.results_file import run_as_json
    from training.pipelines.job import torch_device

    dataset = load_dataset(data)
    runner = Runner(dataset, work, torch_device(device))
    cells = runner.run(cold_maps.measurements(runner, models.split(","), numbers(seeds), text_model))
    fused = cold_maps.fused(runner, cells)
    slot = list(cold_slot.rows(runner, fused, dataset.name))
    if "," in models:
        cells += fused
    output().print(cold_maps.as_table(cells, dataset.name), cold_slot.as_table(slot, dataset.name))
    if json:
        json.write_text(run_as_json([*cold_maps.rows(cells, dataset.name), *slot]))


@app.command("growth", epilog="Example: python -m training benchmark growth --data data/ml-100k --items 4000,40000")
def growth_command(
    data: Data,
    model: Annotated[str, typer.Option(help="sequential or visual_temporal.")] = "sequential",
    recipe: Annotated[str, typer.Option(help="One of the model's recipes.")] = "best",
    items: Annotated[str, typer.Option(help="Sizes of the catalog with commas between.")] = "4000,40000,400000",
    json: Json = None,
    work: Work = HOME / "cache",
) -> None:
    """What a training step costs when the catalog grows: the data's own one copied, its events spread over it."""
    from training.benchmark.growth import as_table, cost_rows, growth
    from training.data.load import load_dataset
    from training.evaluation.results_file import run_as_json

    dataset = load_dataset(data)
    costs = list(growth(data, model, recipe, numbers(items, "items"), work))
    output().print(as_table(costs, dataset.name, model, recipe))
    if json:
        json.write_text(run_as_json(list(cost_rows(costs, dataset.name, model, recipe))))


@app.command(
    "adaptive-split", epilog="Example: python -m training benchmark adaptive-split --data data/ml-100k --seeds 0,1,2"
)
def adaptive_split_command(
    data: Data,
    rounds: Annotated[int, typer.Option(min=4, max=100_000, help="Each of 200 answers, an hour apart.")] = 360,
    seeds: Seeds = "0,1,2,3,4,5",
    json: Json = None,
) -> None:
    """Regret of an adaptive split and of an even one, over simulated users with drifting tastes; no servers."""
    from training.benchmark import adaptive_split
    from training.data.load import load_dataset
    from training.evaluation.results_file import run_as_json

    dataset = load_dataset(data)
    outcomes = adaptive_split.compare(dataset, rounds, numbers(seeds))
    for table in adaptive_split.tables(outcomes, dataset.name):
        output().print(table)
    if json:
        json.write_text(run_as_json(list(adaptive_split.results(outcomes, dataset.name))))


@app.command("off-policy", epilog="Example: python -m training benchmark off-policy --runs 300 --seeds 0")
def off_policy_command(
    runs: Annotated[int, typer.Option(help="So many logs are simulated for each seed.", min=2)] = 300,
    seeds: Seeds = "0",
) -> None:
    """Off-policy estimates of simulated users, whose true clicks are known: how often the intervals hold the truth."""
    from training.benchmark.off_policy import as_table

    for seed in numbers(seeds):
        output().print(as_table(runs, seed))


@app.command("trending", epilog="Example: python -m training benchmark trending --data data/ml-100k")
def trending_command(data: Data, json: Json = None) -> None:
    """What is watched lately against a popularity fixed at training, alone and beside EASE, event by event."""
    from training.benchmark import trending
    from training.data.load import load_dataset
    from training.evaluation.results_file import run_as_json

    dataset = load_dataset(data)
    comparison = trending.compare(dataset)
    output().print(trending.as_table(comparison, dataset.name))
    if json:
        json.write_text(run_as_json(list(trending.rows(comparison, dataset.name))))
