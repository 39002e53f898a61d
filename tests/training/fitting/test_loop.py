"""The training loop: which weights are validated and kept."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from training.fitting.loop import Run, fit

STEPS = 3


def climbed(decay: float, epochs: int) -> tuple[list[float], float]:
    """The curve and the weight kept of a model whose only weight rises by 1 a step, and which is best at 4.4."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)

    def losses() -> Iterable[Tensor]:
        for _ in range(STEPS):
            yield -model.weight.sum()

    def validate() -> float:
        assert not model.training
        return -abs(model.weight.item() - 4.4)

    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    run = Run("climber", model, optimizer, losses, validate)
    curve = fit(run, epochs, 99, ema_decay=decay)
    return curve, model.weight.item()


def averages(decay: float, steps: int) -> list[float]:
    """Of the weights 1, 2, 3, ... after each step."""
    values = [1.0]
    for weight in range(2, steps + 1):
        values.append(decay * values[-1] + (1 - decay) * weight)
    return values


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_weights_are_averaged_over_the_steps_and_the_best_average_is_kept(decay: float) -> None:
    expected = averages(decay, 4 * STEPS)[STEPS - 1 :: STEPS]
    curve, kept = climbed(decay, 4)
    assert curve == pytest.approx([-abs(value - 4.4) for value in expected])
    assert kept == pytest.approx(min(expected, key=lambda value: abs(value - 4.4)))
