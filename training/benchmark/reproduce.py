"""Every seed recipe of systems.md beside its published figure, our best recipe and a trivial baseline.

Finished cells are kept by the benchmarks, so that a run that was stopped goes on when it is started again.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from training import recipes
from training.benchmark import likes
from training.benchmark.published import PUBLISHED, S1_NDCG, S5_LIKES
from training.benchmark.rating import SERVED
from training.benchmark.rating import Benchmark as RatingBenchmark
from training.benchmark.report import of_seeds
from training.benchmark.sequential import AS_GIVEN, LEAVE_LAST_OUT, SEED_WINDOWS
from training.benchmark.sequential import Benchmark as SequentialBenchmark
from training.benchmark.visual_temporal import WHOLE
from training.benchmark.visual_temporal import Benchmark as VisualTemporalBenchmark
from training.data.dataset import Dataset
from training.errors import TrainingError
from training.evaluation.next_item import METRICS
from training.progress import console

SYSTEMS = ("S1", "S2", "S3", "S4", "S5")
FOLD, ALL_FOLDS, RANDOM = "u1", "u1..u5", "80/20"
WITHOUT_FOLDS = "90/10"
LOWER_IS_BETTER = ("rmse", "mse")
BIASES, GLOBAL_MEAN, POPULARITY, ALWAYS_YES = "user + item bias", "global mean", "popularity", "always yes"
LIKED_FROM = 3.0
LIKED = f"70/15/15, liked from {LIKED_FROM:.0f}"
BEST = "best"


@dataclass(frozen=True)
class Claim:
    """A system's recipe under a protocol. `published` is its source's figure, measured on `data`."""

    system: str
    recipe: str
    protocol: str
    metric: str
    published: float | None = None
    data: str = ""
    trivial: str = BIASES


def _ratings(system: str, recipe: str, protocol: str, trivial: str, *metrics: str) -> list[Claim]:
    row = {row.recipe: row for row in PUBLISHED}.get(recipe)
    figures, data = (row.figures, row.dataset) if row else ({}, "")
    return [Claim(system, recipe, protocol, metric, figures.get(metric), data, trivial) for metric in metrics]


CLAIMS = (
    *_ratings("S1", "seed_rating", FOLD, BIASES, "rmse"),
    *_ratings("S1", "seed_rating", FOLD, GLOBAL_MEAN, "precision@50", "recall@50"),
    Claim("S1", "seed_transformer", SEED_WINDOWS, "ndcg@10", S1_NDCG, "ml-20m", "S1's popularity"),
    Claim("S1", "seed_transformer", LEAVE_LAST_OUT, "ndcg@10", trivial=POPULARITY),
    *_ratings("S2", "hybrid_mf_deep", FOLD, BIASES, "rmse"),
    *_ratings("S3", "svd", FOLD, BIASES, "rmse"),
    *_ratings("S3", "ids_content_nn", FOLD, BIASES, "mse"),
    *_ratings("S4", "hybrid_genres", ALL_FOLDS, BIASES, "mse", "accuracy@2.5"),
    *_ratings("S4", "hybrid_genres", RANDOM, BIASES, "mse", "accuracy@2.5"),
    *(
        Claim("S5", "seed_cnn_birnn_ae", LIKED, metric, figure, "TMDB", ALWAYS_YES)
        for metric, figure in zip(likes.METRICS, S5_LIKES[WHOLE], strict=False)
    ),
)


@dataclass(frozen=True)
class Line:
    """What came out."""

    claim: Claim
    ours: float
    """With the system's recipe."""
    best: float
    trivial: float


@dataclass(frozen=True)
class Reproduction:
    """A data set on which the systems are trained."""

    folder: Path
    dataset: Dataset
    work: Path
    seeds: Sequence[int]
    device: torch.device = torch.device("cpu")

    def run(self, systems: Collection[str]) -> Iterator[Line]:
        """One line a claim, as each is done. Raises TrainingError for a system that is none of SYSTEMS."""
        if unknown := set(systems) - set(SYSTEMS):
            raise TrainingError(f"no system '{min(unknown)}'; there are {', '.join(SYSTEMS)}")
        claims = dict.fromkeys(self._possible(claim) for claim in CLAIMS if claim.system in systems)
        for place, claim in enumerate(claims, 1):
            console.print(f"{place}/{len(claims)}  {claim.system} {claim.recipe}, {claim.protocol}", highlight=False)
            yield self._line(claim)

    def _possible(self, claim: Claim) -> Claim:
        """Folds are of ML-100k alone; other data are split at random."""
        if claim.protocol in (FOLD, ALL_FOLDS) and not (self.folder / "u1.base").is_file():
            return replace(claim, protocol=WITHOUT_FOLDS)
        return claim

    def _line(self, claim: Claim) -> Line:
        if claim.system == "S5":
            figures = self._likes(claim)
        elif claim.recipe in recipes.RATING:
            figures = self._rating(claim)
        else:
            figures = self._sequential(claim)
        return Line(claim, *figures)

    def _rating(self, claim: Claim) -> tuple[float, ...]:
        benchmark = RatingBenchmark(self.folder, self.dataset, claim.protocol, self.work, self.device)
        cells = benchmark.run([claim.recipe, BEST], self.seeds)
        models = (claim.recipe, BEST, claim.trivial)
        return tuple(float(np.mean(of_seeds(cells, model, SERVED, claim.metric))) for model in models)

    def _sequential(self, claim: Claim) -> tuple[float, ...]:
        cells = SequentialBenchmark(self.dataset, claim.protocol, self.work, self.device).run(
            [claim.recipe, BEST], self.seeds
        )
        metric = METRICS.index(claim.metric)
        return tuple(
            float(np.mean([cell.figures[AS_GIVEN][metric].mean() for cell in cells if cell.model == model]))
            for model in (claim.recipe, BEST, claim.trivial)
        )

    def _likes(self, claim: Claim) -> tuple[float, ...]:
        """S5 does not say what a relevant item is."""
        split = likes.shares_in_time(self.dataset.events)
        benchmark = VisualTemporalBenchmark(self.dataset, self.work)

        def figure(scores: likes.Scores) -> float:
            return likes.figures(split, scores, LIKED_FROM)[claim.metric]

        def mean(name: str) -> float:
            chosen = recipes.choose(recipes.VISUAL_TEMPORAL, name)
            cells = [benchmark.likes_cell(replace(chosen, seed=seed)).arrays for seed in self.seeds]
            return float(np.mean([figure((cell["validation"], cell["test"])) for cell in cells]))

        return mean(claim.recipe), mean(BEST), figure(likes.always_yes(split))


def verdict(line: Line, dataset: str) -> str:
    """In words: the recipe against the baseline, the best one against it, and whether the published figure compares."""
    claim, words = line.claim, []
    beaten = _better(claim.metric, line.ours, line.trivial)
    words.append(f"{'beats' if beaten else 'does not beat'} {claim.trivial}")
    if line.best != line.ours:
        share = abs(line.best - line.ours) / abs(line.ours)
        words.append(f"best is {share:.1%} {'better' if _better(claim.metric, line.best, line.ours) else 'worse'}")
    if claim.published is None:
        words.append("no comparable figure was published")
    elif claim.data != dataset:
        words.append(f"published on {claim.data}, which does not compare")
    else:
        reached = [
            name
            for name, ours in (("recipe", line.ours), ("best", line.best))
            if not _better(claim.metric, claim.published, ours)
        ]
        words.append(f"published figure, of an unnamed split, reached by {' and '.join(reached) or 'neither'}")
    return "; ".join(words)


def _better(metric: str, one: float, other: float) -> bool:
    return one < other if metric in LOWER_IS_BETTER else one > other


def as_table(lines: Sequence[Line], dataset: Dataset) -> Table:
    """One line a claim."""
    caption = "S5 does not say what a relevant item is; always yes is to recommend every item"
    table = Table(
        title=f"The five systems on {dataset.name}", caption=caption, title_justify="left", caption_justify="left"
    )
    for name in ("system", "protocol", "metric", "published", "its recipe", "ours", "best", "trivial", "verdict"):
        table.add_column(name, justify="right" if name in ("published", "ours", "best", "trivial") else "left")
    for line in lines:
        claim = line.claim
        published = "" if claim.published is None else f"{claim.published:.4f}"
        figures = (f"{value:.4f}" for value in (line.ours, line.best, line.trivial))
        table.add_row(
            claim.system, claim.protocol, claim.metric, published, claim.recipe, *figures, verdict(line, dataset.name)
        )
    return table


def rows(lines: Sequence[Line], dataset: str, seeds: Sequence[int]) -> Iterator[dict[str, object]]:
    """In the format of results: of each claim the system's recipe, the best one, and the baseline."""
    for line in lines:
        claim = line.claim
        for model, recipe, value in (
            (claim.system, claim.recipe, line.ours),
            (claim.system, BEST, line.best),
            (claim.trivial, "", line.trivial),
        ):
            yield {
                "dataset": dataset,
                "protocol": claim.protocol,
                "model": model,
                "recipe": recipe,
                "metric": claim.metric,
                "value": value,
                "published": claim.published,
                "seeds": list(seeds),
            }
