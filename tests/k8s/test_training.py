"""The Jobs of the component `training`: locked down, with an end, and with commands that training takes."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from servers.runtime.errors import ConfigurationError
from tests.k8s.manifests import K8S, Object, flag, kind
from training.__main__ import app
from training.errors import DataError

FOLDER = K8S / "components/training"
OBJECTS = [each for file in FOLDER.glob("*.yaml") for each in yaml.safe_load_all(file.read_text())]
JOBS = {each["metadata"]["name"]: each for each in kind(OBJECTS, "Job")}


def pod(job: Object) -> Any:
    return job["spec"]["template"]["spec"]


def local(arguments: list[str], folder: Path) -> list[str]:
    """With volumes and index of this test."""
    replaced = [argument.replace("=/", f"={folder}/") for argument in arguments]
    return [argument.replace("$(JOB_COMPLETION_INDEX)", "1") for argument in replaced]


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_they_are_valid(version: str) -> None:
    assert JOBS.keys() == {"training", "lists", "sequential-training"}
    for each in OBJECTS:
        if each["kind"] != "Component":
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("name", JOBS)
def test_they_may_do_no_more_than_the_publisher_and_come_to_an_end(name: str) -> None:
    job, publisher = JOBS[name], yaml.safe_load((K8S / "publisher.yaml").read_text())["spec"]
    [each] = pod(job)["containers"]
    for field in ("securityContext", "automountServiceAccountToken", "restartPolicy"):
        assert pod(job)[field] == publisher[field]
    for field in ("image", "securityContext"):
        assert each[field] == publisher["containers"][0][field]
    assert each["resources"].keys() == {"requests", "limits"}
    assert job["spec"]["activeDeadlineSeconds"] <= 86_400
    assert {mount["name"] for mount in each["volumeMounts"]} == {volume["name"] for volume in pod(job)["volumes"]}


def test_the_first_publication_is_a_command_that_training_takes(tmp_path: Path) -> None:
    [each] = pod(JOBS["training"])["containers"]
    with pytest.raises(DataError, match="data"):
        CliRunner().invoke(app, local(each["args"], tmp_path), catch_exceptions=False)


def test_lists_are_shared_out_over_the_completions(tmp_path: Path) -> None:
    job = JOBS["lists"]
    [each] = pod(job)["containers"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert flag(each["args"], "shard") == f"$(JOB_COMPLETION_INDEX)/{job['spec']['completions']}"
    assert flag(each["args"], "out") == "/lists/$(JOB_COMPLETION_INDEX).parquet"
    store = {each["env"][0]["name"]: "mysql://nowhere"}
    (tmp_path / "repository").mkdir()
    with pytest.raises(ConfigurationError, match="mysql"):
        CliRunner().invoke(app, local(each["args"], tmp_path), env=store, catch_exceptions=False)


def test_nodes_of_one_training_meet_at_the_first() -> None:
    job = JOBS["sequential-training"]
    [service] = kind(OBJECTS, "Service")
    [each] = pod(job)["containers"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(flag(each["args"], "nnodes"))
    assert flag(each["args"], "master-addr") == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert pod(job)["subdomain"] == service["metadata"]["name"]
    assert (service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == ("None", True)
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()
    assert int(flag(each["args"], "master-port")) == service["spec"]["ports"][0]["port"]
