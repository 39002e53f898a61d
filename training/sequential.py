"""Trains and publishes the sequential model."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.job import Job
from training.models.fit import fit
from training.models.sequence import HistoryTower, SequenceTower, SequenceTransformer, windows
from training.recipes import SequentialRecipe
from training.scorer import ScorerParts
from training.validation import NextItem


def train_sequential(job: Job, recipe: SequentialRecipe) -> Path:
    """Returns the folder of the published version."""
    torch.manual_seed(recipe.seed)
    train = job.train
    model = SequenceTransformer(train.users, train.items, recipe)
    users, inputs, targets = windows(train, recipe.length, recipe.step)
    held_out = NextItem.of(train, job.validation, recipe.length)

    def losses() -> Iterable[Tensor]:
        for rows in torch.randperm(len(users)).split(recipe.batch):
            wanted = targets[rows]
            encoded = model.encode(users[rows], inputs[rows])[wanted > 0]
            yield cross_entropy(model.logits(encoded), wanted[wanted > 0])

    tower = SequenceTower(model)

    @torch.no_grad()
    def validate() -> float:
        return held_out.ndcg(tower(held_out.user_index, held_out.history_index).numpy(), model.item_vectors())

    figures = fit("sequence model", model, _optimizer(model, recipe), losses, validate, recipe.epochs, recipe.patience)
    vectors = model.item_vectors()
    parts = ScorerParts(
        tower=tower if recipe.user_embedding else HistoryTower(model),
        inputs=("user_index", "history_index") if recipe.user_embedding else ("history_index",),
        item_number=train.item_number,
        item_vector=vectors,
        similar_vector=vectors[:, :-1],
        user_ids=train.user_ids if recipe.user_embedding else (),
        max_history=recipe.length,
        index_factory=recipe.index_factory,
    )
    return job.publish_scorer("sequential", recipe, parts, {"ndcg@10": max(figures), "epochs": len(figures)})


def _optimizer(model: SequenceTransformer, recipe: SequentialRecipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=recipe.learning_rate)
    return torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98))
