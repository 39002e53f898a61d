"""The same queries offline and through a running gateway."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from tests.conftest import Published
from tests.servers.running import process, started
from training.__main__ import app
from training.data.load import load_dataset
from training.data.splits import Split, leave_last_out
from training.errors import TrainingError
from training.evaluation.through_gateway import Comparison, K, through_gateway
from training.pipelines.onboard import onboard, read_new
from training.recipes import SCORERS


@pytest.fixture(scope="module")
def gateway(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(published.repository, tmp_path_factory.mktemp("gateway")) as address:
        yield address


@contextmanager
def served(repository: Path, home: Path) -> Iterator[str]:
    """A gateway's address; it and the model servers are processes."""
    command = [sys.executable, "-m", "fusion_gateway", f"--model-repository={repository}", "--grpc-port=0"]
    command += ["--metrics-port=0", f"--event-store=sqlite:///{home}/events.db", "--exit-timeout-secs=0"]
    with ExitStack() as stack:
        for name in SCORERS:
            server = stack.enter_context(process(name, repository, "--exit-timeout-secs=0"))
            command.append(f"--scorer={name}={server.grpc_address}")
        yield stack.enter_context(started(command)).grpc_address


def compared(published: Published, address: str, repository: Path | None = None) -> Comparison:
    dataset = load_dataset(published.data)
    split = leave_last_out(dataset.events)
    few = Split(split.name, split.train, split.validation, split.test.head(40))
    return through_gateway(address, dataset, few, repository or published.repository)


def test_the_gateway_gives_what_is_evaluated(published: Published, gateway: str) -> None:
    comparison = compared(published, gateway)
    metrics = comparison.metrics()
    assert comparison.degraded == 0
    np.testing.assert_allclose(metrics["offline"], metrics["gateway"], atol=1e-6)
    assert metrics["gateway"].to_numpy().max() > 0
    assert comparison.differences().is_empty()


def test_added_items_are_compared_too(published: Published, tmp_path: Path) -> None:
    repository = Path(shutil.copytree(published.repository, tmp_path / "repository"))
    (tmp_path / "new.csv").write_text("id,title,genres\nfresh,Fresh,Comedy\n")
    onboard(read_new(tmp_path / "new.csv", None), repository)
    arguments = ["evaluate", "--data", str(published.data), "--repository", str(repository)]
    with served(repository, tmp_path) as address:
        result = CliRunner().invoke(app, [*arguments, "--through", address], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    printed = " ".join(result.output.split())
    assert " 0 degraded answers" in printed
    assert "0 users with another rank or another list of ten" in printed


def test_another_repository_is_no_comparison(published: Published, gateway: str, tmp_path: Path) -> None:
    for model in (*SCORERS, "fusion", "catalog"):
        (tmp_path / model).mkdir()
        for version in ("1", "2"):
            (tmp_path / model / version).symlink_to(published.repository / model / "1")
    with pytest.raises(TrainingError, match="version 1, and the newest in .* is 2: start it on this repository"):
        compared(published, gateway, tmp_path)


def test_an_item_that_only_the_gateway_knows_is_named(published: Published, gateway: str) -> None:
    dataset = load_dataset(published.data)
    split = leave_last_out(dataset.events)
    test = split.test.head(2)
    watched = dataset.events.filter(pl.col("user").is_in(test["user"].to_list()))["item"]
    few = replace(dataset, items=dataset.items.filter(pl.col("number").is_in(watched.to_list())))
    with pytest.raises(TrainingError, match="it recommends item .*, which neither the data nor the catalog in .* has"):
        through_gateway(gateway, few, replace(split, test=test), published.repository)


def test_no_gateway_is_one_line(published: Published) -> None:
    with pytest.raises(TrainingError, match="--through 127.0.0.1:1: UNAVAILABLE"):
        compared(published, "127.0.0.1:1")


def test_differences_are_listed_per_user() -> None:
    offline = np.zeros((3, K), np.int64)
    offline[:, :12] = np.arange(1, 13)
    gateway = offline.copy()
    gateway[0, :2] = (2, 1)  # another order among the first ten
    gateway[1:, 10:12] = (12, 11)  # behind the tenth; the target of the second user is one of the two
    comparison = Comparison(["a", "b", "c"], np.array([5, 11, 5]), offline, gateway, 0)
    assert comparison.differences().rows() == [("a", 5, 5, 5, 1), ("b", 11, 11, 12, 11)]
    assert comparison.metrics()["users"].to_list() == [0, 0, 1]
