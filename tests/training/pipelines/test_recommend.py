"""Lists for everybody, beside those that a running gateway returns."""

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from fusion_gateway.terminal.local import import_once
from protos.marquee.v1 import items_pb2, recommender_pb2
from protos.marquee.v1.items_pb2_grpc import ItemsStub
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from tests.conftest import Published
from tests.servers.running import process, started
from training.__main__ import app
from training.recipes import SCORERS

K = 20


@dataclass(frozen=True)
class Gateway:
    """A running one."""

    address: str
    store: str
    repository: Path


@pytest.fixture(scope="module")
def gateway(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("gateway")
    store = f"sqlite:///{home}/events.db"
    asyncio.run(import_once(store, published.data / "events.csv"))
    command = [sys.executable, "-m", "fusion_gateway", f"--model-repository={published.repository}", "--grpc-port=0"]
    command += ["--metrics-port=0", f"--event-store={store}", "--exit-timeout-secs=0"]
    with ExitStack() as stack:
        for name in SCORERS:
            server = stack.enter_context(process(name, published.repository, "--exit-timeout-secs=0"))
            command.append(f"--scorer={name}={server.grpc_address}")
        yield Gateway(stack.enter_context(started(command)).grpc_address, store, published.repository)


def run(gateway: Gateway, out: Path, *flags: str) -> Result:
    where = ["--from-store", gateway.store, "--repository", str(gateway.repository), "--out", str(out)]
    return CliRunner().invoke(app, ["recommend", *where, "--k", str(K), *flags])


def lists(gateway: Gateway, out: Path, *flags: str) -> pl.DataFrame:
    result = run(gateway, out, *flags)
    assert result.exit_code == 0, result.output
    return pl.read_parquet(out)


def served(gateway: Gateway, users: list[str], policy: str) -> pl.DataFrame:
    rows = []
    with grpc.insecure_channel(gateway.address) as channel:
        stub = RecommenderStub(channel)
        for user in users:
            answer = stub.Recommend(recommender_pb2.RecommendRequest(user_id=user, k=K, policy=policy))
            rows += [(user, each.rank, each.item.id, each.score, answer.policy) for each in answer.items]
    return pl.DataFrame(rows, ["user", "rank", "item", "score", "policy"], orient="row")


@pytest.mark.parametrize(("policy", "one_round_items"), [("", 5000), ("cascade", 5000), ("rrf", 10)])
def test_they_are_the_gateways(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, one_round_items: int
) -> None:
    monkeypatch.setenv("MARQUEE_ONE_ROUND_ITEMS", str(one_round_items))  # else the catalog is small enough for one
    found = lists(gateway, tmp_path / "lists.parquet", *(["--policy", policy] if policy else []))
    users = found["user"].unique(maintain_order=True).to_list()
    expected = served(gateway, users, policy)
    assert len(users) == 80
    assert found.drop("score").equals(expected.drop("score").cast(found.drop("score").schema))
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)


def test_a_hidden_item_is_in_no_list(gateway: Gateway, tmp_path: Path) -> None:
    before = lists(gateway, tmp_path / "before.parquet")
    hidden = str(before["item"][0])
    with grpc.insecure_channel(gateway.address) as channel:
        ItemsStub(channel).HideItems(items_pb2.HideItemsRequest(item_ids=[hidden]))
    try:
        after = lists(gateway, tmp_path / "after.parquet")
    finally:
        with grpc.insecure_channel(gateway.address) as channel:
            ItemsStub(channel).ShowItems(items_pb2.ShowItemsRequest(item_ids=[hidden]))
    assert hidden not in after["item"]
    assert len(after) == len(before)


def test_users_of_a_file_have_lists_also_those_without_events(gateway: Gateway, tmp_path: Path) -> None:
    known = lists(gateway, tmp_path / "all.parquet")["user"][0]
    (tmp_path / "users").write_text(f"\ufeffnobody\r\n {known} \n\nnobody\n")
    found = lists(gateway, tmp_path / "lists.parquet", "--users", str(tmp_path / "users"))
    assert found["user"].unique(maintain_order=True).to_list() == ["nobody", known]


def test_events_of_a_file_take_the_place_of_a_store(gateway: Gateway, published: Published, tmp_path: Path) -> None:
    from_store = lists(gateway, tmp_path / "store.parquet")
    from_file = lists(gateway, tmp_path / "file.parquet", "--events", str(published.data / "events.csv"))
    assert from_file.drop("score").equals(from_store.drop("score"))


def test_the_file_says_when_and_by_what_it_was_made(gateway: Gateway, tmp_path: Path) -> None:
    began = int(time.time())
    lists(gateway, tmp_path / "lists.parquet")
    facts = pl.read_parquet_metadata(tmp_path / "lists.parquet")
    assert began <= int(facts["time"]) <= time.time()
    assert "'rating': 1" in facts["versions"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--policy", "best"], "policy: there is no 'best'"),
        (["--scenario", "home"], "scenario"),
        (["--from-store", "sqlite:///nowhere.db"], "there is no file 'nowhere.db'"),
        (["--users", "nowhere"], "nowhere is missing"),
        (["--repository", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_made_is_one_line_and_leaves_no_file(
    gateway: Gateway, tmp_path: Path, flags: list[str], says: str
) -> None:
    result = run(gateway, tmp_path / "lists.parquet", *flags)
    assert result.exit_code != 0
    assert says in str(result.exception)
    assert list(tmp_path.iterdir()) == []
