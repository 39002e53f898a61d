"""The CronJob of the component `retraining`: one at a time, locked down like everything else, with flags that exist."""

import tomllib
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from servers.runtime.errors import ConfigurationError
from tests.k8s.manifests import K8S, ROOT, Object, flag, kind, kustomize_missing, render
from training.__main__ import app
from training.pipelines import retrain

FILE = K8S / "components/retraining/retraining.yaml"


@pytest.fixture(params=["file", *([] if kustomize_missing() else ["overlays/production"])])
def job(request: pytest.FixtureRequest) -> Object:
    """As its file says it, and as it is rendered."""
    objects = list(yaml.safe_load_all(FILE.read_text())) if request.param == "file" else render(request.param)
    [only] = kind(objects, "CronJob")
    return only


def pod(job: Object) -> Any:
    return job["spec"]["jobTemplate"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_it_is_valid(version: str) -> None:
    for each in yaml.safe_load_all(FILE.read_text()):
        kubernetes_validate.validate(each, version, strict=True)


def test_two_never_run_and_every_run_has_a_limit(job: Object) -> None:
    run = job["spec"]["jobTemplate"]["spec"]
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    assert run["activeDeadlineSeconds"] < 7 * 86_400
    assert run["backoffLimit"] <= 10
    assert pod(job)["restartPolicy"] == "Never"  # as podFailurePolicy requires


def test_a_refusal_is_not_tried_again(job: Object) -> None:
    [refused, _] = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert refused["action"] == "FailJob"
    assert refused["onExitCodes"]["values"] == [retrain.WORSE, retrain.CANNOT_TELL]
    assert refused["onExitCodes"]["containerName"] == pod(job)["containers"][0]["name"]


def test_it_may_do_no_more_than_the_publisher(job: Object) -> None:
    publisher = yaml.safe_load((K8S / "publisher.yaml").read_text())["spec"]
    [each] = pod(job)["containers"]
    for field in ("securityContext", "automountServiceAccountToken", "volumes"):
        assert pod(job)[field] == publisher[field]
    for field in ("securityContext", "volumeMounts"):
        assert each[field] == publisher["containers"][0][field]
    assert each["resources"].keys() == {"requests", "limits"}


def test_it_reads_the_gateways_event_store(job: Object) -> None:
    gateway = yaml.safe_load((K8S / "components/postgresql/gateway.yaml").read_text())
    [setting] = gateway["spec"]["template"]["spec"]["containers"][0]["env"]
    [own] = pod(job)["containers"][0]["env"]
    assert (own["name"], own["valueFrom"]) == (setting["name"], setting["valueFrom"])


def test_its_network_policy_selects_it() -> None:
    objects = list(yaml.safe_load_all(FILE.read_text()))
    [policy], [job] = kind(objects, "NetworkPolicy"), kind(objects, "CronJob")
    labels = job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} == {53, 5432}


def test_its_image_has_the_version_of_the_code(job: Object) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    folder, _, tag = pod(job)["containers"][0]["image"].rpartition("/")[2].partition(":")
    assert (K8S / f"containers/{folder}.Dockerfile").exists()
    assert tag == version


def test_its_command_is_one_that_training_takes(job: Object, tmp_path: Any) -> None:
    [each] = pod(job)["containers"]
    assert flag(each["args"], "repository") == each["volumeMounts"][0]["mountPath"]
    arguments = [argument.replace("=/repository", f"={tmp_path}/repository") for argument in each["args"]]
    store = {each["env"][0]["name"]: f"sqlite:///{tmp_path}/missing.db"}
    with pytest.raises(ConfigurationError, match="there is no file .*missing.db"):
        CliRunner().invoke(app, arguments, env=store, catch_exceptions=False)
