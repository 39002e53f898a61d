"""How to fuse: strategies and their parameters, checked when they are made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Literal

import numpy as np

from fusion_gateway.fusion.checks import Count, Number, check_number
from fusion_gateway.fusion.normalizers import NormalizerName, Scores
from fusion_gateway.fusion.slot import Slot

Strategy = Literal[
    "weighted_sum", "weighted_sum_bias", "learned", "adaptive", "threshold", "switching", "cascade", "rrf"
]
Activation = Literal["identity", "tanh", "relu"]
ACTIVATIONS: Mapping[Activation, Callable[[Scores], Scores]] = {
    "identity": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
}

FORMS: Mapping[str, Callable[[Scores], Scores]] = {
    "affine": lambda line: line,
    "sigmoid": lambda line: (1 + np.tanh(line / 2)) / 2,
    "arcsinh": np.arcsinh,
}


MAX_COUNT = 100_000
"""Maximum number of events and of candidates."""
MAX_MODEL_NAME = 256
MAX_UNITS = 64
"""Maximum number of units, and of switches: each costs every request."""


@dataclass(frozen=True)
class Calibrator:
    """A fitted map of one model's raw scores to a common scale: scale * s + offset, or a function of that.

    The arcsinh compresses long tails, so that a model which is sure of a few items does not drown the others.
    """

    scale: Number
    offset: Number
    form: Literal["affine", "sigmoid", "arcsinh"] = "affine"

    def __post_init__(self) -> None:
        check_number("scale", self.scale)
        check_number("offset", self.offset)
        if self.scale <= 0:
            raise ValueError("scale: must be above 0, so that the order of scores is kept")

    def __call__(self, scores: Scores) -> Scores:
        line = self.scale * scores + self.offset
        return FORMS[self.form](line)


@dataclass(frozen=True)
class Switch:
    """Weights for users with at most so many events, or so many rated events, or both; None: any number."""

    max_events: Count | None = None
    weights: Mapping[str, Number] = field(default_factory=dict)
    max_ratings: Count | None = None

    def __post_init__(self) -> None:
        _check_weights("weights", self.weights)
        if self.max_events is None and self.max_ratings is None:
            raise ValueError("max_events or max_ratings must be given")
        for name, limit in (("max_events", self.max_events), ("max_ratings", self.max_ratings)):
            if limit is not None:
                check_number(name, limit, 0, MAX_COUNT)

    @property
    def limits(self) -> tuple[float, float]:
        """The maximum of events and of ratings, infinite where there is none."""
        events, ratings = (np.inf if limit is None else limit for limit in (self.max_events, self.max_ratings))
        return events, ratings

    def covers(self, other: "Switch") -> bool:
        """Whether every user of the other is one of this."""
        return self.limits[0] >= other.limits[0] and self.limits[1] >= other.limits[1]


MAX_SLOPE = 20.0
"""Maximum magnitude of a slope: beyond it, weights of users with thousands of events are not finite."""


@dataclass(frozen=True)
class Slope:
    """How the logarithm of a model's weight grows with log(1 + events) and with log(1 + ratings) of the user, and with
    how well its scores agree with these ratings (-1 to 1).
    """

    events: Number
    ratings: Number
    agreement: Number = 0.0

    def __post_init__(self) -> None:
        check_number("events", self.events, -MAX_SLOPE, MAX_SLOPE)
        check_number("ratings", self.ratings, -MAX_SLOPE, MAX_SLOPE)
        check_number("agreement", self.agreement, -MAX_SLOPE, MAX_SLOPE)


@dataclass(frozen=True)
class Unit:
    """One unit of the learned layer: out * activation(weights . scores + bias). Monotone: no weight is negative."""

    weights: Mapping[str, Number]
    bias: Number = 0.0
    out: Number = 1.0

    def __post_init__(self) -> None:
        _check_weights("weights", self.weights)
        check_number("bias", self.bias)
        check_number("out", self.out, 0)


@dataclass(frozen=True)
class Policy:
    """How to fuse. With n(s) a model's normalized score and w its weight, sums over the models that did not abstain:

    - weighted_sum: sum w n / sum w. S1's first form, y = w_seq y_seq + w_rating y_rating with weights that sum to 1.
    - weighted_sum_bias: the same plus `bias`. S1's second form.
    - learned: sum over units of out * activation(W [w n] + b), an abstention counting as 0. S1's third form,
      y = activation(W [y_rating; y_seq] + b), is one unit; several are a hidden layer.
    - adaptive: weighted_sum with w * exp(slope . [log(1 + events), log(1 + ratings), agreement]) in place of w.
    - switching: weighted_sum with weights chosen by the user's number of events, or of ratings.
    - threshold: weighted_sum of what no model finds too low.
    - cascade: weighted_sum of what one model puts first; of everything where it says nothing.
    - rrf: weighted_sum of 1 / (60 + rank), in place of a normalizer (Cormack, Clarke, Buettcher 2009).

    Fields that a strategy does not use must be left out.
    """

    weights: Mapping[str, Number]
    strategy: Strategy = "weighted_sum"
    normalizer: NormalizerName = "zscore"
    bias: Number = 0.0
    """weighted_sum_bias: added to every fused score."""
    calibrators: Mapping[str, Calibrator] = field(default_factory=dict)
    """normalizer calibrated: one for every model in `weights`."""
    min_ratings: Mapping[str, Count] = field(default_factory=dict)
    """How many events of the history must be rated for a model to count; with fewer it abstains (S1: without ratings
    the sequence model alone)."""
    thresholds: Mapping[str, Number] = field(default_factory=dict)
    """threshold: the minimum normalized score per model. A candidate below any of them is ruled out."""
    gate: str = ""
    """cascade: the model that makes the candidate set ..."""
    keep: Count = 100
    """... of this many candidates, which `weights` then sort."""
    switches: tuple[Switch, ...] = ()
    """switching: the first whose limits the user is within decides, `weights` where there is none."""
    slopes: Mapping[str, Slope] = field(default_factory=dict)
    """adaptive: `weights` are those of a user without events; models without a slope keep theirs."""
    floor: Number = 0.0
    """adaptive: no share of a model with a weight falls below this."""
    units: tuple[Unit, ...] = ()
    """learned: `weights` multiply the normalized scores before they go in."""
    activation: Activation = "identity"
    """learned."""
    slot: Slot | None = None
    """A rank that an item may have which nobody has watched; with any strategy."""

    def __post_init__(self) -> None:
        _check_weights("weights", self.weights)
        check_number("bias", self.bias)
        check_number("keep", self.keep, 1, MAX_COUNT)
        for model, threshold in self.thresholds.items():
            check_number(f"thresholds.{model}", threshold)
        for model, count in self.min_ratings.items():
            check_number(f"min_ratings.{model}", count, 0, MAX_COUNT)
        problems = {
            "bias: only weighted_sum_bias uses it": self.bias != 0 and self.strategy != "weighted_sum_bias",
            "calibrators: every model needs one": self.normalizer == "calibrated"
            and not self.calibrators.keys() >= set(self.models),
            "gate: exactly the strategy cascade needs it": bool(self.gate) != (self.strategy == "cascade"),
            "gate: must be a model in weights; a weight of 0 will do": bool(self.gate)
            and self.gate not in self.weights,
            "floor: must be 0 or more and below 1, and only adaptive uses it": not 0 <= self.floor < 1
            or (self.floor > 0 and self.strategy != "adaptive"),
            "activation: only learned uses it": self.activation != "identity" and self.strategy != "learned",
            "floor: times the number of models in weights must be at most 1": self.floor * len(self.weights) > 1,
            f"units: at most {MAX_UNITS}": len(self.units) > MAX_UNITS,
            f"switches: at most {MAX_UNITS}": len(self.switches) > MAX_UNITS,
            **self._wrong_parts(),
            "min_ratings: each must be of a model in weights": not self.min_ratings.keys() <= self.weights.keys(),
            "switches: max_events and max_ratings must ascend": any(
                before.covers(after) for before, after in combinations(self.switches, 2)
            ),
        }
        for problem, found in problems.items():
            if found:
                raise ValueError(problem)

    def _wrong_parts(self) -> dict[str, bool]:
        """The parts that belong to one strategy: there for it alone, and of models in `weights`."""
        parts: dict[str, tuple[Strategy, Sequence[Mapping[str, object]]]] = {
            "thresholds": ("threshold", [self.thresholds]),
            "switches": ("switching", [switch.weights for switch in self.switches]),
            "slopes": ("adaptive", [self.slopes] if self.slopes else []),
            "units": ("learned", [unit.weights for unit in self.units]),
        }
        problems = {}
        for name, (strategy, tables) in parts.items():
            needed = self.strategy == strategy
            problems[f"{name}: exactly the strategy {strategy} needs them"] = bool(getattr(self, name)) != needed
            problems[f"{name}: each must be of a model in weights"] = any(
                not table.keys() <= self.weights.keys() for table in tables
            )
        return problems

    def with_weights(self, weights: Mapping[str, float]) -> "Policy":
        """The policy with these weights in place of its own, for every user. Raises ValueError for what cannot be."""
        switches = [replace(switch, weights={**switch.weights, **weights}) for switch in self.switches]
        return replace(self, weights={**self.weights, **weights}, switches=tuple(switches))

    @property
    def reads_agreement(self) -> bool:
        """Whether weights depend on how well models agree with the user's ratings."""
        return any(slope.agreement for slope in self.slopes.values())

    @property
    def models(self) -> tuple[str, ...]:
        """The models whose scores matter: those with a weight for some user, and the gate."""
        weighted: set[str] = set()
        for weights in (self.weights, *(switch.weights for switch in self.switches)):
            weighted |= {model for model, weight in weights.items() if weight > 0}
        models = [model for model in self.weights if model in weighted]
        return tuple(dict.fromkeys([*models, self.gate] if self.gate else models))


def _check_weights(name: str, weights: Mapping[str, float]) -> None:
    for model, weight in weights.items():
        if not 1 <= len(model) <= MAX_MODEL_NAME:
            raise ValueError(f"{name}: a model's name must have 1 to {MAX_MODEL_NAME} characters, not {len(model)}")
        check_number(f"{name}.{model}", weight, 0)
    if not any(weight > 0 for weight in weights.values()):
        raise ValueError(f"{name}: at least one must be above 0")
