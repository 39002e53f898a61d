"""The Deployment of the component `onboarding`: one pod, locked down as retraining is, with flags that exist."""

from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from servers.runtime.errors import ConfigurationError
from tests.k8s.manifests import K8S, Object, container, flag, kind, kustomize_missing, render
from training.__main__ import app

FILE = K8S / "components/onboarding/onboarding.yaml"
RETRAINING = K8S / "components/retraining/retraining.yaml"


@pytest.fixture(params=["file", *([] if kustomize_missing() else ["overlays/production"])])
def deployment(request: pytest.FixtureRequest) -> Object:
    """As its file says it, and as it is rendered."""
    objects = list(yaml.safe_load_all(FILE.read_text())) if request.param == "file" else render(request.param)
    [only] = [each for each in kind(objects, "Deployment") if each["metadata"]["name"] == "onboarding"]
    return only


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_it_is_valid(version: str) -> None:
    for each in yaml.safe_load_all(FILE.read_text()):
        kubernetes_validate.validate(each, version, strict=True)


def test_the_old_pod_is_gone_before_the_new_one_comes(deployment: Object) -> None:
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_it_may_do_what_retraining_may() -> None:
    [own, own_policy] = yaml.safe_load_all(FILE.read_text())
    [job, policy] = yaml.safe_load_all(RETRAINING.read_text())
    pod, other = own["spec"]["template"]["spec"], job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for field in ("securityContext", "automountServiceAccountToken", "enableServiceLinks", "volumes"):
        assert pod[field] == other[field]
    for field in ("image", "env", "securityContext", "volumeMounts"):
        assert container(own)[field] == other["containers"][0][field]
    assert container(own)["resources"].keys() == {"requests", "limits"}
    assert {**own_policy["spec"], "podSelector": None} == {**policy["spec"], "podSelector": None}
    labels = own["spec"]["template"]["metadata"]["labels"]
    assert own_policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_its_command_is_one_that_training_takes(deployment: Object, tmp_path: Any) -> None:
    each = container(deployment)
    assert flag(each["args"], "repository") == "/repository"
    assert "--follow" in each["args"]
    store = {each["env"][0]["name"]: "mysql://nowhere"}
    arguments = [argument.replace("/repository", str(tmp_path)) for argument in each["args"]]
    with pytest.raises(ConfigurationError, match="mysql:// is not supported"):
        CliRunner().invoke(app, arguments, env=store, catch_exceptions=False)
