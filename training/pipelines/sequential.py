"""Trains and publishes the sequential model."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from training.artifacts.scorer_files import ScorerParts
from training.errors import NotLearnable
from training.evaluation.next_item import NextItem
from training.features.interactions import Floats
from training.features.rating_scale import STARS, RatingScale
from training.features.windows import Events, Windows, cut
from training.fitting.checkpoint import Checkpoint
from training.fitting.curve import LearningCurve
from training.fitting.distributed import broadcast, is_rank_zero, process_group, world_size, wrap_ddp
from training.fitting.loop import Run, fit
from training.models.gated import GatedTransformer
from training.models.joined import Joined
from training.models.linear import LinearTower
from training.models.sequence import SequenceTransformer
from training.models.softmax import sampled_softmax_loss, softmax_loss
from training.models.towers import Encoder, HistoryTower, RatedTower, TimeTower, UserTower
from training.pipelines.job import Job
from training.pipelines.linear import fit_most_watched
from training.pipelines.sampling import within_bounds
from training.progress import console
from training.recipes.linear import LinearRecipe
from training.recipes.sequential import SequentialRecipe

Model = SequenceTransformer | GatedTransformer | Joined
VALIDATED_AT_ONCE = 64
LINEAR_WEIGHTS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)
UNVALIDATED_WEIGHT = 0.2


@dataclass(frozen=True)
class TrainedModel:
    """A model in its best state."""

    model: Model
    curve: LearningCurve
    """Validation NDCG@10 of the network, each epoch."""
    ndcg: float
    """That of the model."""


def train_sequential(job: Job, recipe: SequentialRecipe) -> Path:
    """Returns the published folder. Of several processes (see fitting/distributed.py) the first publishes."""
    with process_group(job.device):
        job = within_bounds(job, "sequential", recipe)
        learned = learn(job, recipe)
        folder = broadcast(publish_sequential(job, recipe, learned) if is_rank_zero() else Path())
        job.checkpoint(network_of(recipe)).delete()
        return folder


def learn(job: Job, recipe: SequentialRecipe) -> TrainedModel:
    """Learns from the training events; resumes a stopped run."""
    train = job.train
    held_out = NextItem.of(train, job.validation, recipe.length)
    if not len(held_out.target):
        raise NotLearnable("no validation event is of a known user and a known item")
    windows = Windows(train, cut(train, recipe.length, recipe.stride), job.device)

    def quality(model: Model) -> float:
        return held_out.ndcg(queries(model, held_out, job.device), item_vectors(model))

    # Of several processes only the first one saves.
    checkpoint = (job if is_rank_zero() else replace(job, checkpoint_seconds=math.inf)).checkpoint(network_of(recipe))
    learned = learn_windows(windows, (train.users, train.items), recipe, quality, checkpoint, job.rating_scale)
    return learned if recipe.linear is None else join(job, recipe.linear, learned, held_out)


def network_of(recipe: SequentialRecipe) -> SequentialRecipe:
    """What a run is kept by: what is joined to the network afterwards does not matter to it."""
    return replace(recipe, name="network", linear=None)


@torch.no_grad()
def join(job: Job, recipe: LinearRecipe, learned: TrainedModel, held_out: NextItem) -> TrainedModel:
    """The network with the linear model beside it, which counts as much as is best for validation users.

    These are queried when they were and without a gap: a network that reads time is more confident the more
    informative the gap.
    """
    known, linear = fit_most_watched(job.split.train, recipe)
    linear = linear.expand_to(job.train.items, np.searchsorted(job.train.item_number, known.item_number))
    tower = LinearTower(linear, recipe)
    both, own = Joined(learned.model, tower, linear.vector, 1.0), item_vectors(learned.model).shape[1]
    cpu = torch.device("cpu")
    variants = [(each, queries(both, each, cpu)) for each in (held_out, held_out.queried_at_newest())]
    vectors = item_vectors(both)

    def ndcgs(weight: float) -> list[float]:
        scale = np.where(np.arange(vectors.shape[1]) < own, 1, weight).astype(np.float32)
        return [variant.ndcg(query * scale, vectors) for variant, query in variants]

    validated = job.split.validation.height
    weight = max(LINEAR_WEIGHTS, key=lambda weight: sum(ndcgs(weight))) if validated else UNVALIDATED_WEIGHT
    then, at_once = ndcgs(weight)
    console.print(f"the linear model counts {weight}: validation NDCG@10 {then:.4f}, without a gap {at_once:.4f}")
    return TrainedModel(Joined(learned.model, tower, linear.vector, weight), learned.curve, then)


def learn_windows(
    windows: Windows,
    size: tuple[int, int],
    recipe: SequentialRecipe,
    quality: Callable[[Model], float],
    checkpoint: Checkpoint | None = None,
    scale: RatingScale = STARS,
) -> TrainedModel:
    """Learns to tell what comes next in the windows, of so many users and items in `size`.

    Raises NotLearnable where nothing comes after anything.
    """
    if not windows.targets:
        raise NotLearnable("no user has two training events: there is no order to learn from")
    recipe = recipe.for_size(windows.targets)
    torch.manual_seed(recipe.seed)
    model = make_model(recipe, *size, scale).to(windows.device)
    optimizer = _optimizer(model, recipe)
    steps = len(windows.batches(recipe.batch_tokens))
    loss = wrap_ddp(_Loss(model, recipe))

    def losses() -> Iterable[Tensor]:
        for events, target in windows.epoch(recipe.batch_tokens, recipe.shuffled_ties):
            _schedule(optimizer, recipe, recipe.epochs * max(1, steps // world_size()))
            # Over the mean batch, so that an event counts the same in every batch.
            yield loss(events, target) / (windows.targets / steps)

    @torch.no_grad()
    def validate() -> float:
        return broadcast(quality(model))

    # An average over the last `ema_epochs`: 1 / (1 - decay) steps of this process.
    decay = max(0.0, 1 - world_size() / (recipe.ema_epochs * steps)) if recipe.ema_epochs else 0.0
    run = Run("sequence model", model, optimizer, losses, validate, as_published=recipe.as_published)
    curve = fit(run, recipe.epochs, recipe.patience, checkpoint, decay)
    return TrainedModel(model.cpu(), curve, curve.validation[-1] if recipe.as_published else max(curve.validation))


def make_model(recipe: SequentialRecipe, users: int, items: int, scale: RatingScale = STARS) -> Model:
    return GatedTransformer(items, recipe, scale) if recipe.gated else SequenceTransformer(users, items, recipe)


class _Loss(nn.Module):
    def __init__(self, model: Model, recipe: SequentialRecipe) -> None:
        super().__init__()
        self.model, self.recipe = model, recipe
        self.bf16 = recipe.bf16 and has_bf16(next(model.parameters()).device)

    def forward(self, events: Events, target: Tensor) -> Tensor:
        """Sum over the events that have one after them."""
        with torch.autocast(events.item.device.type, torch.bfloat16, enabled=self.bf16):
            query = self.model.encode(events)[target > 0]
        query, target_row = query.bfloat16() if self.bf16 else query, target[target > 0] - 1
        item = self.model.item_table()
        negatives = self.recipe.negatives
        if len(item) > self.recipe.large_catalog_items:
            negatives = negatives or self.recipe.large_catalog_negatives
        if negatives:
            return sampled_softmax_loss(query, item, target_row, negatives)
        return softmax_loss(query, item, target_row)


def has_bf16(device: torch.device) -> bool:
    """Whether it computes in bfloat16; where it does not, torch does so twelve times as slowly as in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    processor = torch.cpu.get_capabilities()
    return any(processor.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _optimizer(model: Model, recipe: SequentialRecipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=recipe.learning_rate)
    return torch.optim.Adam(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98))


def _schedule(optimizer: torch.optim.Optimizer, recipe: SequentialRecipe, total: int) -> None:
    """Sets the learning rate of the next step: it rises, stays, and falls to 0 at the last of the `total` steps."""
    falling_steps = max(total * (1 - recipe.constant_lr_fraction), 1)
    for group in optimizer.param_groups:  # also keeps the count in checkpoints
        step = group["steps"] = group.get("steps", 0) + 1
        rising = step / max(recipe.warmup_steps, 1)
        falling = (total + 1 - step) / falling_steps if recipe.constant_lr_fraction < 1 else 1.0
        group["lr"] = recipe.learning_rate * min(rising, falling, 1.0)


def queries(model: Encoder, held_out: NextItem, device: torch.device) -> Floats:
    """[V, D]."""
    parts = []
    for rows in torch.arange(len(held_out.target)).split(VALIDATED_AT_ONCE):
        width = int((held_out.history_index[rows] > 0).sum(1).max())
        item, rating, time = (
            column[rows, -width:].to(device)
            for column in (held_out.history_index, held_out.history_rating, held_out.history_time)
        )
        events = Events(held_out.user_index[rows].to(device), item, rating, time, held_out.query_time[rows].to(device))
        parts.append(model.encode(events, newest=True)[:, -1].detach().cpu().numpy())
    return np.concatenate(parts)


def item_vectors(model: Encoder) -> Floats:
    """[N, D]."""
    return model.item_table().detach().cpu().numpy()


def publish_sequential(job: Job, recipe: SequentialRecipe, learned: TrainedModel) -> Path:
    """Returns the folder."""
    model, train = learned.model, job.train
    network = item_vectors(model.network if isinstance(model, Joined) else model)
    inputs: tuple[str, ...] = ("history_index",)
    tower: HistoryTower | UserTower | RatedTower | TimeTower = HistoryTower(model)
    if recipe.gated and recipe.times:
        tower, inputs = TimeTower(model), (*inputs, "history_rating", "history_time", "query_time")
    elif recipe.gated:
        tower, inputs = RatedTower(model), (*inputs, "history_rating")
    elif recipe.user_embedding:
        tower, inputs = UserTower(model), ("user_index", *inputs)
    parts = ScorerParts(
        tower=tower,
        inputs=inputs,
        item_number=train.item_number,
        item_vector=item_vectors(model),
        similar_vector=network if recipe.gated else network[:, :-1],
        text_model=recipe.text_model,
        user_ids=train.user_ids if recipe.user_embedding else (),
        max_history=recipe.length,
        index_factory=recipe.index_factory,
        curve=learned.curve,
    )
    metrics = {"ndcg@10": learned.ndcg, "epochs": float(len(learned.curve))}
    if isinstance(model, Joined):
        metrics["linear-weight"] = model.weight
    return job.publish_scorer("sequential", recipe, parts, metrics | train.special())
