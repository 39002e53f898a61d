"""Fusion policies: read from YAML, checked whole, chosen by name, or for a share of the users."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from fusion_gateway.fusion import Number, Policy
from fusion_gateway.rules import Rule
from servers.runtime.errors import ArtifactError, InvalidArgument, NotFound
from servers.runtime.files import read_regular

MAX_BYTES = 64 << 10
"""Maximum number of bytes of a file. More takes seconds to parse."""
MAX_BRACKETS = 5000
"""Maximum number of opening brackets: nested ones take longer still to parse."""
MAX_POLICIES = 1000
MAX_RULES = 100
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


class Policies(BaseModel):
    """What a `policies.yaml` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str
    policies: Mapping[str, Policy] = Field(max_length=MAX_POLICIES)
    split: Mapping[str, Number] = Field(default_factory=dict)
    """Percent of the users who get a policy other than the default one. Policies added at the end move nobody else."""
    shadow: Shadow | None = None
    rules: Sequence[Rule] = Field((), max_length=MAX_RULES)
    """What the model `rules` of a policy's weights adds up."""
    _version: int = PrivateAttr(0)

    @property
    def version(self) -> int:
        """The published version; 0 for a file of the operator's."""
        return self._version

    @model_validator(mode="after")
    def _names_exist(self) -> "Policies":
        named = {"default": self.default, **{f"split.{name}": name for name in self.split}}
        if self.shadow:
            named["shadow.policy"] = self.shadow.policy
        for where, name in named.items():
            if name not in self.policies:
                raise ValueError(f"{where}: there is no policy {name!r}")
        for name in self.policies:
            if not 1 <= (size := len(name.encode())) <= MAX_NAME_BYTES:
                raise ValueError(f"policies: a policy's name must have 1 to {MAX_NAME_BYTES} bytes, not {size}")
        for name, percent in self.split.items():
            if not 0 <= percent <= 100:
                raise ValueError(f"split.{name}: must be 0 to 100 percent, not {percent:g}")
        if sum(self.split.values()) > 100:
            raise ValueError(f"split: {sum(self.split.values()):g} percent in all are more than 100")
        return self

    def choose(self, name: str, weights: Mapping[str, float], user_id: str = "") -> tuple[str, Policy]:
        """The policy of that name (empty: the user's own), with the weights given here in place of its own.

        Raises NotFound for an unknown name, InvalidArgument for a weight the policy cannot use.
        """
        name = name or self.assigned(user_id)
        if name not in self.policies:
            raise NotFound(f"policy: there is no {name!r}; there are {', '.join(sorted(self.policies))}")
        policy = self.policies[name]
        if unknown := sorted(weights.keys() - policy.weights.keys()):
            raise InvalidArgument(f"weights: no model {unknown[0]!r}; policy {name} has {', '.join(policy.weights)}")
        try:
            return name, policy.with_weights(weights) if weights else policy
        except ValueError as error:
            raise InvalidArgument(str(error)) from None

    def probability(self, name: str, user_id: str) -> float:
        """With which a user gets the policy that `choose` gives for these: 1 where nothing is drawn."""
        if name or not user_id:
            return 1.0
        assigned = self.assigned(user_id)
        others = sum(percent for other, percent in self.split.items() if other != self.default)
        percent = 100 - others if assigned == self.default else self.split[assigned]
        return percent / 100

    def assigned(self, user_id: str) -> str:
        """The policy of the share that this user falls in; an anonymous user gets the default one."""
        if self.split and user_id:
            share = percentile(user_id)
            for name, percent in self.split.items():
                share -= percent
                if share < 0:
                    return name
        return self.default


def percentile(user_id: str) -> float:
    """0 to 100, the same for ever for one user."""
    return 100 * int.from_bytes(hashlib.blake2b(user_id.encode(), digest_size=8).digest()) / 2**64


def load_policies(path: Path, version: int = 0) -> Policies:
    """Raises ArtifactError naming the file and, as far as they are known, line, policy and field."""
    text = _text(path)
    if (brackets := text.count("[") + text.count("{")) > MAX_BRACKETS:
        raise ArtifactError(
            f"policies {path}: {brackets} opening brackets are too many; at most {MAX_BRACKETS}", "policies"
        )
    try:
        document = yaml.load(text, _Loader)
        policies = Policies.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        where = [str(part) for part in first["loc"]]
        line = _line(yaml.compose(text, _Loader), [*where, *message.partition(":")[0].split(".")])
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


class _Loader(yaml.SafeLoader):
    """Takes no aliases: a few lines of them stand for any number of values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken")
        return super().compose_node(parent, index)


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
