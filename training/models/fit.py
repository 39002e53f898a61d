"""The loop that every network model is trained by: steps, validation, early stop, the best state kept."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from training.checkpoint import Checkpoint, State
from training.errors import TrainingError
from training.progress import track


def fit(
    name: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Callable[[], Iterable[Tensor]],
    validate: Callable[[], float],
    epochs: int,
    patience: int,
    checkpoint: Checkpoint | None = None,
    figure: str = "NDCG@10",
) -> list[float]:
    """One epoch steps down each of `losses()`. Stops when `validate()` has not risen for `patience` epochs.

    Goes on from `checkpoint`, where `losses` draws only torch's random numbers.
    Returns the validation figure of each epoch (one to make small is given negated); the model ends in its best state.
    Raises TrainingError where the loss is not finite.
    """
    kept, note = model.state_dict(), [""]
    figures: list[float] = []
    saved = checkpoint.restore(next(model.parameters()).device) if checkpoint else None
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        kept, figures = saved["kept"], saved["figures"]

    def state() -> State:
        parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        return parts | {"kept": kept, "figures": figures}

    for _ in track(name, range(len(figures), epochs), epochs, note, len(figures)):
        if _stale(figures) >= patience:
            break
        model.train()
        for loss in losses():
            if not torch.isfinite(loss):
                raise TrainingError(f"{name}: the loss is not finite in epoch {len(figures) + 1}: lower learning_rate")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
        model.eval()
        figures.append(validate())
        note.append(f"validation {figure} {abs(figures[-1]):.4f}")
        if figures[-1] >= max(figures):
            kept = {key: value.clone() for key, value in model.state_dict().items()}
        if checkpoint:
            checkpoint.save(state)
    model.load_state_dict(kept)
    model.eval()
    return figures


def _stale(figures: list[float]) -> int:
    """Epochs since the best one."""
    return len(figures) - 1 - int(np.argmax(figures)) if figures else 0
