"""The arrows between the folders, what each program may import, and what no folder may be called."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from sys import stdlib_module_names
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]

# Folder -> what else of this repository its files may import. `servers/runtime` has its own row because the gateway
# uses it without the rest of `servers`; `fusion_gateway/fusion` because training evaluates the fusion it will serve;
# `fusion_gateway/ingest` because the gateway imports the files that training reads.
MAY_IMPORT = {
    "protos": set[str](),
    "servers": {"protos"},
    "servers/runtime": {"protos"},
    "fusion_gateway": {"protos", "servers.runtime"},
    "fusion_gateway/fusion": set[str](),
    "fusion_gateway/ingest": set[str](),
    "fusion_gateway/catalog": {"protos", "servers.runtime", "fusion_gateway.fusion"},
    "fusion_gateway/circuit_breaker.py": set[str](),
    "fusion_gateway/events/stored_event.py": set[str](),
    "fusion_gateway/events": {"servers.runtime", "fusion_gateway.ingest", "fusion_gateway.circuit_breaker"},
    "fusion_gateway/loop/answer_cap.py": set[str](),
    "fusion_gateway/loop/evidence.py": {"fusion_gateway.loop.answer_cap"},
    "fusion_gateway/loop/thompson.py": {"fusion_gateway.loop.evidence", "fusion_gateway.loop.intervals"},
    "fusion_gateway/shares.py": set[str](),
    "fusion_gateway/scorers": {
        "servers.runtime",
        "fusion_gateway.fusion",
        "fusion_gateway.circuit_breaker",
        "fusion_gateway.events.stored_event",
    },
    "fusion_gateway/terminal": {
        "protos",
        "servers.runtime",
        "fusion_gateway.access",
        "fusion_gateway.moments",
        "fusion_gateway.settings",
        "fusion_gateway.events",
        "fusion_gateway.ingest",
    },
    "fusion_gateway/console": {"protos", "servers.runtime"},  # a client of the gateway, with nothing of its insides
    "training": {
        "protos",
        "fusion_gateway.fusion",
        "fusion_gateway.ingest",
        "servers.runtime.files",
        "servers.runtime.strict_yaml",
        "servers.runtime.terminal",
    },
}
# The rooms and modules of `training` from top to bottom: each imports what is below it, and nothing beside it.
# `published` is below the artifacts because features read what they were fitted to from published files.
LAYERS = (
    ("__main__.py",),
    ("commands",),
    ("benchmark",),
    ("pipelines",),
    ("off_policy",),
    ("evaluation",),
    ("models", "artifacts", "simulation"),
    ("features",),
    ("fitting", "recipes", "data"),
    ("extras.py", "html_page.py", "published.py", "terminal.py"),
    ("progress.py", "errors.py"),
)
for height, layer in enumerate(LAYERS):
    below = {f"training.{name.removesuffix('.py')}" for lower in LAYERS[height + 1 :] for name in lower}
    MAY_IMPORT |= {f"training/{name}": MAY_IMPORT["training"] | below for name in layer}
# One look for the --help of all programs.
MAY_IMPORT["training/__main__.py"] |= {"servers.runtime.command_line", "servers.runtime.errors"}
MAY_IMPORT["training/commands"] |= {"servers.runtime.command_line"}
# An adaptive split is simulated with the gateway's own arithmetic.
MAY_IMPORT["training/benchmark"] |= {
    "fusion_gateway.loop.evidence",
    "fusion_gateway.loop.thompson",
    "fusion_gateway.shares",
}
# Retraining exports the event store by the gateway's code, and onboarding reads what editors say of items.
MAY_IMPORT["training/pipelines"] |= {"fusion_gateway.events.exporting", "servers.runtime.file_lock"}
MAY_IMPORT["training/pipelines"] |= {"fusion_gateway.items"}
MAY_IMPORT["training/artifacts"] |= {"servers.runtime.file_lock"}
# Clicks of simulated users have the intervals of measured outcomes.
MAY_IMPORT["training/simulation"] |= {"fusion_gateway.loop.intervals"}
# What a policy would have shown is computed by the code that shows it, and what came of it read from the gateway's log.
OF_THE_LOOP = {"fusion_gateway.catalog", "fusion_gateway.events", "fusion_gateway.loop", "servers.runtime.errors"}
MAY_IMPORT["training/off_policy"] |= OF_THE_LOOP | {"fusion_gateway.exploring", "fusion_gateway.ordering"}
MAY_IMPORT["training/pipelines"] |= OF_THE_LOOP
MAY_IMPORT["training/benchmark"] |= {"fusion_gateway.exploring"}
# Lists for everybody are made by the gateway's own code, with the models in its process in place of model servers.
MAY_IMPORT["training/pipelines/recommend.py"] = MAY_IMPORT["training/pipelines"] | {
    "fusion_gateway",
    "servers",
    "training.pipelines.batch_recommender",
    "training.pipelines.file_histories",
}
MAY_IMPORT["training/pipelines/batch_recommender.py"] = {
    "fusion_gateway",
    "servers",
    "training.pipelines.file_histories",
}
MAY_IMPORT["training/commands/recommend.py"] = MAY_IMPORT["training/commands"] | {
    "fusion_gateway.settings",
    "servers.runtime.settings",
    "training.commands.options",
}
# Networks and closed forms: they know nothing of files, checkpoints or progress.
MAY_IMPORT["training/models"] = {"training.features", "training.recipes", "training.errors"}
ROOMS = {"protos", "servers", "fusion_gateway", "training", "tests"}
EXTRAS = {
    "protos": set[str](),
    "servers": {"servers", "tracing"},
    "fusion_gateway": {"gateway", "console", "tracing"},
    "training": {"training"},
}
OF_ITS_HOST = {"triton_python_backend_utils"}  # exists inside Triton alone
SERVING = ("servers", "fusion_gateway")
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}


class Import(NamedTuple):
    file: Path
    name: str  # fully dotted, from the repository's root


def python_files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [file for file in files if "_pb2" not in file.name]


def imports(root: Path, folder: str) -> Iterator[Import]:
    """What the files of `folder` import; files with a row of their own in MAY_IMPORT are left to it."""
    own = [root / other for other in MAY_IMPORT if other != folder and other.startswith(folder)]
    for file in python_files(root / folder):
        if any(file.is_relative_to(other) for other in own):
            continue
        package = file.relative_to(root).parent.parts
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (Import(file, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                start = package[: len(package) + 1 - node.level] if node.level else ()
                module = ".".join([*start, *filter(None, [node.module])])
                yield from (Import(file, f"{module}.{alias.name}") for alias in node.names)


def inside(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def wrong_arrows(root: Path) -> list[str]:
    wrong = []
    for folder, allowed in MAY_IMPORT.items():
        itself = folder.removesuffix(".py").replace("/", ".")
        for file, name in imports(root, folder):
            if name.split(".")[0] in ROOMS and not inside(name, allowed | {itself}):
                wrong.append(f"{file.relative_to(root)} imports {name}")
    return wrong


def vague_names(root: Path) -> list[str]:
    tracked = [path for room in ROOMS for path in (root / room).rglob("*") if path.suffix in ("", ".py")]
    return [str(path.relative_to(root)) for path in tracked if path.stem.lower().strip("_") in VAGUE]


def unpicklings(root: Path) -> list[str]:
    """Where code on the serving path could run what a file says: pickles, torch.load, numpy with allow_pickle."""
    found = []
    for file in (file for room in SERVING for file in python_files(root / room)):
        where = file.relative_to(root)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load":
                found.append(f"{where}: torch.load")
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                found.append(f"{where}: allow_pickle")
    modules = (each for room in MAY_IMPORT if room.startswith(SERVING) for each in imports(root, room))
    return found + [f"{file.relative_to(root)}: {name}" for file, name in modules if inside(name, PICKLES)]


def installed_by(extras: set[str]) -> set[str]:
    """Distributions that installing `extras` brings, its dependencies' dependencies included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    if extras:
        waiting.append(Requirement(f"marquee[{','.join(extras)}]"))
    found: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonical(requirement.name)
        if name == "marquee":  # by the file, not as it is installed here
            optional = project["optional-dependencies"]
            waiting += [Requirement(line) for extra in requirement.extras for line in optional[extra]]
        elif name not in found:
            found.add(name)
            needs = map(Requirement, requires(name) or [])
            waiting += [need for need in needs if applies(need, {"", *requirement.extras})]
    return found


def applies(requirement: Requirement, extras: set[str]) -> bool:
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def repository(root: Path, file: str, source: str) -> Path:
    """A repository with one file."""
    (root / file).parent.mkdir(parents=True)
    (root / file).write_text(source)
    return root


def test_arrows_point_one_way() -> None:
    assert wrong_arrows(ROOT) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("servers/scorer.py", "from training.models import rating"),
        ("servers/runtime/health.py", "import servers.scorer"),
        ("servers/runtime/health.py", "from ..scorer import Scorer"),
        ("fusion_gateway/recommend.py", "from servers import scorer"),
        ("fusion_gateway/fusion/fused.py", "from fusion_gateway import policies"),
        ("fusion_gateway/catalog/title_search.py", "from fusion_gateway import parsing"),
        ("fusion_gateway/circuit_breaker.py", "from fusion_gateway.scorers import missing"),
        ("fusion_gateway/events/stored_event.py", "from fusion_gateway.events import schema"),
        ("fusion_gateway/events/store.py", "from fusion_gateway.scorers.client import Answer"),
        ("fusion_gateway/scorers/client.py", "from fusion_gateway.events.store import EventStore"),
        ("fusion_gateway/scorers/fan_out.py", "from fusion_gateway.recommend import Recommender"),
        ("fusion_gateway/terminal/local.py", "from fusion_gateway.gateway import gateway"),
        ("fusion_gateway/console/app.py", "from fusion_gateway.access import METADATA"),
        ("training/evaluation/late.py", "def late() -> None:\n    from servers.runtime import tensors"),
        ("training/__main__.py", "from servers import scorer"),
        ("training/commands/train.py", "import training.__main__"),
        ("training/benchmark/rating.py", "from training.commands.options import HOME"),
        ("training/pipelines/rating.py", "from training.benchmark import protocols"),
        ("training/evaluation/lists.py", "from training.pipelines import job"),
        ("training/artifacts/requests.py", "from training import evaluation"),
        ("training/artifacts/requests.py", "from training.models import linear"),
        ("training/models/linear.py", "from training.artifacts import requests"),
        ("training/models/linear.py", "from training.fitting.loop import fit"),
        ("training/models/rating.py", "from training.data import splits"),
        ("training/models/rating.py", "from training.fitting.loop import fit"),
        ("training/features/windows.py", "from training.artifacts.repository import latest"),
        ("training/fitting/loop.py", "from training.features import windows"),
        ("training/data/load.py", "from training import recipes"),
        ("training/recipes/rating.py", "from ..models import rating"),
        ("training/published.py", "from training.data import tables"),
        ("training/terminal.py", "from training import published"),
        ("training/progress.py", "from training.errors import DataError"),
        ("training/errors.py", "from training import terminal"),
        ("protos/marquee.py", "import tests.load"),
    ],
)
def test_a_wrong_arrow_is_noticed(tmp_path: Path, file: str, source: str) -> None:
    assert len(wrong_arrows(repository(tmp_path, file, source))) == 1


def test_an_arrow_that_is_allowed_is_no_finding(tmp_path: Path) -> None:
    source = "from fusion_gateway.fusion import fuse\nfrom protos.marquee import v1\nfrom training import recipes"
    assert wrong_arrows(repository(tmp_path, "training/pipelines/rating.py", source)) == []


def test_everything_in_training_has_its_layer() -> None:
    found = {file.relative_to(ROOT / "training").parts[0] for file in python_files(ROOT / "training")}
    assert found == {name for layer in LAYERS for name in layer} | {"__init__.py"}


def test_names_say_what_is_inside() -> None:
    assert vague_names(ROOT) == []


@pytest.mark.parametrize("file", ["servers/utils.py", "training/common/loss.py", "fusion_gateway/_base.py"])
def test_a_vague_name_is_noticed(tmp_path: Path, file: str) -> None:
    assert len(vague_names(repository(tmp_path, file, ""))) == 1


def test_nothing_on_the_serving_path_unpickles() -> None:
    assert unpicklings(ROOT) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('w')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import numpy as np\nFLAG = True\nnp.load('x', allow_pickle=FLAG)",
    ],
)
@pytest.mark.parametrize(
    "file", ["servers/artifact.py", "servers/runtime/tensors.py", "fusion_gateway/fusion/fused.py"]
)
def test_unpickling_is_noticed(tmp_path: Path, file: str, source: str) -> None:
    assert len(unpicklings(repository(tmp_path, file, source))) == 1


@pytest.mark.parametrize("room", EXTRAS)
def test_a_program_imports_only_what_its_extra_installs(room: str) -> None:
    """Its container holds nothing else."""
    here, distributions = installed_by(EXTRAS[room]), packages_distributions()
    used = {name.split(".")[0] for folder in MAY_IMPORT if folder.startswith(room) for _, name in imports(ROOT, folder)}
    outside = used - ROOMS - OF_ITS_HOST - stdlib_module_names
    missing = {name for name in outside if here.isdisjoint(map(canonical, distributions.get(name, [name])))}
    assert missing == set()


def test_an_extra_does_not_install_everything() -> None:
    assert "onnxruntime" in installed_by({"servers"})
    assert "torch" not in installed_by({"servers", "gateway"})


def test_scorers_run_without_the_protocols_message_classes() -> None:
    """Hosts such as MLServer and KServe bring their own copy, and two in a process fail at import."""
    source = "import sys, servers.loading, servers.signature; sys.exit('tritonclient' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source], cwd=ROOT).returncode == 0


def test_the_parent_of_workers_imports_little() -> None:
    """It stays as long as they do, and answers no call."""
    heavy = "{'faiss', 'grpc', 'numpy', 'onnxruntime', 'polars', 'sqlalchemy', 'tritonclient'}"
    source = f"import sys, servers.__main__, fusion_gateway.__main__; sys.exit(bool({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", source], cwd=ROOT).returncode == 0
