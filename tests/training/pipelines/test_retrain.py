"""Retraining from an event store: what is published, what is refused, and what goes on after a kill."""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from fusion_gateway.events.store import EventStore
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.fusion import Policy
from fusion_gateway.fusion.estimate_names import digest
from servers.runtime.errors import ConfigurationError
from servers.runtime.file_lock import locked
from tests.servers.running import ROOT
from training import recipes
from training.__main__ import app
from training.artifacts.repository import known_numbers, latest, read_manifest, republish, verify, versions
from training.data.dataset import EVENTS
from training.evaluation.measure import read_policy
from training.evaluation.newest_slice import FUSED, Compared, Queries
from training.off_policy.estimators import Estimate
from training.off_policy.overlap import Overlap
from training.pipelines import retrain
from training.pipelines.fitted_policies import carry_on
from training.pipelines.off_policy import Evaluated, Row, publish_fitted
from training.pipelines.retrain_loss import note_loss, read_loss
from training.recipes.bounds import Bounds
from training.recipes.fusion import FusionRecipe
from training.recipes.linear import LinearRecipe

USERS, ITEMS, TASTES, HOURS = 120, 60, 4, 1500
FIRST = 1000
"""Events of the first run."""
START, HOUR = 1_600_000_000, 3600
MODELS = ("catalog", "linear", "fusion")
LINEAR = LinearRecipe("good", recent=10, ease_penalty=10, ridge=10)
SPOILED = replace(LINEAR, name="spoiled", rank=1, bounds=Bounds(max_events=60))
FITTED = Policy({"linear": 0.25, "popularity": 1.0})
EQUAL = FusionRecipe(min_users=USERS + 1)
"""Nothing is fitted."""
RECIPES = {
    "catalog": dict.fromkeys(("good", "spoiled"), recipes.CATALOG["default"]),
    "linear": {"good": lambda: LINEAR, "spoiled": lambda: SPOILED},
    "fusion": dict.fromkeys(("good", "spoiled"), lambda: EQUAL),
}


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, and what is on disk stays."""


def invented() -> list[StoredEvent]:
    """One event an hour of some user, who likes one of TASTES kinds of items; oldest first. The serving versions do not
    know the newest items.
    """
    random = np.random.default_rng(5)
    events = []
    for hour, user in enumerate(random.integers(0, USERS, HOURS).tolist()):
        item = user % TASTES + TASTES * int(random.integers(0, ITEMS // TASTES))
        if hour > FIRST and random.random() < 0.05:
            item += ITEMS
        rating = float(random.integers(6, 11)) / 2
        events.append(StoredEvent(f"u{user}", f"i{item}", rating, START + hour * HOUR, f"e{hour}"))
    return events


def store(url: str, events: list[StoredEvent]) -> None:
    async def record() -> None:
        store = EventStore(url, 10_000)
        await store.open()
        await store.import_all(events)
        await store.close()

    asyncio.run(record())


@dataclass(frozen=True)
class Shop:
    """A store of events, and the repository that is retrained from it."""

    home: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.home}/events.db"

    @property
    def repository(self) -> Path:
        return self.home / "repository"

    def retrain(self, recipe: str, *flags: str) -> Result:
        arguments = ["retrain", "--from-store", self.url, "--repository", str(self.repository), "--recipe", recipe]
        return CliRunner().invoke(app, [*arguments, *flags], catch_exceptions=False)

    def versions(self) -> list[list[int]]:
        return [versions(self.repository, model) for model in MODELS]

    def report(self, result: Result) -> dict[str, object]:
        """As JSON; the page lies beside it."""
        page = Path(result.stdout.strip().rpartition("report in ")[2])
        assert "verdict" in page.read_text()
        found: dict[str, object] = json.loads((page.parent / "report.json").read_text())
        return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The tests of this module are what happens to it, in their order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "RECIPES", RECIPES)
        yield Shop(tmp_path_factory.mktemp("shop"))


def test_a_first_run_that_is_killed_goes_on_and_publishes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StoredEvent("u1", "only shown", None, START, "shown", "impression")
    dismissed = StoredEvent("u1", "dismissed", None, START, "dismissed", "dismiss")
    store(shop.url, [*invented()[:FIRST], shown, dismissed])
    with monkeypatch.context() as patch:
        patch.setattr("training.pipelines.fusion.train_fusion", killed)
        with pytest.raises(Killed):
            shop.retrain("good")
    assert shop.versions() == [[], [], []]
    run = shop.repository / retrain.HOME / "run"
    assert {"impression", "dismiss"}.isdisjoint(pl.read_parquet(run / "events.parquet")["type"])
    for done in ("export_events", "validate"):
        monkeypatch.setattr(retrain, done, killed)
    monkeypatch.setattr("training.pipelines.linear.train_linear", killed)
    result = shop.retrain("good")
    assert (result.exit_code, shop.versions()) == (0, [[1], [1], [1]])
    assert "going on with the run of" in result.stderr
    assert "linear done before" in result.stderr
    assert "Published: nothing was serving" in result.stdout
    assert {"only shown", "dismissed"}.isdisjoint(known_numbers(shop.repository))
    assert [path.name for path in run.iterdir()] == ["run.json"]


def killed(*_: object) -> NoReturn:
    raise Killed


def test_a_spoiled_recipe_is_refused(shop: Shop) -> None:
    store(shop.url, invented())
    before = (shop.home / "events.db").read_bytes()
    alone = shop.home / "alone.yaml"
    alone.write_text("default: alone\npolicies: {alone: {weights: {linear: 1}}}\n")
    result = shop.retrain("spoiled", "--policies", str(alone))
    print(result.output)
    assert f"policy   alone of {alone} on both sides" in result.stdout
    assert (result.exit_code, shop.versions()) == (3, [[1], [1], [1]])
    assert "Not published: it is worse than what serves: -" in result.stdout
    assert (shop.home / "events.db").read_bytes() == before
    report = shop.report(result)
    assert report["compared"][-1]["high"] < 0  # type: ignore[index]
    assert "published" not in report


def test_policies_fitted_on_a_log_are_published(shop: Shop) -> None:
    row = Row("doubly robust", Estimate(0.5, 0.4, 0.6), Estimate(0, 0, 0))
    found = Overlap(0, 0.0, row.value, 0.0, 0.0, 0.0)
    publish_fitted(shop.repository, "fitted on clicks", FITTED, Evaluated([row], found, 0, 0, {}), "click")
    assert shop.versions() == [[1], [1], [1, 2]]


def test_a_good_recipe_is_published_once_however_often_it_is_killed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_is_killed(folder: Path, repository: Path) -> Path:
        return republish(folder, repository) if "linear" not in str(folder) else killed()

    with monkeypatch.context() as patch:
        patch.setattr(retrain, "republish", one_is_killed)
        with pytest.raises(Killed):
            shop.retrain("good")
    assert shop.versions() == [[1, 2], [1], [1, 2]]
    result = shop.retrain("good")
    print(result.output)
    assert result.exit_code == 0
    assert shop.versions() == [[1, 2], [1, 2], [1, 2, 3]]
    assert "Published: it is not worse than what serves: " in result.stdout
    assert (shop.repository / retrain.HOME / "loss.json").is_file()
    for model in MODELS:
        verify(latest(shop.repository, model))
    assert "carried  on, as they were, policies fitted on logged outcomes: fitted on clicks" in result.stdout
    assert "the published default; a gateway with a file of policies serves others" in result.stdout
    folder = latest(shop.repository, "fusion")
    assert read_policy(folder / "policies.yaml", "fitted on clicks")[1] == FITTED
    name = f"fitted on clicks {digest(FITTED)}"
    estimates = [each.name for each in read_manifest(folder).metrics if each.protocol.startswith("off-policy")]
    assert estimates == [name, f"{name} low", f"{name} high"]


def test_a_fitted_policy_is_replaced_by_one_of_its_name(shop: Shop, tmp_path: Path) -> None:
    shutil.copytree(shop.repository, tmp_path / "old")
    shutil.copytree(shop.repository, tmp_path / "new")
    serving, candidate = latest(tmp_path / "old", "fusion"), tmp_path / "new"
    assert carry_on(serving, candidate) == ([], [])
    found = Overlap(0, 0.0, Estimate(0, 0, 0), 0.0, 0.0, 0.0)
    row = Row("doubly robust", Estimate(0.1, 0, 1), Estimate(0, 0, 0))
    other = Evaluated([row], found, 0, 0, {})
    folder = publish_fitted(candidate, "fitted on clicks", replace(FITTED, normalizer="rank"), other, "like")
    assert carry_on(serving, candidate) == ([], ["fitted on clicks"])
    assert latest(candidate, "fusion") == folder


COMPARED = Compared(FUSED, 100, 0.11, 0.1)


@pytest.mark.parametrize(
    ("low", "high", "exit_code", "reason"),
    [
        (0.001, 0.02, 0, "it is not worse than what serves: "),
        (-0.009, 0.03, 0, "nothing tells whether it is worse, and if, then within the margin of 10%: "),
        (-0.009, -0.001, 3, "it is worse than what serves: "),
        (-0.011, 0.03, 4, "it may be worse than what serves by more than 0.0100, the margin of 10%: "),
        (-0.2, 0.2, 4, "it may be worse"),
        (-0.03, -0.001, 3, "it is worse than what serves: "),
    ],
)
def test_what_may_be_worse_by_more_than_the_margin_is_refused(
    low: float, high: float, exit_code: int, reason: str
) -> None:
    compared = replace(COMPARED, difference=(low + high) / 2, low=low, high=high)
    verdict = retrain.judge(compared, 0.1)
    assert verdict.exit_code == exit_code
    assert verdict.reason.startswith(reason)


def test_small_losses_do_not_add_up(tmp_path: Path) -> None:
    compared, serving = replace(COMPARED, difference=-0.003, low=-0.007, high=0.001), {"rating": 4}
    assert retrain.judge(compared, 0.1, lost=0.02).exit_code == 0
    verdict = retrain.judge(compared, 0.1, lost=0.05)
    assert verdict.exit_code == 4
    assert "by more than 0.0050, the margin of 10%, 5.0% of which the versions before have lost: " in verdict.reason
    note_loss(tmp_path, serving, 0.05)
    assert read_loss(tmp_path, serving) == 0.05
    assert read_loss(tmp_path, {"rating": 5}) == 0  # a person has published another


def test_the_report_says_what_each_side_has_seen_and_neither_saw_the_slice(shop: Shop) -> None:
    newest = max((shop.repository / retrain.HOME / "reports").iterdir()) / "report.json"
    report = json.loads(newest.read_text())
    after = report["held_out"]["after"]
    for side in ("seen", "candidate"):
        assert [each["model"] for each in report[side]] == list(MODELS)
        assert all(START <= each["first"] < each["last"] <= after for each in report[side])
    published = read_manifest(latest(shop.repository, "linear")).data
    assert published.last_event_time <= after < report["data"]["last"]
    assert report["seen"][1]["fingerprint"] != report["candidate"][1]["fingerprint"] == published.fingerprint
    assert report["held_out"]["compared"] >= 30


def test_an_item_that_the_catalog_lacks_is_found_by_nobody(shop: Shop) -> None:
    number = known_numbers(shop.repository)
    history = pl.DataFrame([("u1", number["i1"], 4.0, START)], EVENTS, orient="row")
    targets = pl.DataFrame(
        [("u1", 10**6, None, START + 1), ("u1", number["i5"], None, START + 1)], EVENTS, orient="row"
    )
    found = Queries(targets, history).ndcg(shop.repository)
    assert found.keys() == {"linear", "fused"}
    assert all(values[0] == 0 and len(values) == 2 for values in found.values())
    found = Queries(targets.head(1), history).ndcg(shop.repository)
    assert {name: values.tolist() for name, values in found.items()} == {"linear": [0], "fused": [0]}


def test_without_new_events_nothing_is_trained(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain, "train_all", killed)
    result = shop.retrain("good", "--min-users", "100")
    assert result.exit_code == 4
    assert "of at least 100: wait for more events" in result.stdout
    assert "the serving versions have seen them" in result.stdout


def test_harmful_data_are_refused_with_a_report(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain, "train_all", killed)
    store(shop.url, [StoredEvent("u1", "i1", 4.0, 4_000_000_000)])
    result = shop.retrain("good", "--always")
    assert result.exit_code == 4
    assert "the data would corrupt training: 1 × time in the future" in result.stdout
    assert shop.report(result)["problems"]


HOLD = """
import sys, time
from pathlib import Path
from servers.runtime.file_lock import locked
with locked(Path(sys.argv[1]), ""):
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_never_run_and_a_dead_one_does_not_stand_in_the_way(shop: Shop) -> None:
    lock = shop.repository / retrain.HOME / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(
            ConfigurationError, match=rf"lock is held by process {holder.pid} on .*: wait until it ends"
        ):
            shop.retrain("good")
        holder.send_signal(signal.SIGKILL)
    with locked(lock, ""):
        pass
    assert lock.exists()


def test_a_missing_store_is_one_line(shop: Shop) -> None:
    flags = ["retrain", "--from-store", f"sqlite:///{shop.home}/none.db", "--repository", str(shop.repository)]
    with pytest.raises(ConfigurationError, match="there is no file"):
        CliRunner().invoke(app, flags, catch_exceptions=False)
    assert not (shop.home / "none.db").exists()
