"""Policies that were fitted on logged outcomes, and their estimates, from one version of fusion to the next."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter

from fusion_gateway.fusion import Policy
from fusion_gateway.fusion.estimate_names import ENDS, OFF_POLICY, digest
from protos.marquee.v1.artifact_pb2 import Manifest, Metric
from servers.runtime.strict_yaml import StrictLoader
from training.artifacts.repository import latest, publish, read_manifest
from training.published import read_text


class Carried(NamedTuple):
    """Names of policies."""

    over: list[str]
    replaced: list[str]
    """Training made one of this name itself."""


def carry_on(serving: Path, candidate: Path) -> Carried:
    """Publishes in the repository `candidate` the next version of fusion: the newest one there, and the policies of the
    version of fusion in the folder `serving` that were fitted on logged outcomes, as they are, with their estimates.

    Publishes nothing where there are none, or where the candidate has them already.
    """
    old, newest = _policies(serving), latest(candidate, "fusion")
    metrics, document = read_manifest(serving).metrics, policies_file(newest)
    found = [name for name, each in old.items() if _is_fitted(name, each, metrics)]
    new = document["policies"]
    over = [name for name in found if name not in new]
    if over:
        document["policies"] = {**new, **{name: old[name] for name in over}}
        made = read_manifest(newest)
        kept = [each for each in metrics if each.protocol.startswith(OFF_POLICY)]
        valid = valid_metrics([*made.metrics, *kept], document["policies"])
        manifest = Manifest(model="fusion", recipe=made.recipe, data=made.data, metrics=valid)
        publish_policies(newest, manifest, document)
    return Carried(over, [name for name in found if name in new and new[name] != old[name]])


def publish_policies(newest: Path, manifest: Manifest, document: Mapping[str, object]) -> Path:
    """The folder of the next version of fusion, which has this file of policies, and all else as the `newest` one."""

    def write(folder: Path) -> None:
        for file in read_manifest(newest).files:
            shutil.copyfile(newest / file.path, folder / file.path)
        (folder / "policies.yaml").write_text(yaml.safe_dump(document))

    return publish(newest.parents[1], manifest, write)


def valid_metrics(metrics: Iterable[Metric], policies: Mapping[str, object]) -> list[Metric]:
    """Without estimates of policies that are not among these, by name and content, as a file of policies has them."""
    named = {name for policy, each in policies.items() for name in _estimates_of(policy, each)}
    return [each for each in metrics if not each.protocol.startswith(OFF_POLICY) or each.name in named]


def as_policy(document: object) -> Policy:
    """Of a file of policies."""
    return TypeAdapter(Policy).validate_python(document)


def _estimates_of(name: str, document: object) -> list[str]:
    return [f"{name} {digest(as_policy(document))}{end}" for end in ENDS]


def _is_fitted(name: str, document: object, metrics: Iterable[Metric]) -> bool:
    """By its estimates. Older ones have the policy's name alone, and are not kept."""
    estimates = {each.name for each in metrics if each.protocol.startswith(OFF_POLICY)}
    return not estimates.isdisjoint([name, *_estimates_of(name, document)])


def policies_file(folder: Path) -> dict[str, Any]:
    """That of a version of fusion."""
    found: dict[str, Any] = yaml.load(read_text(folder / "policies.yaml"), StrictLoader)
    return found


def _policies(folder: Path) -> dict[str, object]:
    policies: dict[str, object] = policies_file(folder)["policies"]
    return policies
