"""Follows "Adding a model" of training/README.md in a copy of the repository: trains, fuses and serves the model."""

import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
import yaml

from protos.marquee.v1.recommender_pb2 import Event, RecommendRequest
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.conftest import Published
from tests.load.processes import FREE_PORTS, started

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", re.DOTALL)
REGISTRY = "training/recipes/__init__.py"
FUSION_LINE = '    "fusion": FUSION,\n'
COPIED = ("protos", "servers", "fusion_gateway", "training", "k8s")


def blocks() -> dict[str, str]:
    """Code of the page by the path in its first line."""
    page = (ROOT / "training" / "README.md").read_text()
    section = page.partition("## Adding a model\n")[2].partition("\n## ")[0]
    return dict(BLOCK.findall(section))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with what the page adds."""
    root = tmp_path_factory.mktemp("copy")
    for folder in COPIED:
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "results"))
    written = blocks()
    registry = root / REGISTRY
    source = registry.read_text().replace(FUSION_LINE, written.pop(REGISTRY) + FUSION_LINE)
    registry.write_text(source.replace("\nRECIPES", "\nfrom training.recipes.toy import TOY\n\nRECIPES", 1))
    for path, code in written.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(code)
    return root


@pytest.fixture(scope="module")
def repository(copy: Path, published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tests train together, with the toy model and fusion trained on top."""
    repository = tmp_path_factory.mktemp("published") / "repository"
    shutil.copytree(published.repository, repository)
    for model in ("toy", "fusion"):
        folders = ("--data", str(published.data), "--repository", str(repository))
        command = [sys.executable, "-m", "training", "train", model, "--recipe", "small", *folders]
        subprocess.run(command, cwd=copy, check=True)
    return repository


def test_fusion_weighs_it(repository: Path) -> None:
    published = yaml.safe_load((repository / "fusion" / "2" / "policies.yaml").read_text())
    assert "toy" in published["policies"]["weighted"]["weights"]


def test_it_is_served(copy: Path, repository: Path, tmp_path: Path) -> None:
    shared = [f"--model-repository={repository}", *FREE_PORTS]
    store = f"--event-store=sqlite:///{tmp_path}/events.db"
    with ExitStack() as stack:
        server = stack.enter_context(started(["-m", "servers", "toy", *shared], cwd=copy))
        flags = [*shared, store, f"--scorer=toy={server.grpc_address}"]
        gateway = stack.enter_context(started(["-m", "fusion_gateway", *flags], cwd=copy))
        channel = stack.enter_context(grpc.insecure_channel(gateway.grpc_address, [("grpc.enable_http_proxy", 0)]))
        request = RecommendRequest(k=5, history=[Event(item_id="1"), Event(item_id="2")])
        answer = RecommenderStub(channel).Recommend(request, timeout=30)
    assert answer.model_versions["toy"] == 1
    assert len(answer.items) == 5


def test_the_overlay_is_like_the_others(copy: Path) -> None:
    overlays = {path.parent.name: path.read_text() for path in (copy / "k8s" / "base").glob("*/kustomization.yaml")}
    assert overlays["toy"].replace("toy", "linear") == overlays["linear"]
