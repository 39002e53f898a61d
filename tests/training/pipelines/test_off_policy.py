"""Off-policy evaluation of a log that a real gateway wrote: against the lists that the gateway makes, and the truth."""

import asyncio
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from fusion_gateway.catalog.catalog import load_catalog
from fusion_gateway.events.event_types import STANDARD
from fusion_gateway.events.stored_event import StoredEvent
from fusion_gateway.fusion import Policy
from fusion_gateway.fusion.estimate_names import digest
from fusion_gateway.policies import load_policies
from fusion_gateway.published_models import PublishedModels
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.repository import Repository
from tests.servers.running import process, started
from tests.training.pipelines.test_retrain import store
from training.__main__ import app
from training.artifacts.repository import latest, read_manifest, verify
from training.errors import TrainingError
from training.evaluation.measure import default_policy, read_policy
from training.off_policy.answers import Answers, Source
from training.off_policy.histories import histories as known_of
from training.off_policy.logged import Logged
from training.pipelines.off_policy import LoggedOutcomes, event_types, outcome_metric, publish_fitted

USERS, ITEMS, TASTES, K = 550, 8, 2, 3
EXPLORATION = 0.67
POPULAR = {"weights": {"popularity": 1.0}, "normalizer": "none"}
START = 1_600_000_000


def likes(user: int, item: int) -> bool:
    return user % TASTES == item % TASTES


def histories() -> list[StoredEvent]:
    """Four events a user, mostly of items of their taste; the first items are the most popular ones."""
    random = np.random.default_rng(0)
    events = []
    for user in range(USERS):
        chance = np.array([(4.0 if likes(user, item) else 0.5) / (1 + item / 8) for item in range(ITEMS)])
        for time, item in enumerate(random.choice(ITEMS, 4, replace=False, p=chance / chance.sum()).tolist()):
            events.append(StoredEvent(f"u{user}", f"i{item}", None, START + 1000 * user + time, f"e{user}-{time}"))
    return events


@dataclass
class Loop:
    """A repository, the database that a gateway has written, and what it would have shown."""

    home: Path
    truth: float
    """Expected clicks an answer where each user gets the list of the policy POPULAR, without exploration."""

    @property
    def repository(self) -> Path:
        return self.home / "repository"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.home}/events.db"

    def run(self, *flags: str) -> Result:
        given = ["off-policy", "--repository", str(self.repository), "--log", self.url]
        return CliRunner().invoke(app, [*given, *flags])

    def outcomes(self, exploration: float) -> LoggedOutcomes:
        source = Source(
            serving_log=self.url,
            event_store=self.url,
            metric=outcome_metric("click", 24),
            since=0.0,
            until=1e12,
            max_answers=10_000,
        )
        return LoggedOutcomes(self.repository, source, exploration)

    def policies(self) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load((latest(self.repository, "fusion") / "policies.yaml").read_text())
        return found


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    home = tmp_path_factory.mktemp("loop")
    events = histories()
    (home / "data").mkdir()
    lines = [f"{event.user_id},{event.item_id},{event.time}" for event in events]
    (home / "data" / "events.csv").write_text("\n".join(["user,item,time", *lines]))
    repository = home / "repository"
    for model in ("catalog", "linear", "fusion"):
        flags = ["--recipe", "small", "--split", "none", "--data", str(home / "data"), "--repository", str(repository)]
        assert CliRunner().invoke(app, ["train", model, *flags]).exit_code == 0
    (home / "popular.yaml").write_text(yaml.safe_dump({"default": "popular", "policies": {"popular": POPULAR}}))
    store(f"sqlite:///{home}/events.db", events)
    program = [sys.executable, "-m", "fusion_gateway", f"--model-repository={repository}", "--grpc-port=0"]
    program += ["--metrics-port=0", f"--event-store=sqlite:///{home}/events.db", "--log-level=warning"]
    with (
        process("linear", repository) as linear,
        started([*program, f"--scorer=linear={linear.grpc_address}"]) as gateway,
        grpc.insecure_channel(gateway.grpc_address) as channel,
    ):
        truth = served(RecommenderStub(channel))
    # The gateway has stopped, so what it logs is written.
    return Loop(home, truth)


def served(gateway: RecommenderStub) -> float:
    """Asks for everybody, clicks at random, and returns the truth of the popular lists."""
    random = np.random.default_rng(1)
    clicks, truth = [], []
    for user in range(USERS):
        request = pb.RecommendRequest(user_id=f"u{user}", k=K, exploration=EXPLORATION, seed=user)
        answer = gateway.Recommend(request)
        for ranked in answer.items:
            if random.random() < chance(user, ranked):
                event = pb.Event(user_id=f"u{user}", item_id=ranked.item.id, type="click")
                event.recommendation_id = answer.recommendation_id
                clicks.append(event)
        popular = gateway.Recommend(pb.RecommendRequest(user_id=f"u{user}", k=K, weights={"linear": 0.0}))
        truth.append(sum(chance(user, ranked) for ranked in popular.items))
    gateway.RecordEvents(pb.RecordEventsRequest(events=clicks))
    return float(np.mean(truth))


def chance(user: int, ranked: pb.RankedItem) -> float:
    """Of a click."""
    return (0.8 if likes(user, int(ranked.item.id[1:])) else 0.1) / ranked.rank**0.5


def test_the_served_policy_is_found_to_show_what_it_showed(loop: Loop) -> None:
    evaluated = loop.outcomes(EXPLORATION).evaluate([default_policy(loop.repository)[1]])
    assert evaluated.overlap.largest_weight == pytest.approx(1, abs=1e-6)
    assert evaluated.overlap.effective == pytest.approx(USERS)
    logged, ips, normalized, robust = evaluated.rows
    assert ips.value == pytest.approx(logged.value)
    assert normalized.value == pytest.approx(logged.value)
    assert robust.value.value == pytest.approx(logged.value.value, abs=0.02)


def test_a_policy_that_was_never_served(loop: Loop) -> None:
    evaluated = loop.outcomes(0.0).evaluate([read_policy(loop.home / "popular.yaml")[1]])
    logged, *estimates = evaluated.rows
    assert not logged.value.low < loop.truth < logged.value.high
    for row in estimates:
        assert row.value.low < loop.truth < row.value.high, row
        assert row.difference.value == pytest.approx(row.value.value - logged.value.value)
    result = loop.run("--policy", str(loop.home / "popular.yaml"))
    assert result.exit_code == 0
    assert not evaluated.overlap.is_supported
    assert "IPS" not in [row.estimator for row in evaluated.rows]
    assert f"bias        up to {evaluated.overlap.bias:.4f} an answer in every estimate" in result.stdout
    assert f"doubly robust        {estimates[-1].value}" in result.stdout
    assert f"left out: {USERS} without exploration" in result.stdout


def test_fitted_weights_are_published_and_not_promoted(loop: Loop) -> None:
    before = loop.policies()
    result = loop.run("--fit", "--as", "learned_from_clicks")
    assert result.exit_code == 0, result.output
    after = loop.policies()
    fitted = after["policies"].pop("learned_from_clicks")
    assert after == before
    assert fitted["weights"]["linear"] > fitted["weights"]["popularity"]
    folder = latest(loop.repository, "fusion")
    load_policies(folder / "policies.yaml")
    learned = read_policy(folder / "policies.yaml", "learned_from_clicks")[1]
    metrics = {each.name: each for each in verify(folder).metrics}
    name = f"learned_from_clicks {digest(learned)}"
    assert loop.truth < metrics[f"{name} low"].value < metrics[name].value
    assert metrics[name].protocol.startswith("off-policy, doubly robust, click within 24 h of an answer, ")


def test_an_estimate_belongs_to_a_name_and_its_content(loop: Loop, tmp_path: Path) -> None:
    shutil.copytree(loop.repository, tmp_path / "repository")
    evaluated = loop.outcomes(EXPLORATION).evaluate([default_policy(loop.repository)[1]])

    def publish(name: str, weight: float, outcome: str) -> list[str]:
        policy = Policy({"linear": weight, "popularity": 1.0})
        folder = publish_fitted(tmp_path / "repository", name, policy, evaluated, outcome)
        return [each.name for each in read_manifest(folder).metrics if each.name.startswith("fitted")]

    for name in ("fitted_on_clicks", "fitted", "fitted"):  # a name that begins with the other; the same once more
        found = publish(name, 1 / 3, "click")
    assert len(found) == 6
    assert len(publish("fitted", 1 / 3, "like")) == 9
    other = publish("fitted", 0.7, "like")  # other weights: what was estimated of those before is gone
    assert len(other) == 6
    models = PublishedModels(Repository(tmp_path / "repository"))
    fitted = read_policy(latest(tmp_path / "repository", "fusion") / "policies.yaml", "fitted")[1]
    assert [each.protocol.split(", ")[2] for each in models.estimates(fitted, 0)] == ["like"]


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--since", "2100-01-01"], "no logged answer tells of another policy: the log has none"),
        (["--metric", "nod"], "metric: there is no 'nod'; there are click, dislike, dismiss, impression, like, "),
        (["--metric", "nod"], "view, watch-time. A type of the gateway's configuration is given as there"),
        (["--metric", "nod", "--event-type", "nod=gone"], "--event-type: event type nod=gone: must be history"),
        (["--policy", "slot.yaml"], "the policy has a slot for new items, of which the log tells nothing"),
        (["--name", "nobody"], "has no policy 'nobody'; there are adaptive"),
        (["--policy", "rules.yaml"], "the policy weighs 'rules', which "),
        (["--policy", "/etc/passwd"], "is no file of policies: it has to map `policies` to policies by name"),
        (["--policy", __file__], "cannot be read as YAML: "),
        (["--as", ""], "--as: a policy's name must have 1 to 256 bytes, not 0"),
        (["--log", "sqlite:///nowhere.db"], "there is no file 'nowhere.db'"),
        (["--fit", "--metric", "purchase"], "the log has 0 outcomes; at least 50 are needed"),
        (["--fit", "--as", ""], "--as: a policy's name must have 1 to 256 bytes, not 0"),
        (["--fit", "--as", "DEFAULT"], "is served to users already: choose another name with --as"),
    ],
    ids=lambda value: str(value[1]) if isinstance(value, list) else "",
)
def test_what_cannot_be_told_says_why(loop: Loop, flags: list[str], error: str) -> None:
    rules = {"default": "ruled", "policies": {"ruled": {"weights": {"rules": 1.0}}}}
    (loop.home / "rules.yaml").write_text(yaml.safe_dump(rules))
    slotted = {**POPULAR, "slot": {"min_lead": 1.0}}
    (loop.home / "slot.yaml").write_text(yaml.safe_dump({"default": "new", "policies": {"new": slotted}}))
    places = {name: str(loop.home / name) for name in ("rules.yaml", "slot.yaml")}
    places["DEFAULT"] = default_policy(loop.repository)[0]
    result = loop.run(*(places.get(flag, flag) for flag in flags))
    assert isinstance(result.exception, TrainingError)
    assert error in str(result.exception)


def test_a_log_of_too_few_answers_is_refused(loop: Loop) -> None:
    result = loop.run("--policy", str(loop.home / "popular.yaml"), "--max-answers", "100")
    assert result.exit_code == 4
    assert "refused: the 100 answers tell as much as" in result.stdout
    assert "doubly robust" not in result.stdout


def test_a_type_of_the_configuration_is_a_metric(loop: Loop) -> None:
    result = loop.run("--metric", "share", "--event-type", "share=history:0.9", "--exploration", "0.1")
    assert result.exit_code == 4
    assert "logged answers  0.0000 (no interval)" in result.stdout
    assert "at least 10 are needed for an interval" in result.stdout
    assert f"exploration draws no rank in {USERS} lists: of k items, round(exploration * k)" in result.stdout


def test_a_type_of_the_configuration_is_history(loop: Loop, tmp_path: Path) -> None:
    store(f"sqlite:///{tmp_path}/events.db", [StoredEvent("u0", "i7", None, START, "s", "share")])
    ones = np.ones((1, 1))
    log = Logged(np.zeros(1, np.int64), np.zeros((1, 1), np.int64), ones, ones)
    answers = Answers(["u0"], np.array([START + 10.0]), log, {})
    catalog = load_catalog(latest(loop.repository, "catalog") / "items.parquet", 1)
    for types, count in ((STANDARD, 0), (event_types(["share=history"]), 1)):
        known = asyncio.run(known_of(f"sqlite:///{tmp_path}/events.db", answers, catalog, types))
        assert len(known.requests.history_item[0]) == count
