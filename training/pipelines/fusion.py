"""Fits fusion policies on validation events, compares them with each model alone, and publishes them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import yaml
from rich.table import Table

from fusion_gateway.fusion import POPULARITY, Policy, Switch
from training.artifacts.popularity_file import FILE, write_popularity
from training.artifacts.repository import publish
from training.evaluation.cohorts import SHORT
from training.evaluation.gateway_candidates import CandidateBatch, NextItemTask
from training.evaluation.next_item import NDCG, target_metrics
from training.evaluation.ranking_metrics import Doubles, bootstrap
from training.features.interactions import Ints
from training.pipelines.fusion_by_ratings import switch_by_ratings, weights_by_ratings
from training.pipelines.fusion_fit import (
    fit_adaptive,
    fit_bias,
    fit_calibrators,
    fit_forms,
    fit_layer,
    fit_thresholds,
    fit_weights,
)
from training.pipelines.job import Job
from training.pipelines.popularity import fit_popularity
from training.progress import console, stage, track
from training.recipes.fusion import FusionRecipe
from training.terminal import narrow_table

COHORTS = {each.name: (each.min_events, each.max_events) for each in SHORT}
"""Minimum and maximum number of events of each cohort that is fitted on its own."""
WHOLE, FEW_RATINGS = "whole history", "few ratings"
READS_RATINGS = ("rating",)
"""Models that know nothing of a user who has rated nothing."""
CandidateBatches = Mapping[str, Sequence[CandidateBatch]]
"""By cohort, FEW_RATINGS and WHOLE."""
NdcgByPolicy = Mapping[str, Mapping[str, Doubles]]
"""Per policy and model alone, and cohort: [B]."""


def train_fusion(job: Job, recipe: FusionRecipe) -> Path:
    """Publishes every policy, and how popular the items are. The default is the best on validation users that it was
    not fitted on, of those whose contributions add up to the score, and in no cohort worse than the best model alone.

    Where there are too few validation users to fit on, what needs no fitting is published; without a scorer, popularity
    alone.
    """
    popularity = fit_popularity(job.split.train, job.dataset.users, job.dataset.items["number"].to_numpy())
    # Without a validation part the targets are of the training part, and must not be in their own history.
    history = job.split.train.join(job.validation, on=["user", "item", "time"], how="anti", maintain_order="left")
    task = NextItemTask(job.repository, job.validation, history, popularity)
    chosen = _choose_policies(task, recipe)
    text = yaml.safe_dump(
        {"default": chosen.default, "policies": {name: as_yaml(each) for name, each in chosen.policies.items()}}
    )

    def write(folder: Path) -> None:
        (folder / "policies.yaml").write_text(text)
        write_popularity(popularity, folder / FILE)

    return publish(job.repository, job.manifest("fusion", recipe, chosen.metrics), write)


@dataclass(frozen=True)
class Chosen:
    """What is published."""

    default: str
    policies: Mapping[str, Policy]
    metrics: dict[str, float]


def _choose_policies(task: NextItemTask, recipe: FusionRecipe) -> Chosen:
    """Fitted ones where that is possible; says so where it is not."""
    if not task.scorers:
        console.print("  no model is published: everybody gets what is popular")
        return Chosen(POPULARITY, {POPULARITY: _alone(POPULARITY)}, {})
    models = [*task.scorers, POPULARITY]
    cohorts = {**COHORTS, FEW_RATINGS: None, WHOLE: None}
    batches: dict[str, list[CandidateBatch]] = {}
    for name, cut in cohorts.items():
        chunks = task.chunks(recipe.max_users, cut, recipe.seed, few_ratings=name == FEW_RATINGS)
        shown = track(f"ranking, {name}", chunks, task.chunk_count(recipe.max_users), [])
        batches[name] = [chunk.candidates for chunk in shown]
    batches = {name: chunks for name, chunks in batches.items() if chunks}
    usable = sum(int((batch.target >= 0).sum()) for batch in batches[WHOLE])
    if usable < recipe.min_users:
        few = f"{usable} validation users whose next item is a candidate are too few to fit on"
        console.print(f"  {few} ({recipe.min_users} are needed): all models count the same", soft_wrap=True)
        equal = equal_policy(models)
        return Chosen("equal", {"equal": equal, "rrf": replace(equal, strategy="rrf")}, {})
    with stage("fitting the policies"):
        ndcg_by_policy = _held_out_ndcg(batches, models, recipe)
        policies = fit_policies(batches, models, recipe)
    # The gateway explains a list by contributions, which a learned layer does not have.
    additive = [name for name, policy in policies.items() if policy.strategy != "learned"]
    default = _choose(ndcg_by_policy, models, additive)
    console.print(as_table(ndcg_by_policy, models, default))
    console.print(weights_by_ratings(policies, READS_RATINGS, batches[FEW_RATINGS]))
    console.print(_effect_of_scoring_by_all(policies[default], batches[WHOLE]))
    best = _best_alone(ndcg_by_policy, models, WHOLE)
    metrics = {f"ndcg@10-{name}": float(ndcg_by_policy[name][WHOLE].mean()) for name in (default, best)}
    return Chosen(default, policies, metrics)


def fit_policies(batches: CandidateBatches, models: Sequence[str], recipe: FusionRecipe) -> dict[str, Policy]:
    """All policies by name, fitted on these users."""
    equal, whole = equal_policy(models), batches[WHOLE]
    choices = [replace(equal, normalizer=name) for name in recipe.normalizers]  # type: ignore[arg-type]
    weighted = fit_weights(whole, *choices, fit_forms(whole, equal))
    plain = replace(weighted, weights=equal.weights)
    calibrated = replace(equal, normalizer="calibrated", calibrators=fit_calibrators(whole))
    everybody = [batch for cohort in batches.values() for batch in cohort]
    switches = []
    for name, (_, max_events) in COHORTS.items():
        if name in batches:
            switches.append(Switch(max_events, fit_weights(batches[name], plain).weights))
    gate = max(models, key=lambda model: policy_ndcg(_alone(model), whole).mean())
    return {
        "equal": equal,
        "weighted": weighted,
        "calibrated": fit_bias(whole, fit_weights(whole, calibrated)),
        "learned": fit_layer(whole, plain, 1, recipe.seed),
        "learned_hidden": fit_layer(whole, plain, recipe.hidden_units, recipe.seed),
        "adaptive": fit_adaptive(everybody, plain),
        "adaptive_by_agreement": fit_adaptive(everybody, plain, by_agreement=True),
        "switching": replace(weighted, strategy="switching", switches=tuple(switches)),
        "switching_by_ratings": switch_by_ratings(weighted, plain, batches[FEW_RATINGS]),
        "threshold": fit_thresholds(whole, weighted, lambda policy: float(policy_ndcg(policy, whole).mean())),
        "cascade": replace(weighted, strategy="cascade", gate=gate),
        "rrf": Policy(weighted.weights, "rrf", min_ratings=weighted.min_ratings),
    }


def equal_policy(models: Sequence[str]) -> Policy:
    """All models count the same, those that read ratings only where there are some."""
    return Policy(dict.fromkeys(models, 1.0), min_ratings={model: 1 for model in models if model in READS_RATINGS})


def _held_out_ndcg(batches: CandidateBatches, models: Sequence[str], recipe: FusionRecipe) -> NdcgByPolicy:
    """Of policies that were fitted on other users."""
    ndcg_by_policy: dict[str, dict[str, list[Doubles]]] = {}
    for fold in range(recipe.folds):
        fitted = fit_policies(_fold(batches, recipe.folds, fold, inside=False), models, recipe)
        rest = _fold(batches, recipe.folds, fold, inside=True)
        for name, policy in {**{model: _alone(model) for model in models}, **fitted}.items():
            for cohort, users in rest.items():
                ndcg_by_policy.setdefault(name, {}).setdefault(cohort, []).append(policy_ndcg(policy, users))
    return {name: _joined_folds(of_cohorts) for name, of_cohorts in ndcg_by_policy.items()}


def _joined_folds(of_cohorts: Mapping[str, Sequence[Doubles]]) -> dict[str, Doubles]:
    return {cohort: np.concatenate(folds) for cohort, folds in of_cohorts.items()}


def _fold(batches: CandidateBatches, folds: int, fold: int, inside: bool) -> dict[str, list[CandidateBatch]]:
    def kept(batch: CandidateBatch) -> CandidateBatch:
        return batch.select(np.flatnonzero((batch.user % folds == fold) == inside))

    return {name: list(map(kept, cohort)) for name, cohort in batches.items()}


def policy_ndcg(policy: Policy, batches: Sequence[CandidateBatch]) -> Doubles:
    """[B]: NDCG@10 of the fused list; 0 where the target is no candidate."""
    rows = []
    for batch in batches:
        nothing = np.zeros(batch.column.shape, np.bool_)
        ndcg = target_metrics(batch.fuse(policy).score, batch.target, nothing)[NDCG]
        rows.append(np.where(batch.target >= 0, ndcg, 0.0))
    return np.concatenate([np.zeros(0), *rows])


def _alone(model: str) -> Policy:
    return Policy({model: 1.0}, normalizer="none")


def _best_alone(ndcg_by_policy: NdcgByPolicy, models: Sequence[str], cohort: str) -> str:
    return max(models, key=lambda model: ndcg_by_policy[model][cohort].mean())


def _choose(ndcg_by_policy: NdcgByPolicy, models: Sequence[str], names: Sequence[str]) -> str:
    """The best policy of those that lose to the best model alone in the fewest cohorts."""

    def merit(name: str) -> tuple[int, float]:
        own = ndcg_by_policy[name]
        best = {cohort: ndcg_by_policy[_best_alone(ndcg_by_policy, models, cohort)][cohort] for cohort in own}
        lost = sum(own[cohort].mean() < best[cohort].mean() for cohort in best if best[cohort].size)
        return -lost, float(own[WHOLE].mean())

    return max(names, key=merit)


def as_table(ndcg_by_policy: NdcgByPolicy, models: Sequence[str], default: str) -> Table:
    best = _best_alone(ndcg_by_policy, models, WHOLE)
    title = "NDCG@10 on validation users that the policy was not fitted on; * is the default"
    table = narrow_table(title, f"below a name: how much better than {best}, 95 % bootstrap interval paired by user")
    table.add_column("model or policy", overflow="fold")
    for cohort in ndcg_by_policy[best]:
        table.add_column(cohort.replace(" ", "\n"), justify="right", no_wrap=True)
    for name, by in ndcg_by_policy.items():
        low, high = bootstrap(by[WHOLE] - ndcg_by_policy[best][WHOLE])
        means = [f"{rows.mean():.4f}" if rows.size else "" for rows in by.values()]
        table.add_row(name + " *" * (name == default) + f"\n  {low:+.4f} to {high:+.4f}", *means)
    return table


def _effect_of_scoring_by_all(policy: Policy, batches: Sequence[CandidateBatch]) -> str:
    """What would be lost if each model scored its own retrievals only."""
    changed = np.array([count for batch in batches for count in _changed(policy, batch)])
    return (
        f"  scoring by all of what only some retrieved changes the top 10 of {np.mean(changed > 0):.0%} of the users, "
        f"{changed.mean():.1f} of their items"
    )


def _changed(policy: Policy, batch: CandidateBatch) -> Iterator[int]:
    own = {}
    for name, table in batch.scores.items():
        own[name] = np.where(batch.retrieved.get(name, True), table, np.nan)
    tables = [replace(batch, scores=scores).fuse(policy).score for scores in (batch.scores, own)]
    tops = [_top_ten(table) for table in tables]
    yield from (len(np.setdiff1d(a, b)) for a, b in zip(*tops, strict=True))


def _top_ten(score: Doubles) -> Ints:
    """[B, 10] columns, best first."""
    return np.argsort(-np.nan_to_num(score, nan=-np.inf), axis=1, kind="stable")[:, :10]


def as_yaml(policy: Policy) -> dict[str, object]:
    """The fields that are not at their defaults."""
    written, default = asdict(policy), asdict(Policy({"any": 1.0}))
    return {name: _plain(value) for name, value in written.items() if value != default[name]}


def _plain(value: object) -> object:
    """Without tuples, and without digits that say nothing."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if each is not None}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
