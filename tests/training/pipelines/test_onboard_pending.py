"""What editors have upserted, from the store into a repository."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from fusion_gateway.items.documents import Upsert, check_stored
from fusion_gateway.items.store import ItemStore, StoredItem
from servers.runtime.errors import ConfigurationError
from servers.runtime.file_lock import locked
from tests.conftest import Published
from tests.servers.running import ROOT
from training.__main__ import app
from training.artifacts.extending import publish_extended
from training.artifacts.repository import KEPT_EXTENDED, latest, read_manifest, republish, versions
from training.data.load import load_dataset
from training.errors import TrainingError
from training.features.content_map import ContentMap
from training.pipelines import onboard_pending
from training.pipelines.onboard import Onboarded
from training.pipelines.onboard_pending import Worker
from training.pipelines.onboard_vectors import item_numbers
from training.recipes import SCORERS


@pytest.fixture
def repository(published: Published, tmp_path: Path) -> Path:
    """A copy that the test may add to."""
    return Path(shutil.copytree(published.repository, tmp_path / "repository"))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ItemStore]:
    opened = ItemStore(f"sqlite:///{tmp_path}/events.db", max_writes=4)
    await opened.open()
    yield opened
    await opened.close()


def item(item_id: str, poster: bytes | None = None, **fields: Any) -> Upsert:
    return Upsert(item_id, json.dumps({"title": f"Film {item_id}", "genres": ["Comedy"], **fields}), poster, {})


async def refused(store: ItemStore, *ids: str) -> dict[str, str]:
    return {item_id: stored.refused for item_id, stored in (await store.get(ids)).items()}


async def step(worker: Worker) -> Onboarded:
    done = await worker.step()
    assert done is not None
    return done


def ids_in(folder: Path) -> list[str]:
    return pl.read_parquet(folder / "items.parquet")["id"].to_list()


async def test_a_bad_item_holds_up_no_other(store: ItemStore, repository: Path, published: Published) -> None:
    poster = Path(load_dataset(published.data).items["poster"][0]).read_bytes()
    no_year = Upsert("no year", '{"year": 0}', None, {})
    unreadable = Upsert("unreadable", '{"title": 7}', None, {})
    bomb = item("bomb", poster[: len(poster) // 2])
    long = item("a/ä" * 60, poster)
    await store.upsert([no_year, item("a", poster), unreadable, long, bomb, item("b", year=2020)], {})
    await store.upsert([item("gone")], {})
    await store.delete(["gone"], [])
    done = await step(worker := Worker(store, repository))
    assert done.items["id"].to_list() == ["a", long.id, "b"]
    reasons = await refused(store, "no year", "unreadable", "bomb", "a")
    assert reasons["no year"] == "item.year: must be 1 to 9999, not 0"
    assert "title" in reasons["unreadable"]
    assert "item.poster cannot be decoded as JPEG, PNG, WEBP" in reasons["bomb"]
    assert reasons["a"] == ""
    assert ids_in(latest(repository, "catalog"))[-3:] == ["a", long.id, "b"]
    assert pl.read_parquet(latest(repository, "catalog") / "items.parquet")["poster"][-3:].to_list() == [""] * 3
    for model in SCORERS:
        assert item_numbers(latest(repository, model))[-3:].tolist() == done.items["number"].to_list()
    assert await worker.step() is None
    await store.upsert([item("bomb")], {})
    assert (await step(worker)).items["id"].to_list() == ["bomb"]


async def test_an_item_without_a_finite_vector_is_refused(
    store: ItemStore, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ContentMap.__call__

    def broken(self: ContentMap, items: pl.DataFrame) -> np.ndarray:
        if (items["title"] == "Raises").any():
            raise ValueError("no words")
        vectors = read(self, items)
        vectors[(items["title"] == "Infinite").to_numpy(), 0] = np.inf
        return vectors

    monkeypatch.setattr(ContentMap, "__call__", broken)
    await store.upsert([item("x", title="Infinite"), item("y", title="Raises"), item("z")], {})
    done = await step(Worker(store, repository))
    assert done.items["id"].to_list() == ["z"]
    reasons = await refused(store, "x", "y", "z")
    assert "a vector of it is not finite" in reasons["x"]
    assert "no words" in reasons["y"]
    assert reasons["z"] == ""
    assert ids_in(latest(repository, "catalog"))[-2:] == [ids_in(repository / "catalog" / "1")[-1], "z"]
    await store.upsert([item("alone", title="Raises")], {})
    assert (await step(Worker(store, repository))).published == []
    assert "no words" in (await refused(store, "alone"))["alone"]


async def test_what_a_training_has_lost_comes_back(store: ItemStore, repository: Path) -> None:
    await store.upsert([item("a"), item("b")], {})
    first = (await step(worker := Worker(store, repository))).items["number"].to_list()
    for model in ("catalog", *SCORERS):
        republish(repository / model / "1", repository)
    again = (await step(worker)).items
    assert again["id"].to_list() == ["a", "b"]
    assert again["number"].to_list() == [number + 2 for number in first]
    assert pl.read_parquet(latest(repository, "catalog") / "items.parquet")["number"].is_sorted()


async def test_models_get_what_the_catalog_has_already(store: ItemStore, repository: Path) -> None:
    await store.upsert([item("a")], {})
    number = (await step(Worker(store, repository))).items["number"][0]
    shutil.rmtree(latest(repository, "sequential"))  # as after a kill before it was published
    await store.upsert([Upsert("a", '{"year": 2020, "clear": ["director"]}', None, {})], {})
    done = await step(Worker(store, repository))
    assert [folder.parent.name for folder in done.published] == ["sequential"]
    assert item_numbers(latest(repository, "sequential"))[-1] == number
    assert done.items.select("title", "year", "genres").rows() == [("Film a", 2020, ["Comedy"])]
    assert await Worker(store, repository).step() is None


async def test_a_model_that_was_trained_meanwhile_is_not_taken_back(
    store: ItemStore, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained_meanwhile(folder: Path, *rest: Any) -> Path:
        if versions(repository, "rating") == [1]:
            republish(repository / "rating" / "1", repository)
        return publish(folder, *rest)

    publish: Callable[..., Path] = publish_extended
    monkeypatch.setattr("training.pipelines.onboard.publish_extended", trained_meanwhile)
    await store.upsert([item("a")], {})
    worker = Worker(store, repository)
    with pytest.raises(TrainingError, match="rating/2 was published while .*rating/1 was added to"):
        await worker.step()
    await step(worker)
    assert [read_manifest(repository / "rating" / str(number)).made_from for number in (2, 3)] == [0, 2]
    assert await worker.step() is None


@pytest.mark.parametrize(
    ("limits", "batches"),
    [
        ({"MAX_BATCH": 2, "ROWS_AT_ONCE": 1}, [2, 2, 1]),
        ({"MAX_POSTER_BYTES": 1, "POSTERS_AT_ONCE": 3}, [3, 2]),
    ],
    ids=["items", "posters"],
)
async def test_batches_have_limits_and_old_versions_are_deleted(
    store: ItemStore,
    repository: Path,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, int],
    batches: list[int],
) -> None:
    for name, limit in limits.items():
        monkeypatch.setattr(onboard_pending, name, limit)
    shutil.rmtree(repository / "visual_temporal")
    poster = Path(load_dataset(published.data).items["poster"][0]).read_bytes()
    await store.upsert([item(str(number), poster) for number in range(900, 905)], {})
    worker = Worker(store, repository)
    assert [len((await step(worker)).items) for _ in batches] == batches
    assert await worker.step() is None
    for number in range(3):
        await store.upsert([item(f"more {number}")], {})
        await step(worker)
    last = 1 + len(batches) + 3
    assert versions(repository, "rating") == [1, *range(last + 1 - KEPT_EXTENDED, last + 1)]


async def test_a_refusal_leaves_a_later_upsert_alone(
    store: ItemStore, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check: Callable[..., None] = check_stored

    def upserted_meanwhile(*document: Any) -> None:
        with sqlite3.connect(tmp_path / "events.db") as connection:
            connection.execute("UPDATE items SET version = version + 1, document = ?", [item("a").document])
            connection.execute("UPDATE item_changes SET version = version + 1")
        connection.close()
        check(*document)

    await store.upsert([item("a", year=0)], {})
    monkeypatch.setattr(onboard_pending, "check_stored", upserted_meanwhile)
    worker = Worker(store, repository)
    assert "year" in (await step(worker)).refused["a"]
    monkeypatch.undo()
    stored = (await store.get(["a"]))["a"]
    assert replace(stored, version=0, updated=0) == StoredItem("a", document=item("a").document)
    assert (await step(worker)).items["id"].to_list() == ["a"]


async def test_one_that_is_killed_or_ended_is_followed_by_another(
    store: ItemStore, repository: Path, tmp_path: Path
) -> None:
    """The first is killed when it has published the catalog and not yet all models, the second gets SIGTERM."""
    await store.upsert([item("a"), item("b")], {})
    flags = ["--from-store", f"sqlite:///{tmp_path}/events.db", "--repository", str(repository), "--every", "0.1"]
    command = [sys.executable, "-m", "training", "onboard", "--follow", *flags]
    with subprocess.Popen(command, cwd=ROOT) as first, subprocess.Popen(command, cwd=ROOT) as second:
        try:
            until(lambda: len(versions(repository, "catalog")) > 1)
            killed, other = (
                (first, second) if str(first.pid) in (repository / ".onboarding").read_text() else (second, first)
            )
            killed.kill()
            killed.wait(10)
            until(lambda: all(len(versions(repository, model)) > 1 for model in SCORERS))
            other.terminate()
            assert other.wait(10) == 0
        finally:
            first.kill()
            second.kill()
    assert not list(repository.glob("*/*.partial"))
    assert {model: versions(repository, model) for model in SCORERS} == {model: [1, 2] for model in SCORERS}
    assert ids_in(latest(repository, "catalog"))[-2:] == ["a", "b"]
    assert await Worker(store, repository).step() is None


def until(is_true: Callable[[], bool], seconds: float = 60) -> None:
    stop = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < stop
        time.sleep(0.02)


def test_it_runs_once_unless_another_does(tmp_path: Path, repository: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    (tmp_path / "new.db").touch()
    flags = ["onboard", "--from-store", f"sqlite:///{tmp_path}/new.db", "--repository", str(repository)]
    assert CliRunner().invoke(app, flags, catch_exceptions=False).exit_code == 0
    assert versions(repository, "catalog") == [1]
    with (
        locked(repository / onboard_pending.LOCK, ""),
        pytest.raises(ConfigurationError, match="is held by process .* wait until it ends"),
    ):
        CliRunner().invoke(app, flags, catch_exceptions=False)
    assert signal.getsignal(signal.SIGINT) == handler


@pytest.mark.parametrize(("store", "models"), [("events.db", "mistyped/models"), ("mistyped/events.db", "models")])
def test_what_is_not_there_is_not_created(store: str, models: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "events.db").touch()
    flags = ["--from-store", f"sqlite:///{tmp_path}/{store}", "--repository", f"{tmp_path}/{models}"]
    with pytest.raises(ConfigurationError, match="there is no (file|folder) .*mistyped"):
        CliRunner().invoke(app, ["onboard", *flags], catch_exceptions=False)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["events.db", "models"]
    assert not (tmp_path / "events.db").stat().st_size


async def test_one_that_follows_goes_on_whatever_fails(
    store: ItemStore, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = threading.Event()
    steps = iter([RuntimeError("of a library"), KeyError("x")])

    async def step(self: Worker) -> None:
        if (error := next(steps, None)) is not None:
            raise error
        stopping.set()

    monkeypatch.setattr(Worker, "step", step)
    await onboard_pending._follow(Worker(store, repository), repository, 0.01, stopping)


@pytest.mark.parametrize("flags", [["--follow", "--items", "{csv}"], ["--posters", "{folder}"]])
def test_flags_that_do_not_go_together(flags: list[str], tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("id,title\n")
    given = [flag.format(csv=tmp_path / "new.csv", folder=tmp_path) for flag in flags]
    assert CliRunner().invoke(app, ["onboard", *given]).exit_code == 2
