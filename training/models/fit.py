"""The loop that every network model is trained by: steps, validation, early stop, the best state kept."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

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
) -> list[float]:
    """One epoch steps down each of `losses()`. Stops when `validate()` has not risen for `patience` epochs.

    Returns the validation figure of each epoch; the model ends in its best state.
    Raises TrainingError where the loss is not finite.
    """
    kept, note = model.state_dict(), [""]
    figures: list[float] = []
    for _ in track(name, range(epochs), epochs, note):
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
        note.append(f"validation NDCG@10 {figures[-1]:.4f}")
        if figures[-1] >= max(figures):
            kept = {key: value.clone() for key, value in model.state_dict().items()}
        if len(figures) - 1 - int(np.argmax(figures)) >= patience:
            break
    model.load_state_dict(kept)
    model.eval()
    return figures
