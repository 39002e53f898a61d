"""The published fusion policies: read from YAML, checked whole, chosen by name."""

from collections.abc import Mapping
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from fusion_gateway.fusion import Policy
from servers.runtime.errors import ArtifactError, InvalidArgument, NotFound


class Policies(BaseModel):
    """What a `policies.yaml` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str
    policies: Mapping[str, Policy]

    @model_validator(mode="after")
    def _default_exists(self) -> "Policies":
        if self.default not in self.policies:
            raise ValueError(f"default: there is no policy {self.default!r}")
        return self

    def choose(self, name: str, weights: Mapping[str, float]) -> tuple[str, Policy]:
        """The policy of that name (empty: the default one), with the weights given here in place of its own.

        Raises NotFound for an unknown name, InvalidArgument for a weight the policy cannot use.
        """
        name = name or self.default
        if name not in self.policies:
            raise NotFound(f"policy: there is no {name!r}; there are {', '.join(sorted(self.policies))}")
        policy = self.policies[name]
        if unknown := sorted(weights.keys() - policy.weights.keys()):
            raise InvalidArgument(f"weights: no model {unknown[0]!r}; policy {name} has {', '.join(policy.weights)}")
        try:
            return name, policy.with_weights(weights) if weights else policy
        except ValueError as error:
            raise InvalidArgument(str(error)) from None


def load_policies(path: Path) -> Policies:
    """Raises ArtifactError naming the file and, as far as they are known, line, policy and field."""
    try:
        return Policies.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise ArtifactError(f"{path}: cannot be read as YAML: {error}", "policies") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtifactError(
            f"{path}: {where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}", "policies"
        ) from error
