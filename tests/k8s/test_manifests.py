"""The base and every overlay: valid against the Kubernetes schemas, locked down, and consistent in themselves."""

import re
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from fusion_gateway.console.settings import ConsoleSettings
from fusion_gateway.settings import GatewaySettings
from servers.runtime.settings import ProgramSettings
from servers.settings import ServerSettings
from tests.k8s.manifests import (
    K8S,
    ROOT,
    TARGETS,
    Object,
    base,
    container,
    flag,
    is_secure,
    kind,
    kustomize_missing,
    render,
)

SERVERS = {"rating", "sequential", "visual-temporal", "linear", "fusion-gateway"}
"""What speaks gRPC."""
DEPLOYMENTS = SERVERS | {"console"}
WORKERS = {"onboarding"}
"""Deployments that answer nobody: tests/k8s/test_onboarding.py."""
DEPLOYMENT = re.compile(r"^kind: Deployment$", re.MULTILINE)


@pytest.fixture(params=["files of base", *([] if kustomize_missing() else TARGETS)])
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return base() if request.param == "files of base" else render(request.param)


def test_overlays_are_rendered() -> None:
    """Here they only must not fail; every test below looks at them too."""
    if reason := kustomize_missing():
        pytest.skip(f"only the files of k8s/base are tested, and none of {', '.join(TARGETS)} as rendered: {reason}")
    assert all(map(render, TARGETS))


def parts(folder: Path) -> set[Path]:
    """Folders of the kustomizations that this one is made of, its own too."""
    said = yaml.safe_load((folder / "kustomization.yaml").read_text())
    entries = [(folder / entry).resolve() for entry in said.get("resources", []) + said.get("components", [])]
    return {folder}.union(*(parts(entry) for entry in entries if entry.is_dir()))


def test_every_kustomization_is_tested() -> None:
    tested = set().union(*(parts(K8S.resolve() / target) for target in TARGETS))
    assert {file.parent for file in K8S.resolve().rglob("kustomization.yaml")} == tested


def test_the_files_of_base_say_what_is_rendered() -> None:
    """So what is tested without kubectl is what kubectl applies."""
    if reason := kustomize_missing():
        pytest.skip(reason)
    assert by_name(render("base")) == by_name(base())


def by_name(objects: list[Object]) -> dict[tuple[str, str], Object]:
    """Kind and name to the object, without the namespace, which only kubectl adds."""
    named = {}
    for each in objects:
        metadata = {key: value for key, value in each["metadata"].items() if key != "namespace"}
        named[each["kind"], metadata["name"]] = {**each, "metadata": metadata}
    return named


def test_model_servers_have_one_deployment() -> None:
    """A scorer is an overlay of k8s/base/scorer, never a copy of it; those of components are patches."""
    files = {file.relative_to(K8S).as_posix() for file in K8S.rglob("*.yaml") if DEPLOYMENT.search(file.read_text())}
    assert files == {
        "base/scorer/scorer.yaml",
        "base/console.yaml",
        "base/fusion-gateway.yaml",
        "components/postgresql/gateway.yaml",
        "components/onboarding/onboarding.yaml",
        "components/secure/console.yaml",
        "components/secure/gateway.yaml",
        "components/secure/scorer.yaml",
        "components/tracing/endpoint.yaml",
    }


@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_objects_are_valid(objects: list[Object], version: str) -> None:
    assert {each["metadata"]["name"] for each in answering(objects)} == DEPLOYMENTS
    for each in objects:
        if each["kind"] != "GRPCRoute":  # no kind of Kubernetes itself
            kubernetes_validate.validate(each, version, strict=True)


def test_the_publisher_may_write_what_others_read(objects: list[Object]) -> None:
    pod = yaml.safe_load((K8S / "publisher.yaml").read_text())
    kubernetes_validate.validate(pod, "1.29", strict=True)
    [gateway] = (each for each in kind(objects, "Deployment") if each["metadata"]["name"] == "fusion-gateway")
    serving = gateway["spec"]["template"]["spec"]
    assert pod["spec"]["securityContext"] == serving["securityContext"]
    [published] = (volume for volume in pod["spec"]["volumes"] if volume["name"] == "repository")
    assert published["persistentVolumeClaim"] == {"claimName": "model-repository"}
    assert pod["spec"]["containers"][0]["securityContext"] == container(gateway)["securityContext"]


def test_an_invalid_object_is_noticed() -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.29", strict=True)


def test_pods_can_do_nothing_but_serve(objects: list[Object]) -> None:
    [namespace] = kind(objects, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in (each["spec"]["template"]["spec"] for each in kind(objects, "Deployment")):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all({"emptyDir", "persistentVolumeClaim", "secret"} & volume.keys() for volume in pod["volumes"])
        for each in pod["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_containers_say_what_they_need(objects: list[Object]) -> None:
    for each in map(container, kind(objects, "Deployment")):
        assert each["resources"].keys() == {"requests", "limits"}
        for amounts in each["resources"].values():
            assert amounts.keys() == {"cpu", "memory"}
        assert {"mountPath": "/tmp", "name": "tmp"} in each["volumeMounts"]


def answering(objects: list[Object]) -> list[Object]:
    return [each for each in kind(objects, "Deployment") if each["metadata"]["name"] not in WORKERS]


def servers(objects: list[Object]) -> list[Object]:
    return [each for each in kind(objects, "Deployment") if each["metadata"]["name"] in SERVERS]


def test_ports_flags_probes_and_annotations_agree(objects: list[Object]) -> None:
    for deployment in servers(objects):
        each, template = container(deployment), deployment["spec"]["template"]
        assert {port["name"]: port["containerPort"] for port in each["ports"]} == {"grpc": 8001, "metrics": 8002}
        assert [flag(each["args"], name) for name in ("host", "grpc-port", "metrics-port")] == [
            "0.0.0.0",
            "8001",
            "8002",
        ]
        scheme, port = ("httpGet", 8002) if is_secure(objects) else ("grpc", 8001)
        assert {each[f"{probe}Probe"][scheme]["port"] for probe in ("startup", "readiness", "liveness")} == {port}
        assert template["metadata"]["annotations"] == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "8002",
            "prometheus.io/path": "/metrics",
        }


def test_ports_and_probes_of_the_console_agree(objects: list[Object]) -> None:
    [deployment] = [each for each in kind(objects, "Deployment") if each["metadata"]["name"] == "console"]
    [service] = [each for each in kind(objects, "Service") if each["metadata"]["name"] == "console"]
    each = container(deployment)
    assert [(port["name"], port["containerPort"]) for port in each["ports"]] == [("http", 8080)]
    assert (flag(each["args"], "host"), flag(each["args"], "port")) == ("0.0.0.0", "8080")
    assert flag(each["args"], "gateway") == "dns:///fusion-gateway:8001"
    assert {each[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "readiness", "liveness")} == {8080}
    assert service["spec"]["ports"] == [{"name": "http", "port": 8080, "targetPort": "http", "appProtocol": "http"}]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


def test_pods_have_the_time_to_stop_in_order(objects: list[Object]) -> None:
    for deployment in servers(objects):
        each, pod = container(deployment), deployment["spec"]["template"]["spec"]
        stopping = sum(float(flag(each["args"], name)) for name in ("drain-secs", "exit-timeout-secs"))
        assert pod["terminationGracePeriodSeconds"] >= stopping + 5


def test_a_pod_that_hangs_is_begun_again_soon(objects: list[Object]) -> None:
    for deployment in servers(objects):
        liveness = container(deployment)["livenessProbe"]
        assert liveness["periodSeconds"] * liveness["failureThreshold"] <= 15
        assert liveness["timeoutSeconds"] < liveness["periodSeconds"]


def test_pods_wait_for_the_first_publication(objects: list[Object]) -> None:
    for deployment in servers(objects):
        each = container(deployment)
        if is_secure(objects):
            assert each["startupProbe"]["httpGet"]["path"] == "/health/live"
            assert each["readinessProbe"]["httpGet"]["path"] == "/health/ready"
        else:
            assert each["startupProbe"]["grpc"]["service"] == "" != each["readinessProbe"]["grpc"]["service"]
        assert {"--model-control-mode=poll", "--wait-for-models"} & set(each["args"])


def test_a_rolling_update_is_seen_by_clients_and_comes_to_an_end(objects: list[Object]) -> None:
    for deployment in kind(objects, "Deployment"):
        assert deployment["spec"]["revisionHistoryLimit"] <= 5
        assert deployment["spec"]["progressDeadlineSeconds"] <= 600
    for deployment in servers(objects):
        [spread] = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert spread["matchLabelKeys"] == ["pod-template-hash"]  # else the old pods count
        assert deployment["spec"]["minReadySeconds"] >= 5
        assert float(flag(container(deployment)["args"], "max-connection-age-secs")) <= 60


@pytest.mark.parametrize("target", TARGETS)
def test_everything_is_in_the_namespace(target: str) -> None:
    if reason := kustomize_missing():
        pytest.skip(reason)
    elsewhere = [each for each in render(target) if each["metadata"].get("namespace") != "marquee"]
    assert [each["kind"] for each in elsewhere] == ["Namespace"]


def test_the_local_overlay_fits_a_node_of_two_cpus() -> None:
    if reason := kustomize_missing():
        pytest.skip(reason)
    requests = [container(each)["resources"]["requests"] for each in kind(render("overlays/local"), "Deployment")]
    assert sum(int(each["cpu"].removesuffix("m")) for each in requests) <= 1500
    assert sum(int(each["memory"].removesuffix("Mi")) for each in requests) <= 3000


def test_no_image_is_somebody_elses() -> None:
    """A name without a host is one of Docker Hub: production has a host that cannot be, local pulls nothing."""
    if reason := kustomize_missing():
        pytest.skip(reason)
    for each in kind(render("overlays/local"), "Deployment"):
        assert container(each)["imagePullPolicy"] == "Never"
    text = yaml.safe_dump_all(render("overlays/production"))
    images = re.findall(r"image: (\S+)", text)
    assert images
    assert all(image.startswith("registry.invalid/marquee/") for image in images)


def test_every_workload_is_whole(objects: list[Object]) -> None:
    """A headless service, an account, a budget and a network policy, each selecting exactly its pods."""
    services = {each["metadata"]["name"]: each["spec"] for each in kind(objects, "Service")}
    services.pop("sequential-training", None)  # of a Job: test_training.py
    budgets = {each["metadata"]["name"]: each["spec"] for each in kind(objects, "PodDisruptionBudget")}
    accounts = {each["metadata"]["name"]: each for each in kind(objects, "ServiceAccount")}
    assert services.keys() == budgets.keys() == accounts.keys() == DEPLOYMENTS
    for deployment in answering(objects):
        name, spec = deployment["metadata"]["name"], deployment["spec"]
        labels, pod = spec["template"]["metadata"]["labels"], spec["template"]["spec"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        assert services[name]["selector"] == labels
        if name in SERVERS:
            assert services[name]["clusterIP"] == "None"
            assert {port["port"] for port in services[name]["ports"]} == {8001, 8002}
        assert budgets[name]["selector"]["matchLabels"].items() <= labels.items()
        assert pod["serviceAccountName"] == name
        assert accounts[name]["automountServiceAccountToken"] is False
        assert pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"] == labels
        assert any(
            policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
            for policy in kind(objects, "NetworkPolicy")
        )


def test_volumes_exist_and_the_repository_is_read_only(objects: list[Object]) -> None:
    claims = {each["metadata"]["name"] for each in kind(objects, "PersistentVolumeClaim")}
    used = set()
    for deployment in answering(objects):
        volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
        mounts = {mount["name"]: mount for mount in container(deployment)["volumeMounts"]}
        assert mounts.keys() == volumes.keys()
        assert mounts["repository"]["readOnly"] is True
        if deployment["metadata"]["name"] in SERVERS:
            assert mounts["repository"]["mountPath"] == flag(container(deployment)["args"], "model-repository")
        used |= {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if "persistentVolumeClaim" in volume
        }
    assert used == claims - {"training-data", "lists"}  # those of Jobs: test_training.py


def test_several_gateways_only_on_a_shared_event_store(objects: list[Object]) -> None:
    [gateway] = [each for each in kind(objects, "Deployment") if each["metadata"]["name"] == "fusion-gateway"]
    [store] = [each for each in container(gateway)["env"] if each["name"] == "MARQUEE_EVENT_STORE"]
    if "value" in store:
        assert store["value"].startswith("sqlite:////events/")
        assert (gateway["spec"]["replicas"], gateway["spec"]["strategy"]) == (1, {"type": "Recreate"})
        assert kind(objects, "HorizontalPodAutoscaler") == []
    else:
        assert store["valueFrom"] == {"secretKeyRef": {"name": "event-store", "key": "url"}}
        [autoscaler] = kind(objects, "HorizontalPodAutoscaler")
        assert autoscaler["spec"]["scaleTargetRef"]["name"] == "fusion-gateway"
        assert autoscaler["spec"]["minReplicas"] == 2
        assert "replicas" not in gateway["spec"]  # two writers of one number would fight


def test_overlays_change_no_command(objects: list[Object]) -> None:
    """So what test_commands.py starts is what every overlay runs."""
    commands = {each["metadata"]["name"]: container(each)["args"] for each in kind(base(), "Deployment")}
    assert {each["metadata"]["name"]: container(each)["args"] for each in answering(objects)} == commands


def test_variables_are_settings_of_the_program(objects: list[Object]) -> None:
    for deployment in answering(objects):
        settings: dict[str, type[ProgramSettings]] = {"gateway": GatewaySettings, "console": ConsoleSettings}
        program = settings.get(deployment["metadata"]["labels"]["app.kubernetes.io/component"], ServerSettings)
        names = {each["name"] for each in container(deployment).get("env", [])}
        assert names <= {f"MARQUEE_{field.upper()}" for field in program.model_fields}


def test_images_have_the_version_of_the_code(objects: list[Object]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for deployment in answering(objects):
        folder, _, tag = container(deployment)["image"].rpartition("/")[2].partition(":")
        assert (K8S / f"containers/{folder}.Dockerfile").exists()
        assert tag == version


def test_who_may_call_is_named(objects: list[Object]) -> None:
    """No rule lets in the whole cluster."""
    policies = kind(objects, "NetworkPolicy")
    callers = [peer for each in policies for rule in each["spec"].get("ingress", []) for peer in rule["from"]]
    assert callers
    assert all(selector.get("matchLabels") for peer in callers for selector in peer.values())


def test_the_page_makes_the_namespace_before_what_is_in_it() -> None:
    """And `apply` takes it over with its labels."""
    commands = [line for line in (K8S / "README.md").read_text().splitlines() if line.startswith("kubectl ")]
    first = next(number for number, line in enumerate(commands) if "create secret" in line)
    assert commands[first - 1] == "kubectl apply -f k8s/base/namespace.yaml"
