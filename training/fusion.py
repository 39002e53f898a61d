"""Fits the fusion policy on validation data and publishes it."""

from pathlib import Path

import numpy as np
import torch
import yaml

from fusion_gateway.fusion import NORMALISERS, Policy, Scores, fuse
from training.errors import TrainingError
from training.job import Job
from training.metrics import better_and_tied, ndcg
from training.progress import console
from training.ranking import NextItemTask, Ranked
from training.recipes.fusion import FusionRecipe
from training.repository import publish


def train_fusion(job: Job, recipe: FusionRecipe) -> Path:
    """Weights per normaliser by maximum conditional likelihood of the held-out item; the normaliser by NDCG@10.

    Publishes `fitted` (the default) and `equal`. Raises TrainingError where no scorer is published.
    """
    task = NextItemTask(job.repository, job.validation, job.split.train)
    if not task.scorers:
        raise TrainingError(f"no scorer in {job.repository} to fuse: run 'python -m training train all'")
    chunks = list(task.chunks(recipe.users))
    candidates = [_fit_weights(chunks, normaliser) for normaliser in recipe.normalisers]
    equal = Policy(dict.fromkeys(task.scorers, 1 / len(task.scorers)))
    figures = [policy_ndcg(policy, chunks) for policy in [equal, *candidates]]
    for policy, figure in zip([equal, *candidates], figures, strict=True):
        weights = ", ".join(f"{model} {weight:.2f}" for model, weight in policy.weights.items())
        console.print(f"  fusion {policy.normaliser:<8} validation NDCG@10 {figure:.4f}  ({weights})")
    fitted = candidates[int(np.argmax(figures[1:]))]
    text = yaml.safe_dump({"default": "fitted", "policies": {"fitted": _as_yaml(fitted), "equal": _as_yaml(equal)}})
    manifest = job.manifest("fusion", recipe, {"ndcg@10": max(figures[1:]), "ndcg@10-equal": figures[0]})
    return publish(job.repository, manifest, lambda folder: _write(folder / "policies.yaml", text))


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _as_yaml(policy: Policy) -> dict[str, object]:
    weights = {model: round(weight, 6) for model, weight in policy.weights.items()}
    return {"strategy": policy.strategy, "normaliser": policy.normaliser, "weights": weights}


def policy_ndcg(policy: Policy, chunks: list[Ranked]) -> float:
    """Mean NDCG@10 of the fused list."""
    rows = [ndcg(*better_and_tied(fuse(policy, c.scores, c.events).score, c.target, c.seen)) for c in chunks]
    return float(np.concatenate(rows).mean())


def _fit_weights(chunks: list[Ranked], normaliser: str) -> Policy:
    """Maximises the likelihood of the target under softmax(Σ w_m n_m(s_m)) over the unseen items, w >= 0."""
    models = list(chunks[0].scores)
    parts = [_normalised(chunk, normaliser) for chunk in chunks]
    targets = [torch.from_numpy(chunk.target) for chunk in chunks]
    raw = torch.full((len(models),), -2.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([raw], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        weight = torch.nn.functional.softplus(raw)
        losses = [
            torch.nn.functional.cross_entropy(torch.einsum("m,mbi->bi", weight, part), target, reduction="sum")
            for part, target in zip(parts, targets, strict=True)
        ]
        loss = torch.stack(losses).sum() / sum(len(target) for target in targets)
        loss.backward()
        return loss

    optimizer.step(closure)
    weight = torch.nn.functional.softplus(raw).detach().numpy().astype(np.float64)
    return Policy(dict(zip(models, map(float, weight / weight.sum()), strict=True)), normaliser=normaliser)  # type: ignore[arg-type]


def _normalised(chunk: Ranked, normaliser: str) -> torch.Tensor:
    """[M, B, I]; an abstention counts as the user's lowest score, a seen item as impossible."""
    tables = [_filled(NORMALISERS[normaliser](np.asarray(table, np.float64))) for table in chunk.scores.values()]
    stacked = torch.from_numpy(np.stack(tables))
    return stacked.masked_fill(torch.from_numpy(chunk.seen), -1e4)


def _filled(table: Scores) -> Scores:
    scored = np.isfinite(table)
    lowest = np.where(scored, table, np.inf).min(axis=1, keepdims=True)
    return np.where(scored, table, np.where(np.isfinite(lowest), lowest, 0.0))
