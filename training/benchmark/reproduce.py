"""Every seed recipe of REFERENCE_SYSTEMS.md beside its published metric, our best recipe and a trivial baseline.

Finished cells are kept by the benchmarks, so that a stopped run resumes.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from training import recipes
from training.benchmark import likes, rating, sequential
from training.benchmark.published import PUBLISHED, S1_CROSS_ENTROPY, S1_NDCG, S1_PERPLEXITY, S5_LIKES
from training.benchmark.report import of_seeds
from training.benchmark.runner import Runner
from training.benchmark.sequential import CROSS_ENTROPY, FREQUENCY, LEAVE_LAST_OUT, PERPLEXITY, SEED_WINDOWS
from training.benchmark.visual_temporal import WHOLE, likes_measurement
from training.data.dataset import Dataset
from training.errors import TrainingError
from training.evaluation.next_item import METRICS
from training.progress import console
from training.terminal import narrow_table

SYSTEMS = ("S1", "S2", "S3", "S4", "S5")
FOLD, ALL_FOLDS, RANDOM = "u1", "u1..u5", "80/20"
WITHOUT_FOLDS = "90/10"
LOWER_IS_BETTER = ("rmse", "mse", CROSS_ENTROPY, PERPLEXITY)
BIASES, GLOBAL_MEAN, POPULARITY, ALWAYS_YES = "user + item bias", "global mean", "popularity", "always yes"
LIKED_FROM = 3.0
LIKED = f"70/15/15, liked from {LIKED_FROM:.0f}"
BEST = "best"


@dataclass(frozen=True)
class Claim:
    """A system's recipe under a protocol. `published` is its source's value, measured on `data`."""

    system: str
    recipe: str
    protocol: str
    metric: str
    published: float | None = None
    data: str = ""
    trivial: str = BIASES


def _ratings(system: str, recipe: str, protocol: str, trivial: str, *metrics: str) -> list[Claim]:
    row = {row.recipe: row for row in PUBLISHED}.get(recipe)
    published, data = (row.metrics, row.dataset) if row else ({}, "")
    claim = Claim(system, recipe, protocol, metric="", data=data, trivial=trivial)
    return [replace(claim, metric=metric, published=published.get(metric)) for metric in metrics]


CLAIMS = (
    *_ratings("S1", "seed_rating", FOLD, BIASES, "rmse"),
    *_ratings("S1", "seed_rating", FOLD, GLOBAL_MEAN, "precision@50-estimated", "recall@50-estimated"),
    *_ratings("S1", "seed_rating", FOLD, BIASES, "ndcg@50"),
    Claim("S1", "seed_transformer", SEED_WINDOWS, "ndcg@10", S1_NDCG, "ml-20m", trivial="S1's popularity"),
    Claim("S1", "seed_transformer", SEED_WINDOWS, CROSS_ENTROPY, S1_CROSS_ENTROPY, "ml-20m", trivial=FREQUENCY),
    Claim("S1", "seed_transformer", SEED_WINDOWS, PERPLEXITY, S1_PERPLEXITY, "ml-20m", trivial=FREQUENCY),
    Claim("S1", "seed_transformer", LEAVE_LAST_OUT, "ndcg@10", trivial=POPULARITY),
    *_ratings("S2", "hybrid_mf_deep", FOLD, BIASES, "rmse"),
    *_ratings("S3", "svd", FOLD, BIASES, "rmse"),
    *_ratings("S3", "ids_content_nn", FOLD, BIASES, "mse"),
    *_ratings("S4", "hybrid_genres", ALL_FOLDS, BIASES, "mse", "accuracy@2.5"),
    *_ratings("S4", "hybrid_genres", RANDOM, BIASES, "mse", "accuracy@2.5"),
    *(
        Claim("S5", "seed_cnn_birnn_ae", LIKED, metric, value, "TMDB", trivial=ALWAYS_YES)
        for metric, value in zip(likes.METRICS, S5_LIKES[WHOLE], strict=False)
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

    @property
    def _runner(self) -> Runner:
        return Runner(self.dataset, self.work, self.device)

    def run(self, systems: Collection[str]) -> Iterator[Line]:
        """One line a claim, as each is done. Raises TrainingError for a system that is none of SYSTEMS."""
        if unknown := set(systems) - set(SYSTEMS):
            raise TrainingError(f"no system '{min(unknown)}'; there are {', '.join(SYSTEMS)}")
        claims = dict.fromkeys(self._possible(claim) for claim in CLAIMS if claim.system in systems)
        for position, claim in enumerate(claims, 1):
            console.print(f"{position}/{len(claims)}  {claim.system} {claim.recipe}, {claim.protocol}", highlight=False)
            yield self._line(claim)

    def _possible(self, claim: Claim) -> Claim:
        """Folds are of ML-100k alone; other data are split at random."""
        if claim.protocol in (FOLD, ALL_FOLDS) and not (self.folder / "u1.base").is_file():
            return replace(claim, protocol=WITHOUT_FOLDS)
        return claim

    def _line(self, claim: Claim) -> Line:
        if claim.system == "S5":
            metrics = self._likes(claim)
        elif claim.recipe in recipes.RATING:
            metrics = self._rating(claim)
        else:
            metrics = self._sequential(claim)
        return Line(claim, *metrics)

    def _rating(self, claim: Claim) -> tuple[float, ...]:
        models = (claim.recipe, BEST, claim.trivial)
        todo = rating.measurements(self._runner, self.folder, claim.protocol, [claim.recipe, BEST], self.seeds)
        cells = self._runner.run(todo)
        return tuple(float(np.mean(of_seeds(cells, model, rating.SERVED, claim.metric))) for model in models)

    def _sequential(self, claim: Claim) -> tuple[float, ...]:
        todo = sequential.measurements(self._runner, claim.protocol, [claim.recipe, BEST], self.seeds)
        cells = self._runner.run(todo)

        def mean(model: str) -> float:
            own = [cell.arrays for cell in cells if cell.model == model]
            if claim.metric in METRICS:
                metric = METRICS.index(claim.metric)
                return float(np.mean([arrays[sequential.AS_GIVEN][metric].mean() for arrays in own]))
            lost = float(np.mean([arrays[CROSS_ENTROPY].mean() for arrays in own]))
            return lost if claim.metric == CROSS_ENTROPY else math.exp(lost)

        return mean(claim.recipe), mean(BEST), mean(claim.trivial)

    def _likes(self, claim: Claim) -> tuple[float, ...]:
        """S5 does not say what a relevant item is."""
        split = likes.rated_shares(self.dataset.events)

        def measured(scores: likes.Scores) -> float:
            return likes.metrics(split, scores, LIKED_FROM)[claim.metric]

        def mean(name: str) -> float:
            chosen = recipes.choose(recipes.VISUAL_TEMPORAL, name)
            todo = [
                likes_measurement(self._runner, replace(chosen, seed=seed, liked_from=LIKED_FROM))
                for seed in self.seeds
            ]
            cells = [self._runner.cell(each).arrays for each in todo]
            return float(np.mean([measured((cell["validation"], cell["test"])) for cell in cells]))

        return mean(claim.recipe), mean(BEST), measured(likes.always_yes(split))


def verdict(line: Line, dataset: str) -> str:
    """In words: the recipe against the baseline, the best one against it, and whether the published metric compares."""
    claim, words = line.claim, []
    beaten = _better(claim.metric, line.ours, line.trivial)
    words.append(f"{'beats' if beaten else 'does not beat'} {claim.trivial}")
    if line.best != line.ours:
        share = abs(line.best - line.ours) / abs(line.ours)
        words.append(f"best is {share:.1%} {'better' if _better(claim.metric, line.best, line.ours) else 'worse'}")
    if claim.published is None:
        words.append("no comparable metric was published")
    elif claim.data != dataset:
        words.append(f"published on {claim.data}, which does not compare")
    else:
        reached = [
            name
            for name, ours in (("recipe", line.ours), ("best", line.best))
            if not _better(claim.metric, claim.published, ours)
        ]
        words.append(f"published metric, of an unnamed split, reached by {' and '.join(reached) or 'neither'}")
    return "; ".join(words)


def _better(metric: str, one: float, other: float) -> bool:
    return one < other if metric in LOWER_IS_BETTER else one > other


def as_table(lines: Sequence[Line], dataset: Dataset) -> Table:
    """One line a claim."""
    caption = "S5 does not say what a relevant item is; always yes is to recommend every item"
    table = narrow_table(f"The five systems on {dataset.name}", caption)
    table.add_column("system, its recipe\nmetric, protocol", min_width=23)
    for name in ("pub-\nlished", "its\nrecipe", "our\nbest", "trivial"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for line in lines:
        claim = line.claim
        published = "" if claim.published is None else f"{claim.published:.4f}"
        metrics = (f"{value:.4f}" for value in (line.ours, line.best, line.trivial))
        named = f"{claim.system} {claim.recipe}\n{claim.metric}, {claim.protocol}"
        table.add_row(named, published, *metrics, verdict(line, dataset.name))
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
