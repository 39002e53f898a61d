"""The READMEs' tables of metrics are what running processes expose."""

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.fusion_gateway.real_system import RealSystem, real_system
from tests.servers.running import Running

ROOT = Path(__file__).parents[1]
NAME = re.compile(r"`(marquee_\w+)`")


def documented(folder: str) -> set[str]:
    """The names in the section on metrics of the folder's page."""
    page = (ROOT / folder / "README.md").read_text()
    return set(NAME.findall(page.partition("## Metrics")[2].partition("\n## ")[0]))


def exposed(running: Running) -> dict[str, Metric]:
    """By name as it is shown, which for counters ends in _total."""
    with urllib.request.urlopen(f"http://{running.http_address}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {family.name + "_total" * (family.type == "counter"): family for family in families}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealSystem]:
    with real_system(tmp_path_factory.mktemp("system")) as running:
        yield running


@pytest.mark.parametrize(("program", "folder"), [("gateway", "fusion_gateway"), ("rating", "servers")])
def test_the_readme_lists_every_metric_and_no_other(program: str, folder: str, system: RealSystem) -> None:
    shown = exposed(getattr(system, program))
    assert {name for name in shown if name.startswith("marquee_")} == documented(folder)


def test_alerts_are_of_metrics_that_there_are() -> None:
    used = set(re.findall(r"marquee_\w+", (ROOT / "k8s/README.md").read_text()))
    series = {name.removesuffix("_bucket") for name in used}
    assert series <= documented("fusion_gateway") | documented("servers")


@pytest.mark.parametrize("program", ["gateway", "rating"])
def test_every_metric_has_a_help_text_and_the_process_is_measured(system: RealSystem, program: str) -> None:
    shown = exposed(getattr(system, program))
    assert all(family.documentation for family in shown.values())
    assert {"marquee_calls_total", "marquee_call_seconds", "process_resident_memory_bytes"} <= shown.keys()
    assert {"process_cpu_seconds_total", "process_open_fds"} <= shown.keys()
