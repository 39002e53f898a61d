"""Cells of the sequence benchmark as rows in the format of results, as a table, and as learning curves."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from training.benchmark.published import NEXT_ITEM, S1_CROSS_ENTROPY, S1_NDCG, S1_PERPLEXITY, S1_POPULARITY_NDCG
from training.benchmark.runner import Cell, mean_of, over_queries
from training.benchmark.sequential import (
    AS_GIVEN,
    AT_ONCE,
    CROSS_ENTROPY,
    PERPLEXITY,
    SEED_WINDOWS,
    SHUFFLED,
    reads_time,
)
from training.evaluation.next_item import METRICS, NDCG
from training.evaluation.ranking_metrics import Doubles, bootstrap
from training.terminal import narrow_table

ENDINGS = {AS_GIVEN: "", SHUFFLED: "-ties-shuffled", AT_ONCE: "-query-at-newest"}
"""Of a protocol's name, by query variant."""
GAPS = {"same second": "-gap-0", "later": "-gap-positive"}
COLUMNS = ("as\ngiven", "ties\nshuffled", "query at\nnewest", "same\nsecond", "later", "MRR")
CAPTION = (
    "HR@10 above NDCG@10. Below a model: 95 % bootstrap interval of NDCG@10 over users; whether it reads query times "
    "(aware) or not (free); epochs (ep) and minutes. Ties shuffled: events of one second in random order; query at "
    "newest: the query time is that of the newest event; same second, later: queries by their time after it"
)
# Okabe and Ito's palette.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINES = ("-", "--", ":", "-.")
"""A model joined to another has its network's curve, which must show below it."""


def of_model(cells: Sequence[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    """The cells of each model, one a seed."""
    for model in dict.fromkeys(cell.model for cell in cells):
        yield model, [cell for cell in cells if cell.model == model]


def by_ending(cells: Sequence[Cell]) -> Mapping[str, Doubles]:
    """By the protocol's ending: [len(METRICS), B users], the mean over seeds.

    Seeds whose order of events differs have other queries; where the query's gap matters, the first seed's counts.
    """
    found: dict[str, Doubles] = {}
    for variant, ending in ENDINGS.items():
        if (mean := mean_of(cells, variant)) is not None:
            found[ending] = mean
    same_second = cells[0].arrays["gap"] == 0
    found[GAPS["same second"]] = found[""][:, same_second]
    found[GAPS["later"]] = found[""][:, ~same_second]
    return {ending: values for ending, values in found.items() if values.shape[1]}


def rows(cells: Sequence[Cell], dataset: str, split: str) -> Iterator[dict[str, object]]:
    """One metric per row, its mean over seeds, with a 95 % bootstrap interval over users."""
    for model, own in of_model(cells):
        is_recipe = bool(own[0].recipe)
        named = {
            "dataset": dataset,
            "model": "sequential" if is_recipe else model,
            "recipe": model if is_recipe else "",
            "seeds": [cell.seed for cell in own],
            "time": "aware" if reads_time(own[0]) else "free",
        }
        for ending, values in by_ending(own).items():
            for metric, of_users in zip(METRICS, values, strict=True):
                yield named | {"protocol": split + ending, "metric": metric} | over_queries(of_users)
        if (lost := mean_of(own, CROSS_ENTROPY)) is not None:
            yield named | {"protocol": split, "metric": CROSS_ENTROPY} | over_queries(lost)
            low, high = np.exp(bootstrap(lost)).tolist()
            perplexity = {"value": float(np.exp(lost.mean())), "low": low, "high": high, "n": len(lost)}
            yield named | {"protocol": split, "metric": PERPLEXITY} | perplexity


def as_table(cells: Sequence[Cell], dataset: str, split: str) -> Table:
    """Best first, published metrics below, each HR@10 above NDCG@10."""
    title = f"{dataset}, {split}, full ranking over all items, seen items left out"
    table = narrow_table(title, CAPTION)
    table.add_column("", overflow="fold")
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for model, own in sorted(of_model(cells), key=lambda pair: -by_ending(pair[1])[""][NDCG].mean()):
        found = by_ending(own)
        variants = [_shown(found.get(ending)) for ending in [*ENDINGS.values(), *GAPS.values()]]
        table.add_row("\n".join([model, *_details(own)]), *variants, f"{found[''][METRICS.index('mrr')].mean():.4f}")
    table.add_section()
    if split == SEED_WINDOWS:
        lost = _in_words(S1_CROSS_ENTROPY, S1_PERPLEXITY)
        table.add_row(f"published, ml-20m: S1's transformer\n  free\n  {lost}", f"\n{S1_NDCG:.4f}")
        table.add_row("published, ml-20m: S1's popularity\n  free", f"\n{S1_POPULARITY_NDCG:.4f}")
    for row in NEXT_ITEM:
        if (row.dataset, row.protocol) == (dataset, split):
            table.add_row(f"published: {row.model}\n  {row.time}", f"{row.hit_rate:.4f}\n{row.ndcg:.4f}")
    return table


def _details(own: Sequence[Cell]) -> Iterator[str]:
    """Of the cells of one model: the lines below its name."""
    low, high = bootstrap(by_ending(own)[""][NDCG])
    yield f"  {low:.4f} to {high:.4f}"
    minutes = np.mean([cell.arrays["seconds"] for cell in own]) / 60
    trained = [f"{np.mean([len(cell.arrays['curve']) for cell in own]):.0f} ep"] if "curve" in own[0].arrays else []
    time = "aware" if reads_time(own[0]) else "free"
    yield f"  {time}, {len(own)} seed{'s' * (len(own) > 1)}"
    yield "  " + ", ".join([*trained, f"{minutes:.1f} min"])
    if (lost := mean_of(own, CROSS_ENTROPY)) is not None:
        yield f"  {_in_words(lost.mean(), np.exp(lost.mean()))}"


def _in_words(cross_entropy: float, perplexity: float) -> str:
    return f"cross entropy {cross_entropy:.2f}, perplexity {perplexity:.1f}"


def _shown(values: Doubles | None) -> str:
    return "" if values is None else f"{values[0].mean():.4f}\n{values[NDCG].mean():.4f}"


def draw(cells: Sequence[Cell], title: str, path: Path) -> None:
    """Writes the learning curves, one line a seed, the color its recipe's; the format is that of the file's ending."""
    figure = Figure(figsize=(7, 4.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    trained = [(model, own) for model, own in of_model(cells) if "curve" in own[0].arrays]
    for position, (model, own) in enumerate(trained):
        for cell in own:
            curve = cell.arrays["curve"]
            epochs = np.arange(1, len(curve) + 1)
            label = model if cell is own[0] else None
            color, line = COLORS[position % len(COLORS)], LINES[position % len(LINES)]
            axes.plot(epochs, curve, color=color, linestyle=line, linewidth=1.2, label=label)
    axes.set(title=title, xlabel="epoch", ylabel="validation NDCG@10")
    axes.grid(alpha=0.3)
    if trained:
        axes.legend(frameon=False)
    figure.savefig(path)
