"""What an evaluation finds out about scorers that know too much, nothing, or cannot answer."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import polars as pl
import pytest

from fusion_gateway.fusion import Policy
from tests.conftest import Published
from training.data.load import load_dataset
from training.data.splits import Split, leave_last_out
from training.errors import TrainingError
from training.evaluation.cohorts import COHORTS
from training.evaluation.gateway_candidates import NextItemTask, Ranked
from training.evaluation.groups import by_cohort, by_genre
from training.evaluation.measure import METRICS, TOP, Evaluation, Rankers, evaluate, measure_all
from training.features.interactions import Floats


@pytest.fixture(scope="module")
def evaluation(published: Published) -> Evaluation:
    dataset = load_dataset(published.data)
    return evaluate(dataset, leave_last_out(dataset.events), [published.repository])


@dataclass(frozen=True)
class Says(Rankers):
    """One ranker with given answers to each chunk."""

    says: str = ""

    def tables(self, chunk: Ranked) -> Iterator[tuple[str, Floats]]:
        random = np.random.default_rng(0)
        table = random.random(chunk.seen.shape).astype(np.float32)
        if self.says == "constant":
            table[:] = 1
        if self.says == "nothing":
            table[:] = np.nan
        if self.says == "half":
            table[:, ::2] = np.nan
        if self.says == "the answer":
            table[np.arange(len(table)), chunk.target] = 2
        yield self.says, table


def measured(published: Published, says: str) -> tuple[dict[str, float], np.ndarray]:
    """Mean metrics, and chance of a hit in ten, by user."""
    dataset = load_dataset(published.data)
    split = leave_last_out(dataset.events)
    task = NextItemTask(published.repository, split.test, pl.concat([split.train, split.validation]))
    rankers = Says(Rankers.of(published.repository, split, task.items).policy, MappingProxyType({}), None, says=says)
    rows, events = measure_all(task, rankers)
    metrics = dict(zip(METRICS, rows[says].values.mean(axis=1).tolist(), strict=True))
    return metrics, TOP / (len(task.items) - events)


def test_a_constant_scorer_scores_chance(published: Published) -> None:
    metrics, chance = measured(published, "constant")
    assert metrics["hr@10"] == pytest.approx(chance.mean(), rel=1e-6)


def test_a_planted_answer_is_found(published: Published) -> None:
    assert measured(published, "the answer")[0]["ndcg@10"] == 1


def test_abstentions_are_counted(published: Published) -> None:
    silent, chance = measured(published, "nothing")
    assert (silent["answered"], silent["abstained"]) == (0, 1)
    assert silent["hr@10"] == pytest.approx(chance.mean(), rel=1e-6)
    half, _ = measured(published, "half")
    assert half["answered"] == 1
    assert 0.3 < half["abstained"] < 0.7


def test_the_answer_in_the_history_is_an_error(published: Published) -> None:
    """It would be left out of every list, or known to a model that reads the history."""
    dataset = load_dataset(published.data)
    split = leave_last_out(dataset.events)
    planted = dataclasses.replace(split, train=pl.concat([split.train, split.test.head(1)]))
    user = split.test["user"][0]
    with pytest.raises(TrainingError, match=f"user {user}.*test event is in the training part"):
        evaluate(dataset, planted, [published.repository])


def test_every_user_has_a_list_of_unseen_items(evaluation: Evaluation) -> None:
    seen = {(user, item) for user, item in evaluation.split.train.select("user", "item").iter_rows()}
    for row in evaluation.rows:
        for user, listed in zip(evaluation.targets["user"], row.top.tolist(), strict=True):
            assert len(set(listed)) == TOP
            assert not {(user, item) for item in listed} & seen


def test_groups_hold_every_user_and_their_mean_is_the_whole(evaluation: Evaluation) -> None:
    cohorts = by_cohort(evaluation)
    assert cohorts["users"].sum() == len(evaluation.targets)
    mean = np.average(cohorts["fused"], weights=cohorts["users"])
    assert mean == pytest.approx(evaluation.row("fused").of("ndcg@10").mean())
    assert COHORTS[-1].name not in cohorts["cohort"].to_list()
    assert by_genre(evaluation)["users"].sum() >= len(evaluation.targets)


def test_users_whose_last_two_events_tie_count_in_both_orders(published: Published) -> None:
    dataset = load_dataset(published.data)
    split = leave_last_out(dataset.events)
    last = split.test.select("user", latest="time")
    tied = split.validation.join(last, on="user", how="left", maintain_order="left")
    everyone = Split(split.name, split.train, tied.with_columns(time="latest").drop("latest"), split.test)
    (row,) = [row for row in evaluate(dataset, everyone, [published.repository]).rows if row.model == "popularity"]
    other = Split("other order", split.train, split.test, everyone.validation)
    task = NextItemTask(published.repository, other.test, pl.concat([other.train, other.validation]))
    swapped, _ = measure_all(task, Rankers.of(published.repository, split, task.items))
    assert row.shuffled is not None
    np.testing.assert_allclose(row.shuffled, (row.values[:3] + swapped["popularity"].values[:3]) / 2)


def test_an_item_of_the_history_is_found_by_no_ranker(published: Published) -> None:
    """People who watch again: lists leave out what is seen, so nobody can be credited with it."""
    split = leave_last_out(load_dataset(published.data).events)
    again = split.train.group_by("user", maintain_order=True).first().join(split.test.select("user"), on="user")
    targets = again.with_columns(time=pl.lit(split.test["time"].max())).select(split.test.columns)
    task = NextItemTask(published.repository, targets, pl.concat([split.train, split.validation]))
    rows, _ = measure_all(task, Rankers.of(published.repository, split, task.items))
    assert {name: row.of("hr@10").sum() for name, row in rows.items()} == dict.fromkeys(rows, 0.0)


def test_a_model_that_is_left_out_has_no_say(published: Published, evaluation: Evaluation) -> None:
    split = leave_last_out(load_dataset(published.data).events)
    task = NextItemTask(published.repository, split.test, pl.concat([split.train, split.validation]))
    policy = Policy({"sequential": 1.0, "linear": 1e-9})
    rankers = replace(Rankers.of(published.repository, split, task.items), policy=policy, left_out=policy.models)
    rows, _ = measure_all(task, rankers)
    np.testing.assert_array_equal(rows["fused without linear"].top, rows["fused"].top)
    assert (rows["fused without sequential"].top != rows["fused"].top).any()
    assert not any(row.model.startswith("fused without") for row in evaluation.rows)
