"""The objects that a kustomization renders to."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
TARGETS = ["base", "overlays/local", "overlays/production", "overlays/everything"]
Object = dict[str, Any]


@cache
def kustomize_missing() -> str:
    """Why overlays cannot be rendered here; empty when they can."""
    if not shutil.which("kubectl"):
        return "kubectl is not installed"
    answer = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, check=True)
    if json.loads(answer.stdout).get("kustomizeVersion", "").startswith("v5"):
        return ""
    return "this kubectl is too old to know Kustomize components"


@cache
def render(target: str) -> list[Object]:
    """What `kubectl apply -k k8s/<target>` would send."""
    rendered = subprocess.run(["kubectl", "kustomize", K8S / target], capture_output=True, check=True, text=True)
    assert not rendered.stderr, rendered.stderr
    return list(yaml.safe_load_all(rendered.stdout))


@cache
def base() -> list[Object]:
    """The base as its files say it, for machines without kubectl."""
    entries = yaml.safe_load((K8S / "base/kustomization.yaml").read_text())["resources"]
    return [document for entry in entries for document in yaml.safe_load_all(text_of(K8S / "base" / entry))]


def text_of(entry: Path) -> str:
    """A file; for a folder, the scorer with the words that the folder's overlay gives it."""
    if entry.is_file():
        return entry.read_text()
    text = (K8S / "base/scorer/scorer.yaml").read_text()
    [words] = yaml.safe_load((entry / "kustomization.yaml").read_text())["configMapGenerator"]
    for literal in words["literals"]:
        text = text.replace(*literal.split("="))
    return text


def is_secure(objects: list[Object]) -> bool:
    """Whether servers speak TLS, which kubelet's gRPC probes do not."""
    return any("tls" in str(each["spec"]["template"]["spec"]["volumes"]) for each in kind(objects, "Deployment"))


def kind(objects: list[Object], name: str) -> list[Object]:
    return [each for each in objects if each["kind"] == name]


def container(deployment: Object) -> Object:
    """Its only container."""
    [only] = deployment["spec"]["template"]["spec"]["containers"]
    return dict(only)


def flag(arguments: list[str], name: str) -> str:
    [value] = [argument.partition("=")[2] for argument in arguments if argument.startswith(f"--{name}=")]
    return value


def entrypoint(image: str) -> list[str]:
    """ENTRYPOINT of the container file for `image` (its name alone: no registry, no tag)."""
    last = (K8S / f"containers/{image}.Dockerfile").read_text().strip().splitlines()[-1]
    return list(json.loads(last.removeprefix("ENTRYPOINT ")))
