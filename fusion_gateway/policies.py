"""Fusion policies: read from YAML, checked whole, chosen by name, or for a share of the users."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fusion_gateway.events.event_types import STANDARD, EventTypes
from fusion_gateway.fusion import Count, Number, Policy
from fusion_gateway.loop.metrics import MAX_WINDOW_SECONDS, metric_named
from fusion_gateway.rules import Rule
from fusion_gateway.scenarios import NO_SCENARIO, Scenario
from fusion_gateway.shares import Shares
from servers.runtime.errors import ArtifactError, InvalidArgument, NotFound
from servers.runtime.files import read_regular
from servers.runtime.strict_yaml import StrictLoader

MAX_BYTES = 64 << 10
"""Maximum number of bytes of a file. More takes seconds to parse."""
MAX_BRACKETS = 5000
"""Maximum number of opening brackets: nested ones take longer still to parse."""
MAX_POLICIES = 1000
MAX_RULES = 100
MAX_SCENARIOS = 100
MAX_ARMS = 20
"""Maximum number of policies of an adaptive split."""
MAX_NAME_BYTES = 256
"""Maximum number of bytes of a policy's name, as in a request."""
MAX_CHARACTERS = 500
"""Maximum number of characters of what is wrong with it."""


class Shadow(BaseModel):
    """A policy that is computed beside the answers, compared with them, and never shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: str
    share: Number = Field(1.0, gt=0, le=1)
    """Of the requests that name no policy."""


class Measured(BaseModel):
    """Has a metric."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    """As `python -m fusion_gateway outcomes` takes it."""

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, metric: str, info: ValidationInfo) -> str:
        try:
            metric_named(metric, types=info.context or STANDARD)
        except InvalidArgument as error:
            raise ValueError(str(error).removeprefix("metric: ")) from None
        return metric


class Guardrail(Measured):
    """Stops a policy for good whose metric is surely beyond so many times that of the default policy."""

    at_most: Number | None = Field(None, gt=0, le=100)
    at_least: Number | None = Field(None, gt=0, le=100)

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("exactly one of at_most and at_least must be given")
        return self


class Adaptive(Measured):
    """Makes the shares of `split` follow an outcome, by Thompson sampling; `split` is what they begin with."""

    window_seconds: Number = Field(3600, gt=0, le=MAX_WINDOW_SECONDS)
    """After an answer, in which an outcome counts; the answer counts when it is over."""
    floor: Number = Field(5, ge=0, le=50)
    """Minimum percent of the users of each policy that is not stopped."""
    burn_in_answers: Count = Field(1000, ge=1, le=1_000_000_000)
    """Of each policy before shares move."""
    half_life_days: Number = Field(14, gt=0, le=365)
    """An answer so old counts half."""
    update_seconds: Number = Field(300, ge=1, le=86_400)
    """Between two looks at the outcomes."""
    guardrail: Guardrail | None = None


class Choice(NamedTuple):
    """A policy, and the probability with which the user got it: 1 where nothing was drawn."""

    name: str
    policy: Policy
    probability: float


class Policies(BaseModel):
    """What a `policies.yaml` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str
    policies: Mapping[str, Policy] = Field(max_length=MAX_POLICIES)
    split: Mapping[str, Number] = Field(default_factory=dict)
    """Percent of the users who get a policy other than the default one. Policies added at the end move nobody else."""
    adaptive: Adaptive | None = None
    shadow: Shadow | None = None
    rules: Sequence[Rule] = Field((), max_length=MAX_RULES)
    """What the model `rules` of a policy's weights adds up."""
    scenarios: Mapping[str, Scenario] = Field(default_factory=dict, max_length=MAX_SCENARIOS)
    _version: int = PrivateAttr(0)
    _shares: Shares = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        others = [(name, percent) for name, percent in self.split.items()]
        self._shares = Shares((*others, (self.default, 100 - sum(self.split.values()))))

    @property
    def arms(self) -> list[str]:
        """The policies that users can get without naming one."""
        return list(dict.fromkeys([self.default, *self.split]))

    @property
    def shares(self) -> Shares:
        """Those of the users that each policy has now."""
        return self._shares

    def use(self, shares: Shares) -> None:
        """Takes them in place of those of `split`."""
        self._shares = shares

    @property
    def split_key(self) -> str:
        """Tells this split from every other: one that is changed begins anew. Its speed and floor may be changed."""
        assert self.adaptive
        decisive = self.adaptive.model_dump(include={"metric", "window_seconds", "guardrail"})
        document = json.dumps([self.default, dict(self.split), decisive], sort_keys=True)
        return hashlib.blake2b(document.encode(), digest_size=16).hexdigest()

    @property
    def version(self) -> int:
        """The published version; 0 for a file of the operator's."""
        return self._version

    @model_validator(mode="after")
    def _names_exist(self) -> "Policies":
        named = {"default": self.default, **{f"split.{name}": name for name in self.split}}
        if self.shadow:
            named["shadow.policy"] = self.shadow.policy
        for name, scenario in self.scenarios.items():
            if scenario.policy:
                named[f"scenarios.{name}.policy"] = scenario.policy
        for where, name in named.items():
            if name not in self.policies:
                raise ValueError(f"{where}: there is no policy {name!r}")
        for where, names in (("policies", self.policies), ("scenarios", self.scenarios)):
            for name in names:
                if not 1 <= (size := len(name.encode())) <= MAX_NAME_BYTES:
                    raise ValueError(f"{where}: a name must have 1 to {MAX_NAME_BYTES} bytes, not {size}")
        self._check_boosts()
        for name, percent in self.split.items():
            if not 0 <= percent <= 100:
                raise ValueError(f"split.{name}: must be 0 to 100 percent, not {percent:g}")
        if sum(self.split.values()) > 100:
            raise ValueError(f"split: {sum(self.split.values()):g} percent in all are more than 100")
        if self.adaptive:
            self._check_adaptive(self.adaptive)
        return self

    def _check_boosts(self) -> None:
        models = {model for policy in self.policies.values() for model in policy.weights}
        for name, scenario in self.scenarios.items():
            if taken := [boost.name for boost in scenario.boost if boost.name in models]:
                raise ValueError(f"scenarios.{name}.boost: {taken[0]!r} is the name of a model; choose another")

    def _check_adaptive(self, adaptive: Adaptive) -> None:
        if len(self.arms) < 2:
            raise ValueError("adaptive: split must name the policies beside the default one")
        if len(self.arms) > MAX_ARMS:
            raise ValueError(f"split: an adaptive one has at most {MAX_ARMS} policies, not {len(self.arms)}")
        if min(self.shares.percent().values()) <= 0:
            raise ValueError("split: an adaptive one needs more than 0 percent for each policy, the default included")
        if adaptive.floor * len(self.arms) > 100:
            limit = 100 / len(self.arms)
            raise ValueError(f"adaptive.floor: at most {limit:g} percent each for {len(self.arms)} policies")

    def choose(self, name: str, weights: Mapping[str, float], user_id: str = "") -> Choice:
        """The policy of that name (empty: the user's own), with the weights given here in place of its own.

        Raises NotFound for an unknown name, InvalidArgument for a weight the policy cannot use.
        """
        name, probability = (name, 1.0) if name else self.assigned(user_id)
        if weights:  # a list of the request's own making, which tells nothing of the policy
            probability = 1.0
        if name not in self.policies:
            raise NotFound(f"policy: there is no {name!r}; there are {', '.join(sorted(self.policies))}")
        policy = self.policies[name]
        if unknown := sorted(weights.keys() - policy.weights.keys()):
            raise InvalidArgument(f"weights: no model {unknown[0]!r}; policy {name} has {', '.join(policy.weights)}")
        try:
            return Choice(name, policy.with_weights(weights) if weights else policy, probability)
        except ValueError as error:
            raise InvalidArgument(str(error)) from None

    def scenario(self, name: str) -> Scenario:
        """The scenario of that name; of an empty one, that does nothing. Raises NotFound."""
        if not name:
            return NO_SCENARIO
        if name not in self.scenarios:
            there = ", ".join(sorted(self.scenarios)) or "none"
            raise NotFound(f"scenario: there is no {name!r}; there are {there}")
        return self.scenarios[name]

    def assigned(self, user_id: str) -> tuple[str, float]:
        """The policy of the share that this user falls in, and its probability; an anonymous user gets the default."""
        if not user_id:
            return self.default, 1.0
        shares = self._shares
        name = shares.of(user_id)
        return name, shares.percent()[name] / 100


def load_policies(path: Path, version: int = 0, types: EventTypes = STANDARD) -> Policies:
    """`types` are the events that metrics can be of.

    Raises ArtifactError naming the file and, as far as they are known, line, policy and field.
    """
    text = _text(path)
    if (brackets := text.count("[") + text.count("{")) > MAX_BRACKETS:
        raise ArtifactError(
            f"policies {path}: {brackets} opening brackets are too many; at most {MAX_BRACKETS}", "policies"
        )
    try:
        document = yaml.load(text, StrictLoader)
        policies = Policies.model_validate(document, context=types)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "model_type":
            message = "the file has to map `default` and `policies` to something"
        where = [str(part) for part in first["loc"]]
        line = _line(yaml.compose(text, StrictLoader), [*where, *message.partition(":")[0].split(".")])
        named = f"{'.'.join(where)}: " if where else ""
        raise ArtifactError(f"policies {path}: line {line}: {named}{message}"[:MAX_CHARACTERS], "policies") from error
    except Exception as error:  # PyYAML raises what int(), datetime and recursion raise, too
        message = (str(error) or type(error).__name__)[:MAX_CHARACTERS]
        raise ArtifactError(f"policies {path}: cannot be read as YAML: {message}", "policies") from error
    policies._version = version
    return policies


def _text(path: Path) -> str:
    try:
        return read_regular(path, MAX_BYTES).decode()
    except OSError as error:
        raise ArtifactError(f"policies {path}: cannot be read: {error.strerror}", "policies") from error
    except UnicodeDecodeError as error:
        raise ArtifactError(f"policies {path}: is not UTF-8", "policies") from error


def _line(node: yaml.Node | None, names: Sequence[str]) -> int:
    """Where the field of these names begins, or the last of them that there is; counted from 1."""
    line = node.start_mark.line + 1 if node else 1
    for name in names:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == name:
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and name.isdecimal() and int(name) < len(node.value):
            node = node.value[int(name)]
            line = node.start_mark.line + 1
    return line
