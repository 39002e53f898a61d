"""How a run went, epoch by epoch. It is published beside the model."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

FILE = "learning_curve.json"


@dataclass
class LearningCurve:
    """One value an epoch in each list."""

    metric: str
    """What `validation` is."""
    loss: list[float] = field(default_factory=list)
    """The mean training loss of the epoch's steps."""
    validation: list[float] = field(default_factory=list)
    """Higher is better; a metric to make small is negated."""
    others: dict[str, list[float]] = field(default_factory=dict)
    """More metrics of the validation part; "loss" is on the scale of the training loss."""
    network: str = ""
    """Drawn in letters: see outline.py."""

    def __len__(self) -> int:
        """Epochs."""
        return len(self.validation)

    @property
    def best(self) -> int:
        """The epoch that is kept, from 0: of equally good ones the one that was trained longer."""
        return len(self) - 1 - int(np.argmax(self.validation[::-1]))

    def add(self, loss: float, validation: float, others: dict[str, float]) -> None:
        """Another epoch."""
        self.loss.append(loss)
        self.validation.append(validation)
        for name, value in others.items():
            self.others.setdefault(name, []).append(value)

    def at(self, epoch: int) -> str:
        """In words."""
        validation = {self.metric: abs(self.validation[epoch])}
        validation |= {name: values[epoch] for name, values in self.others.items()}
        found = ", ".join(f"{name} {value:.4f}" for name, value in validation.items())
        return f"training loss {self.loss[epoch]:.4f}; validation {found}"

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> "LearningCurve | None":
        """None where the version has none: not every model is trained in epochs."""
        path = folder / FILE
        return cls(**json.loads(path.read_text())) if path.is_file() else None
