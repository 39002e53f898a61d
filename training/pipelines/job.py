"""What every training run shares: the data, which rows may be learned from, and where the result goes."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
import torch

from protos.marquee.v1.artifact_pb2 import Data, Manifest, Metric, Recipe
from training.artifacts.repository import publish
from training.artifacts.requests import Requests, requests_for
from training.artifacts.scorer_files import ScorerParts, write_scorer
from training.data.dataset import Dataset, fingerprint
from training.data.splits import Split
from training.errors import NotLearnable, TrainingError
from training.features.interactions import Interactions
from training.features.rating_scale import RatingScale
from training.features.ratings import ANY_SCALE, Scale, inside
from training.fitting.checkpoint import Checkpoint
from training.progress import stage

GOLDEN_USERS = 200


class AnyRecipe(Protocol):
    """A frozen dataclass with a name and a seed."""

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Job:
    """One data set under one split, for one repository."""

    dataset: Dataset
    split: Split
    repository: Path
    cache: Path
    """Folder for what is slow to make and can be made again, such as decoded posters, and for stopped runs."""
    scale: Scale = ANY_SCALE
    """Lowest and highest rating; others are left out."""
    device: torch.device = torch.device("cpu")
    checkpoint_seconds: float = 60.0

    def checkpoint(self, recipe: AnyRecipe) -> Checkpoint:
        """Where a run of this recipe on these very rows is kept while it lasts."""
        made_of = f"{self._rows_fingerprint} {_as_json(recipe)} {self.scale} {self.device}"
        name = f"{recipe.name}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.pt"
        return Checkpoint(self.cache / "runs" / name, self.checkpoint_seconds)

    @cached_property
    def _rows_fingerprint(self) -> str:
        # Not of the test part, which no run reads.
        parts = (self.split.train, self.split.validation)
        return "".join(fingerprint(rows, self.dataset.items) for rows in parts)

    @cached_property
    def train(self) -> Interactions:
        """Training rows over the items that occur in them. Raises NotLearnable where there are too few."""
        if self.split.train.height < 2:
            raise NotLearnable(f"{self.split.train.height} training events are too few")
        return Interactions.of(self.split.train)

    @cached_property
    def train_all_items(self) -> Interactions:
        """Training rows over every item of the catalog."""
        return Interactions.of(self.split.train, self.dataset.items["number"].to_numpy())

    @cached_property
    def rating_scale(self) -> RatingScale:
        """Of the training ratings inside the scale."""
        return RatingScale.of(inside(self.split.train, self.scale)["rating"].to_numpy())

    @cached_property
    def validation(self) -> pl.DataFrame:
        """Held-out rows that stop a run; without a split, each user's last event, which is trained on as well."""
        if self.split.validation.height:
            return self.split.validation
        return self.split.train.sort("time", maintain_order=True).group_by("user", maintain_order=True).last()

    def publish_scorer(self, model: str, recipe: AnyRecipe, parts: ScorerParts, metrics: dict[str, float]) -> Path:
        """Publishes the next version of a scorer, with golden samples from validation users, known and unknown."""
        manifest = self.manifest(model, recipe, metrics)

        def write(folder: Path) -> None:
            manifest.scorer.CopyFrom(write_scorer(parts, self._golden(), folder, self.dataset.items))

        with stage(f"publishing {model}"):
            return publish(self.repository, manifest, write)

    def manifest(self, model: str, recipe: AnyRecipe, metrics: dict[str, float]) -> Manifest:
        protocol = f"{self.split.name}, validation"
        times = pl.concat([self.split.train["time"], self.split.validation["time"]]).to_numpy()
        return Manifest(
            model=model,
            recipe=Recipe(name=recipe.name, config_json=_as_json(recipe), seed=recipe.seed),
            data=Data(
                dataset=self.dataset.name,
                fingerprint=self.dataset.fingerprint,
                split=self.split.name,
                users=self.split.train["user"].n_unique(),
                items=self.dataset.items.height,
                events=self.split.train.height,
                first_event_time=int(times.min()),
                last_event_time=int(times.max()),
            ),
            metrics=[Metric(name=name, value=value, protocol=protocol) for name, value in metrics.items()],
        )

    def _golden(self) -> Requests:
        # Evenly from all users, as neighbors in the file may be alike.
        targets = self.validation.gather_every(max(1, self.validation.height // GOLDEN_USERS)).head(GOLDEN_USERS)
        known = requests_for(targets, self.split.train)
        unknown = known.as_unknown_users()
        return Requests(
            # The last has neither a known user nor a history.
            [*known.user_id, *unknown.user_id, ""],
            [*known.history_item, *unknown.history_item, np.zeros(0, np.int64)],
            [*known.history_rating, *unknown.history_rating, np.zeros(0, np.float32)],
            [*known.history_time, *unknown.history_time, np.zeros(0, np.int64)],
            np.concatenate([known.query_time, unknown.query_time, known.query_time[:1]]),
        )


def _as_json(recipe: AnyRecipe) -> str:
    return json.dumps(asdict(recipe))  # type: ignore[call-overload]


def torch_device(name: str) -> torch.device:
    """Raises TrainingError, which names the devices of this machine, where it is none on which torch computes."""
    try:
        torch.zeros(1, device=name).item()  # which the device `meta` cannot
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        there = ", ".join(["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))])
        reason = str(error).splitlines()[0].partition(". ")[0][:200]
        raise TrainingError(f"device '{name}' cannot be used here: {reason}; this machine has {there}") from error
    return torch.device(name)
