"""The loop that every network model is trained by: steps, validation, early stop, the best state kept."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.errors import TrainingError
from training.fitting.checkpoint import Checkpoint, State
from training.fitting.curve import LearningCurve
from training.fitting.outline import outline
from training.progress import console, track


@dataclass(frozen=True)
class Run:
    """What is trained, and how it is validated."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    losses: Callable[[], Iterable[Tensor]]
    """One a step of an epoch."""
    validate: Callable[[], float]
    """Higher is better; a metric to make small is given negated."""
    metric: str = "NDCG@10"
    """What `validate` returns."""
    others: Callable[[], dict[str, float]] = dict
    """More metrics of the validation part, for the learning curve; called after `validate`."""
    clips: bool = True
    """Whether gradients are clipped."""
    as_published: bool = False
    """Gradients are not clipped, nothing stops before the last epoch, and that is kept."""


def fit(
    run: Run, epochs: int, patience: int, checkpoint: Checkpoint | None = None, ema_decay: float = 0.0
) -> LearningCurve:
    """One epoch steps down each of `run.losses()`. Stops when `run.validate()` has not risen for `patience` epochs.

    What is validated and kept are the model's weights averaged over the steps, of which each before the newest counts
    `ema_decay` times the one after it (Polyak and Juditsky 1992); 0 for the newest alone.
    Resumes from `checkpoint`, where `losses` draws only torch's random numbers.
    The model ends in its best state.
    Raises TrainingError where the loss is not finite.
    """
    model, optimizer = run.model, run.optimizer
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema_decay)) if ema_decay else None
    kept, note = model.state_dict(), [""]
    curve = LearningCurve(run.metric, network=outline(model))
    saved = checkpoint.restore(next(model.parameters()).device) if checkpoint else None
    if saved:
        model.load_state_dict(saved["model"])
        if average:
            average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        kept, curve = saved["kept"], LearningCurve(**saved["curve"])

    def state() -> State:
        parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "kept": kept}
        parts["curve"] = asdict(curve)
        return parts | ({"average": average.state_dict()} if average else {})

    for _ in track(run.name, range(len(curve), epochs), epochs, note, len(curve)):
        if curve and len(curve) - 1 - int(np.argmax(curve.validation)) >= patience and not run.as_published:
            break
        model.train()
        losses = []
        for loss in run.losses():
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"{run.name}: the loss is not finite in epoch {len(curve) + 1}: "
                    "leave out what is no rating by --lowest and --highest, or lower learning_rate"
                )
            losses.append(loss.detach())
            optimizer.zero_grad()
            loss.backward()
            if run.clips and not run.as_published:
                # A rare large gradient would undo many steps.
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
            if average:
                average.update_parameters(model)
        model.eval()
        with _weights(model, average.module) if average else nullcontext():
            curve.add(float(torch.stack(losses).mean()), run.validate(), run.others())
        note.append(curve.at(-1))
        if curve.best == len(curve) - 1 or run.as_published:
            kept = _copy(average.module if average else model)
        if checkpoint:
            checkpoint.save(state)
    model.load_state_dict(kept)
    model.eval()
    if curve:
        epoch = len(curve) - 1 if run.as_published else curve.best
        said = f"{run.name}: epoch {epoch + 1} of {len(curve)} is kept: {curve.at(epoch)}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    return curve


@contextmanager
def _weights(model: nn.Module, other: nn.Module) -> Iterator[None]:
    """Within, the model has the weights of the other."""
    own = _copy(model)
    model.load_state_dict(other.state_dict())
    yield
    model.load_state_dict(own)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}
