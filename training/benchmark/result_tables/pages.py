"""Pages that hold tables of results between markers: `<!-- table: NAME -->` and `<!-- end -->`."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from training.benchmark.result_tables import headlines, quality, recipes, serving
from training.benchmark.result_tables.files import Cells, Results, markdown
from training.errors import TrainingError

FOLDER = Path("training/results")
PAGES = (Path("README.md"), Path("training/README.md"), FOLDER / "README.md")
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
DATA_FOLDER = re.compile(r"(?<=--data )\S*/(?=ml-)")


class Table(NamedTuple):
    """What makes it, and of which files."""

    make: Callable[[Results], Iterable[Cells]]
    files: tuple[str, ...]


TABLES = {
    "headlines": Table(headlines.headlines, ()),
    "rating-recipes": Table(recipes.rating_recipes, ()),
    "next-item-recipes": Table(recipes.next_item_recipes, ()),
    "next-item-ml-100k": Table(quality.next_item_ml_100k, ("next-item-ml-100k", "sequential-ml-100k")),
    "next-item-ml-1m": Table(quality.next_item_ml_1m, ("sequential-ml-1m-time-free", "sequential-ml-1m")),
    "fused-ml-1m": Table(quality.fused_ml_1m, ("next-item-ml-1m",)),
    "ties-ml-100k": Table(quality.ties_ml_100k, ("sequential-ml-100k",)),
    "ties-ml-1m": Table(quality.ties_ml_1m, ("sequential-ml-1m-time-free", "sequential-ml-1m")),
    "global-time": Table(quality.global_time, ("sequential-ml-100k-global-time",)),
    "trending": Table(quality.trending, quality.TRENDING),
    "rating-u1": Table(quality.rating_u1, ("rating-ml-100k-u1", "rating-ml-100k-recipes")),
    "rating-folds": Table(quality.rating_folds, ("rating-ml-100k-folds",)),
    "rating-last": Table(quality.rating_last, ("rating-ml-100k-last",)),
    "rating-ml-1m": Table(quality.rating_ml_1m, ("rating-ml-1m",)),
    "fold-in": Table(quality.fold_in, ("fold-in-ml-100k",)),
    "five-systems": Table(quality.five_systems, ("five-systems-ml-100k-s1", "five-systems-ml-100k")),
    "signals": Table(quality.signals, ("signals-ml-100k",)),
    "adaptive-split": Table(quality.adaptive_split, ("adaptive-split-ml-100k",)),
    "visual-temporal-parts": Table(quality.visual_temporal_parts, ("visual-temporal-ablation-ml-100k",)),
    "likes-from-4": Table(quality.likes_from_4, ("visual-temporal-likes-ml-100k",)),
    "likes-from-3": Table(quality.likes_from_3, ("visual-temporal-likes-ml-100k",)),
    "cold-items": Table(quality.cold_items, ("visual-temporal-cold-ml-100k",)),
    "cold-maps": Table(quality.cold_maps, (quality.COLD_FUSED, quality.COLD_MEANING)),
    "cold-slot": Table(quality.cold_slot, quality.COLD_SLOTS),
    "growth": Table(quality.growth, ("growth-sequential", "growth-visual-temporal")),
    "gateway-cost": Table(serving.gateway_cost, ("gateway-cost", "gateway-cost-inline")),
    "gateway-overload": Table(serving.gateway_overload, ("gateway-overload",)),
    "peers": Table(serving.peers, ("peers",)),
    "swap": Table(serving.swap, ("swap",)),
    "kills": Table(serving.kills, ("chaos",)),
    "faults": Table(serving.faults, ("chaos-faults",)),
    "attacks": Table(serving.attacks, ("chaos-attack",)),
    "soak": Table(serving.soak, ("chaos-soak",)),
}


def rendered(page: str, results: Results) -> str:
    """The page with its tables as the files have them. Raises TrainingError for a table that there is not."""

    def table(found: re.Match[str]) -> str:
        begin, name, end = found.groups()
        if name not in TABLES:
            raise TrainingError(f"there is no table '{name}'; there are {', '.join(TABLES)}")
        sources = "".join(_source(results, file) for file in TABLES[name].files)
        return f"{begin}{markdown(TABLES[name].make(results))}\n{sources}{end}"

    return MARKED.sub(table, page)


def _source(results: Results, file: str) -> str:
    """What was run for a file, where and when; its link is as seen from the folder of results."""
    run = results.run(file)
    command = DATA_FOLDER.sub("data/", run["command"].removeprefix("python "))
    about = f"{run['date'][:10]}, commit {run['commit'][:7]}, {run['machine']}"
    return f"[`{file}.json`]({file}.json): {about}; `python {command}`\n\n"
