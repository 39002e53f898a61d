"""The training loop: which weights are validated and kept."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.fitting.curve import LearningCurve
from training.fitting.loop import Run, fit

STEPS = 3


def climbed(decay: float, epochs: int, patience: int = 99, as_published: bool = False) -> tuple[list[float], float]:
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
    run = Run("climber", model, optimizer, losses, validate, as_published=as_published)
    curve = fit(run, epochs, patience, ema_decay=decay)
    return curve.validation, model.weight.item()


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


def test_as_published_nothing_stops_and_the_last_epoch_is_kept() -> None:
    curve, kept = climbed(0.0, 6, patience=1)
    assert (len(curve), kept) == (2, 3)  # 6 is farther from the best than 3
    curve, kept = climbed(0.0, 6, patience=1, as_published=True)
    assert (len(curve), kept) == (6, 6 * STEPS)


@pytest.mark.parametrize(("as_published", "weight"), [(False, 5.0), (True, 100.0)])
def test_as_published_gradients_are_not_clipped(as_published: bool, weight: float) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    run = Run("steep", model, optimizer, lambda: [-100 * model.weight.sum()], lambda: 0.0, as_published=as_published)
    fit(run, epochs=1, patience=1)
    assert model.weight.item() == pytest.approx(weight, rel=1e-4)


def test_the_curve_holds_the_mean_loss_and_every_metric_of_each_epoch(tmp_path: Path) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def losses() -> Iterable[Tensor]:
        return (-model.weight.sum() for _ in range(STEPS))

    def validate() -> float:
        return -abs(model.weight.item() - 6)

    run = Run("climber", model, optimizer, losses, validate, "distance", others=lambda: {"MAE": model.weight.item()})
    curve = fit(run, 3, 99)
    assert curve.loss == [-1.0, -4.0, -7.0]  # of the weights 0 1 2, 3 4 5, 6 7 8
    assert curve.validation == [-3.0, 0.0, -3.0]
    assert curve.others == {"MAE": [3.0, 6.0, 9.0]}
    assert curve.at(curve.best) == "training loss -4.0000; validation distance 0.0000, MAE 6.0000"
    curve.write(tmp_path)
    assert LearningCurve.read(tmp_path) == curve


@pytest.mark.parametrize(("clips", "weight"), [(True, 5.0), (False, 1000.0)])
def test_gradients_are_clipped_where_a_run_clips(clips: bool, weight: float) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    run = Run("leap", model, optimizer, lambda: [-1000 * model.weight.sum()], lambda: 0.0, clips=clips)
    fit(run, epochs=1, patience=1)
    assert model.weight.item() == pytest.approx(weight)
