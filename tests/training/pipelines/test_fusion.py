"""Fitted policies: what they learn, what is published, and that the gateway ranks as the offline task does."""

import shutil
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path

import grpc
import numpy as np
import polars as pl
import pytest
import yaml

from fusion_gateway.fusion import Policy
from fusion_gateway.gateway import gateway
from fusion_gateway.policies import Policies, load_policies
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.settings import read
from tests.conftest import Published
from tests.servers.running import in_process, settings
from training.artifacts.repository import latest
from training.data.load import load_dataset
from training.data.splits import Split, leave_last_out
from training.evaluation.gateway_candidates import RETRIEVE_K, CandidateBatch, NextItemTask
from training.evaluation.measure import default_policy
from training.pipelines.fusion import as_yaml, policy_ndcg, train_fusion
from training.pipelines.fusion_by_ratings import switch_by_ratings, weights_by_ratings
from training.pipelines.fusion_fit import (
    fit_adaptive,
    fit_bias,
    fit_calibrators,
    fit_forms,
    fit_layer,
    fit_thresholds,
    fit_weights,
)
from training.pipelines.job import Job
from training.pipelines.popularity import fit_popularity
from training.recipes import SCORERS
from training.recipes.fusion import FusionRecipe

USERS, CANDIDATES = 400, 20
BOTH = Policy({"good": 1.0, "bad": 1.0})


def pool(good_up_to: int = 1000, turned: bool = False) -> CandidateBatch:
    """`good` knows the target of users with at most so many events, `bad` that of the others."""
    random = np.random.default_rng(0)
    target = random.integers(0, CANDIDATES, USERS)
    events = random.integers(0, 200, USERS)
    hint = np.eye(CANDIDATES)[target] * 3 * (-1 if turned else 1)
    good, bad = random.normal(size=(2, USERS, CANDIDATES))
    good[events <= good_up_to] += hint[events <= good_up_to]
    bad[events > good_up_to] += hint[events > good_up_to]
    good[0, :5], bad[1] = np.nan, np.nan
    target[2] = -1
    columns = np.tile(np.arange(CANDIDATES), (USERS, 1))
    scores = {"good": good.astype(np.float32), "bad": bad.astype(np.float32)}
    return CandidateBatch(
        user=np.arange(USERS),
        column=columns,
        scores=scores,
        retrieved={},
        target=target,
        events=events,
        ratings=events,
        count=np.full(USERS, CANDIDATES),
    )


def test_weights_go_to_the_model_that_knows() -> None:
    fitted = fit_weights([pool()], BOTH)
    assert fitted.weights["good"] > 0.9
    assert sum(fitted.weights.values()) == pytest.approx(1)
    assert policy_ndcg(fitted, [pool()]).mean() > policy_ndcg(BOTH, [pool()]).mean()
    assert policy_ndcg(fitted, [pool()])[2] == 0  # its next item is no candidate


def test_long_tails_are_drawn_in_where_that_is_likelier() -> None:
    """The score of `good` grows exponentially with what it knows."""
    plain = pool()
    long = replace(plain, scores={**plain.scores, "good": np.sinh(plain.scores["good"])})
    fitted = fit_forms([long], BOTH)
    assert fitted.calibrators["good"].form == "arcsinh"
    assert fit_forms([plain], BOTH).calibrators["good"].form == "affine"


def test_of_several_policies_the_likeliest_is_taken() -> None:
    calibrated = Policy(BOTH.weights, normalizer="calibrated", calibrators=fit_calibrators([pool()]))
    good_scores = replace(BOTH, normalizer="none")
    assert fit_weights([pool()], calibrated, good_scores).normalizer == "none"
    assert fit_weights([pool()], good_scores, calibrated).normalizer == "none"


def test_tiny_scores_are_fitted_too() -> None:
    tiny = replace(pool(), scores={model: table * np.float32(1e-5) for model, table in pool().scores.items()})
    plain = replace(BOTH, normalizer="none")
    assert fit_weights([tiny], plain).weights == pytest.approx(fit_weights([pool()], plain).weights, abs=0.02)


def test_next_items_that_nobody_retrieved_leave_the_weights_as_they_were() -> None:
    nowhere = replace(pool(), target=np.full(USERS, -1))
    assert fit_weights([nowhere], BOTH).weights == {"good": 0.5, "bad": 0.5}


def test_adaptive_weights_follow_the_history() -> None:
    task = [pool(good_up_to=20)]
    adaptive, fixed = fit_adaptive(task, BOTH), fit_weights(task, BOTH)
    assert adaptive.slopes["bad"].events > adaptive.slopes["good"].events
    assert policy_ndcg(adaptive, task).mean() > policy_ndcg(fixed, task).mean() + 0.05


def test_slopes_tell_ratings_from_events() -> None:
    """`good` knows the next item of whoever has rated much, however many events there are."""
    ratings = np.random.default_rng(1).integers(0, 40, USERS)
    batch = replace(pool(good_up_to=1000), ratings=ratings)
    silent = pool(good_up_to=-1).scores["good"]
    scores = {"good": np.where(ratings[:, None] > 10, batch.scores["good"], silent)}
    scores["bad"] = pool(good_up_to=-1).scores["bad"]
    slopes = fit_adaptive([replace(batch, scores=scores)], BOTH).slopes
    by_ratings, by_events = (
        (slopes["good"].ratings - slopes["bad"].ratings),
        slopes["good"].events - slopes["bad"].events,
    )
    assert by_ratings > 0.3
    assert abs(by_events) < by_ratings / 2


def test_weights_follow_agreement_with_the_ratings() -> None:
    """`good` knows the next item of whoever it agrees with."""
    random = np.random.default_rng(2)
    agrees = random.uniform(-1, 1, USERS)
    batch, other = pool(good_up_to=1000), pool(good_up_to=-1)
    is_good = (agrees > 0)[:, None]
    scores = {model: np.where(is_good, batch.scores[model], other.scores[model]) for model in batch.scores}
    batch = replace(batch, scores=scores, agreement={"good": agrees, "bad": random.uniform(-1, 1, USERS)})
    fitted, blind = (fit_adaptive([batch], BOTH, by_agreement=knows) for knows in (True, False))
    assert fitted.slopes["good"].agreement - fitted.slopes["bad"].agreement > 1
    assert not blind.reads_agreement
    assert policy_ndcg(fitted, [batch]).mean() > policy_ndcg(blind, [batch]).mean() + 0.05


def test_weights_are_switched_by_the_number_of_ratings() -> None:
    ratings = np.random.default_rng(1).integers(0, 12, USERS)
    batch, other = pool(good_up_to=1000), pool(good_up_to=-1)
    few = (ratings <= 5)[:, None]
    scores = {model: np.where(few, other.scores[model], batch.scores[model]) for model in batch.scores}
    batch = replace(batch, scores=scores, ratings=ratings)
    switched = switch_by_ratings(fit_weights([batch], BOTH), BOTH, [batch])
    assert [each.max_ratings for each in switched.switches] == [0, 5, 20]
    weights = {each.max_ratings: each.weights["good"] for each in switched.switches}
    assert max(weights[0], weights[5]) < 0.2 < 0.8 < weights[20]
    table = weights_by_ratings({"switched": switched}, ["good"], [batch])
    assert table.row_count == 1


def test_thresholds_rule_out_what_is_never_next() -> None:
    fitted = fit_thresholds([pool()], BOTH, lambda policy: float(policy_ndcg(policy, [pool()]).mean()))
    assert fitted.strategy == "threshold"
    assert set(fitted.thresholds) == {"good", "bad"}
    assert np.isneginf(pool().fuse(fitted).score).any()
    assert policy_ndcg(fitted, [pool()]).mean() >= policy_ndcg(BOTH, [pool()]).mean()
    nowhere = replace(pool(), target=np.full(USERS, -1))
    assert fit_thresholds([nowhere], BOTH, lambda policy: 0.0) == BOTH


@pytest.mark.parametrize("units", [1, 3])
def test_a_layer_learns_and_stays_monotone(units: int) -> None:
    fitted = fit_layer([pool()], BOTH, units, seed=0)
    assert fitted.activation == ("identity" if units == 1 else "tanh")
    assert policy_ndcg(fitted, [pool()]).mean() > policy_ndcg(BOTH, [pool()]).mean()
    turned = fit_layer([pool(turned=True)], BOTH, units, seed=0)
    assert all(weight >= 0 for unit in turned.units for weight in unit.weights.values())


def test_calibrated_scores_read_as_chances() -> None:
    calibrators = fit_calibrators([pool()])
    good, target = pool().scores["good"], pool().target
    chance = calibrators["good"](good.astype(float))
    share = (target >= 0).sum() / np.isfinite(good).sum()
    assert np.nanmean(chance) == pytest.approx(share, rel=0.05)
    hits = chance[np.arange(USERS), target][target >= 0]
    assert hits.mean() > 5 * share
    assert fit_calibrators([pool(turned=True)])["good"].scale > 0  # near 0: what is worse than chance is not turned
    policy = fit_bias([pool()], Policy(BOTH.weights, normalizer="calibrated", calibrators=calibrators))
    assert np.nanmean(pool().fuse(policy).score) == pytest.approx(
        (target >= 0).sum() / good.size,
        rel=0.05,
    )


def test_a_group_counts_by_its_size() -> None:
    """Everybody but the women watches item 1; there are two women among students and eight among writers."""
    sizes = {"student": 4, "writer": 16}
    users = [(f"{job}{n}", job, "MF"[n % 2]) for job, size in sizes.items() for n in range(size)]
    table = pl.DataFrame(users, ["user", "occupation", "gender"], orient="row").with_columns(
        age=pl.lit(None, pl.Int32), zip=pl.lit("10001")
    )
    events = table.select(
        "user",
        item=pl.when(pl.col("gender") == "F").then(2).otherwise(1),
        time=0,
    )
    popularity = fit_popularity(events, table, np.array([1, 2, 3]))
    assert set(popularity.lifts) == {"gender=f", "gender=m", "occupation=student", "occupation=writer", "zip=1"}
    assert np.exp(popularity.log_share).sum() == pytest.approx(1)
    assert popularity.lifts["gender=f"][1] > 0 > popularity.lifts["gender=f"][0]
    one_woman = table.with_columns(gender=pl.when(pl.col("user") == "student1").then(pl.lit("F")))
    few = fit_popularity(events, one_woman, np.arange(1, 4))
    assert 0 < few.lifts["gender=f"][1] < popularity.lifts["gender=f"][1]
    assert fit_popularity(events, None, np.array([1, 2, 3])).lifts == {}


def test_every_policy_is_published_and_can_be_served(published: Published) -> None:
    path = latest(published.repository, "fusion") / "policies.yaml"
    served = load_policies(path)
    strategies = {policy.strategy for policy in served.policies.values()}
    assert strategies >= {"weighted_sum", "weighted_sum_bias", "learned", "adaptive", "switching", "cascade", "rrf"}
    assert "threshold" in strategies
    assert any(each.max_ratings is not None for policy in served.policies.values() for each in policy.switches)
    assert all(policy.min_ratings == {"rating": 1} for policy in served.policies.values())
    assert default_policy(published.repository) == served.choose("", {})[:2]
    written = yaml.safe_load(path.read_text())["policies"]
    assert {name: as_yaml(policy) for name, policy in served.policies.items()} == written


def test_a_dozen_users_are_enough_and_with_few_all_models_count_the_same(published: Published, tmp_path: Path) -> None:
    dataset = load_dataset(published.data)
    split = leave_last_out(
        dataset.events.filter(pl.col("user").is_in(dataset.events["user"].unique(maintain_order=True)[:12]))
    )
    shutil.copytree(published.repository, tmp_path / "repository")
    dozen = Split(split.name, split.train.group_by("user", maintain_order=True).head(4), split.validation, split.test)
    few = Split(split.name, dozen.train, split.validation.head(9), split.test)

    def fit_on(part: Split) -> Policies:
        job = Job(dataset, part, tmp_path / "repository", tmp_path)
        return load_policies(train_fusion(job, FusionRecipe()) / "policies.yaml")

    fitted, unfitted = fit_on(dozen), fit_on(few)
    assert "learned" in fitted.policies
    assert "learned" not in unfitted.policies
    ones = dict.fromkeys([*SCORERS, "popularity"], 1.0)
    assert unfitted.choose("", {})[:2] == ("equal", Policy(ones, min_ratings={"rating": 1}))


def test_without_a_scorer_there_is_popularity_alone(published: Published, tmp_path: Path) -> None:
    dataset = load_dataset(published.data)
    shutil.copytree(published.repository / "catalog", tmp_path / "repository" / "catalog")
    job = Job(dataset, leave_last_out(dataset.events), tmp_path / "repository", tmp_path)
    policies = load_policies(train_fusion(job, FusionRecipe()) / "policies.yaml")
    assert {name: policy.models for name, policy in policies.policies.items()} == {"popularity": ("popularity",)}


def test_of_equally_popular_items_no_more_are_candidates_than_the_gateway_takes(
    published: Published, tmp_path: Path
) -> None:
    shutil.copytree(published.repository, tmp_path / "repository")
    path = latest(tmp_path / "repository", "catalog") / "items.parquet"
    pl.read_parquet(path).with_columns(weighted_rating=pl.lit(3.0)).write_parquet(path)
    events = load_dataset(published.data).events
    popularity = fit_popularity(events.head(1), None, np.sort(load_dataset(published.data).items["number"].to_numpy()))
    task = NextItemTask(tmp_path / "repository", leave_last_out(events).test, events.clear(), popularity, retrieve_k=5)
    assert next(task.chunks()).candidates.column.shape[1] <= 10


def test_histories_can_be_cut_to_their_last_events(published: Published) -> None:
    split = leave_last_out(load_dataset(published.data).events)
    task = NextItemTask(published.repository, split.validation, split.train)
    [whole], [cut] = task.chunks(), task.chunks(events=(1, 5))
    assert ((cut.events >= 1) & (cut.events <= 5)).all()
    assert set(cut.requests.user_id) == {""}
    for short, full in zip(cut.requests.history_item, whole.requests.history_item, strict=True):
        assert short.tolist() == full[-len(short) :].tolist()
    [nothing] = task.chunks(events=(0, 0))
    assert not nothing.events.any()
    assert not any(mask.any() for mask in nothing.candidates.retrieved.values())


def test_histories_can_lose_ratings(published: Published) -> None:
    split = leave_last_out(load_dataset(published.data).events)
    task = NextItemTask(published.repository, split.validation, split.train)
    [whole], [few] = task.chunks(), task.chunks(few_ratings=True)
    assert set(few.requests.user_id) == {""}
    assert (few.events == whole.events).all()
    left = few.candidates.ratings / whole.candidates.ratings
    assert 0.1 < (left == 0).mean() < 0.5
    assert (left > 0.5).any()
    assert len(np.unique(few.candidates.ratings)) > 10


async def test_the_gateway_ranks_as_the_offline_task_does(published: Published, tmp_path: Path) -> None:
    """Same candidates, same normalization, same policies: for known users, and for one without a history."""
    split, now = leave_last_out(load_dataset(published.data).events), int(time.time())
    history = pl.concat([split.train, split.validation])
    targets = pl.concat(
        [
            split.test.head(6),
            split.test.head(1).with_columns(user=pl.lit("nobody")),
        ]
    )
    task = NextItemTask(published.repository, targets.with_columns(time=pl.lit(now)), history, retrieve_k=RETRIEVED)
    [ranked] = task.chunks()
    policies = load_policies(latest(published.repository, "fusion") / "policies.yaml").policies
    assert policies["adaptive_by_agreement"].reads_agreement
    async with AsyncExitStack() as stack:
        flags = [f"--model-repository={published.repository}", f"--event-store=sqlite:///{tmp_path}/events.db"]
        flags += ["--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0", f"--retrieve-k={RETRIEVED}"]
        for name in SCORERS:
            program, _ = await stack.enter_async_context(in_process(settings(published.repository, name)))
            flags.append(f"--scorer={name}={program.grpc_address}")
        program = await stack.enter_async_context(gateway(read(GatewaySettings, flags)))
        await stack.enter_async_context(program)
        stub = RecommenderStub(await stack.enter_async_context(grpc.aio.insecure_channel(program.grpc_address)))
        numbers = pl.read_parquet(latest(published.repository, "catalog") / "items.parquet", columns=["id", "number"])
        number_of, ids = dict(numbers.iter_rows()), dict(numbers.select("number", "id").iter_rows())
        queries = product([default_policy(published.repository)[0], "adaptive_by_agreement"], range(len(targets)))
        for policy, row in queries:
            user, scores = ranked.requests, ranked.fused(policies[policy])[row]
            events = [
                pb.Event(item_id=ids[item], rating=rating, time=when)
                for item, rating, when in zip(
                    user.history_item[row], user.history_rating[row], user.history_time[row], strict=True
                )
            ]
            response = await stub.Recommend(
                pb.RecommendRequest(user_id=user.user_id[row], history=events, k=10, policy=policy), timeout=30
            )
            assert not response.degraded
            assert response.candidates == np.isfinite(ranked.candidates.scores["popularity"][row]).sum()
            online = {number_of[item.item.id]: item.score for item in response.items}
            columns = np.searchsorted(task.items, list(online))
            np.testing.assert_allclose(scores[columns], list(online.values()), atol=2e-3)
            assert np.nanmax(np.delete(scores, columns)) <= min(online.values()) + 2e-3


RETRIEVED = 20


def test_training_retrieves_as_many_as_the_gateway_does() -> None:
    assert GatewaySettings.model_fields["retrieve_k"].default == RETRIEVE_K
