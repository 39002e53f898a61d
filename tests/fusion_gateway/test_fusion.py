from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fusion_gateway.fusion import (
    NORMALIZERS,
    Calibrator,
    Policy,
    Scores,
    Slope,
    Switch,
    Unit,
    agreement,
    competition_rank,
    fuse,
    normalize,
)
from fusion_gateway.fusion.agreement import PRIOR_RATINGS
from fusion_gateway.fusion.popularity import Popularity, group_of

MODELS = ("rating", "sequential", "visual_temporal")
CALIBRATORS = {
    "rating": Calibrator(0.5, 1.0, "sigmoid"),
    "sequential": Calibrator(2.0, -1.0),
    "visual_temporal": Calibrator(0.1, 0.0, "arcsinh"),
}
WEIGHTS = {"rating": 0.2, "sequential": 0.5, "visual_temporal": 0.3}

UNITS = (
    Unit({"rating": 0.5, "sequential": 2.0}, bias=-0.3, out=0.7),
    Unit({"visual_temporal": 1.0}, bias=0.1),
)
PARTS: dict[str, dict[str, object]] = {
    "weighted_sum_bias": {"bias": 0.25},
    "adaptive": {"slopes": {"rating": Slope(-0.5, 0.2), "sequential": Slope(0.4, 0.0)}, "floor": 0.05},
    "learned": {"units": UNITS},
    "switching": {"switches": (Switch(3, {"rating": 1.0, "sequential": 0.2}),)},
}
ADDITIVE = ["weighted_sum", "weighted_sum_bias", "adaptive", "learned", "switching", "rrf"]


def made(strategy: str, normalizer: str, **more: object) -> Policy:
    parts = {**PARTS.get(strategy, {}), **more}
    return Policy(WEIGHTS, strategy=strategy, normalizer=normalizer, calibrators=CALIBRATORS, **parts)  # type: ignore[arg-type]


normalizers = st.sampled_from([*NORMALIZERS, "calibrated"])
additive = st.builds(made, st.sampled_from(ADDITIVE), normalizers)
policies = additive | st.builds(made, st.just("learned"), normalizers, activation=st.sampled_from(["tanh", "relu"]))
counts = st.tuples(st.integers(0, 50), st.integers(0, 50))
number = st.floats(-1000, 1000, width=32) | st.sampled_from([0.0, 0.1, np.nan, np.nan])
tables = st.integers(1, 8).flatmap(lambda items: arrays(np.float64, (3, items), elements=number))


def tables_of(users: int) -> st.SearchStrategy[Scores]:
    return arrays(np.float64, (3, users, 5), elements=number)


def by_model(table: Scores) -> dict[str, Scores]:
    return dict(zip(MODELS, table, strict=True))


@given(additive, tables, counts)
def test_contributions_add_up_and_weights_sum_to_one(policy: Policy, table: Scores, user: tuple[int, int]) -> None:
    fused = fuse(policy, by_model(table), *user)
    used = [table[MODELS.index(model)] for model in fused.models if fused.weight[fused.models.index(model)].any()]
    scored = ~np.isnan(used).all(axis=0) if used else np.zeros(table.shape[1], bool)
    assert np.array_equal(np.isnan(fused.score), ~scored)
    if policy.strategy != "learned":
        np.testing.assert_allclose(fused.weight.sum(axis=0), scored, atol=1e-12)
    np.testing.assert_allclose((fused.bias + fused.contribution.sum(axis=0))[scored], fused.score[scored], atol=1e-9)
    assert (fused.weight[np.isnan(fused.raw)] == 0).all()


@given(policies, tables, st.randoms(use_true_random=False))
def test_the_order_of_models_and_of_items_does_not_matter(
    policy: Policy, table: Scores, random: np.random.Generator
) -> None:
    fused = fuse(policy, by_model(table)).score
    backwards = fuse(policy, dict(reversed(by_model(table).items()))).score
    np.testing.assert_array_equal(backwards, fused)
    order = list(range(table.shape[1]))
    random.shuffle(order)
    np.testing.assert_allclose(fuse(policy, by_model(table[:, order])).score, fused[order], atol=1e-9)


@given(policies, tables)
def test_an_item_that_no_model_ranks_lower_is_not_fused_lower(policy: Policy, table: Scores) -> None:
    scored = np.flatnonzero(~np.isnan(table).any(axis=0))
    fused = fuse(policy, by_model(table)).score
    for i in scored:
        for j in scored:
            if (table[:, i] >= table[:, j]).all():
                assert fused[i] >= fused[j] - 1e-9


@given(st.sampled_from([*NORMALIZERS, "calibrated"]), tables)
def test_normalizers_keep_the_order_of_scores(name: str, table: Scores) -> None:
    policy = Policy(WEIGHTS, normalizer=name, calibrators=CALIBRATORS)  # type: ignore[arg-type]
    normalized = normalize(policy, "rating", table)
    assert np.array_equal(np.isnan(normalized), np.isnan(table))
    for scores, after in zip(table, normalized, strict=True):
        order = np.argsort(scores)[: (~np.isnan(scores)).sum()]
        assert (np.diff(after[order]) >= 0).all()


@given(policies, st.integers(1, 4).flatmap(tables_of), counts)
def test_a_batch_of_users_equals_one_at_a_time(policy: Policy, table: Scores, first: tuple[int, int]) -> None:
    users = np.arange(table.shape[1])
    events, ratings = first[0] + users, first[1] + 2 * users
    batch = fuse(policy, by_model(table), events, ratings).score
    singles = [fuse(policy, by_model(table[:, user]), events[user], ratings[user]).score for user in users]
    np.testing.assert_allclose(batch, np.stack(singles), atol=1e-12)


def test_the_equation_by_hand() -> None:
    policy = Policy({"rating": 1, "sequential": 3}, strategy="weighted_sum_bias", normalizer="none", bias=0.5)
    scores = {
        "sequential": [4.0, np.nan, np.inf],
        "rating": [2.0, 2.0, np.nan],
        "other": [9.0, 9.0, 9.0],
    }
    fused = fuse(policy, scores)
    np.testing.assert_allclose(fused.score, [0.5 + (2 + 3 * 4) / 4, 0.5 + 2, np.nan])
    assert fused.models == ("rating", "sequential")


@pytest.mark.parametrize("name", ["minmax", "zscore"])
def test_equal_scores_say_nothing(name: str) -> None:
    np.testing.assert_array_equal(
        NORMALIZERS[name](np.array([0.1, 0.1, np.nan, 0.1])),
        [0, 0, np.nan, 0],
    )
    np.testing.assert_array_equal(NORMALIZERS[name](np.array([7.0])), [0])


def test_normalizers_by_hand() -> None:
    scores = np.array([1.0, 3.0, np.nan, 5.0])
    np.testing.assert_allclose(NORMALIZERS["minmax"](scores), [0, 0.5, np.nan, 1])
    np.testing.assert_allclose(
        NORMALIZERS["zscore"](scores),
        np.array([-1, 0, np.nan, 1]) * np.sqrt(1.5),
    )
    np.testing.assert_allclose(NORMALIZERS["rank"](scores), [1 / 3, 2 / 3, np.nan, 1])
    np.testing.assert_allclose(np.nansum(NORMALIZERS["softmax"](scores)), 1)
    np.testing.assert_allclose(
        competition_rank(np.array([2.0, 9.0, 2.0, np.nan])),
        [2, 1, 2, np.nan],
    )


def test_reciprocal_rank_fusion_by_hand() -> None:
    fused = fuse(
        Policy({"a": 1, "b": 1}, strategy="rrf"),
        {"a": [9.0, 8.0], "b": [1.0, 2.0]},
    )
    np.testing.assert_allclose(fused.score, [(1 / 61 + 1 / 62) / 2] * 2)


def test_no_candidates_and_no_votes() -> None:
    policy = Policy(WEIGHTS)
    assert fuse(policy, {"rating": np.empty(0)}).score.shape == (0,)
    assert np.isnan(fuse(policy, {"rating": [np.nan, np.nan]}).score).all()
    with pytest.raises(ValueError, match="none of the policy's models"):
        fuse(policy, {"other": [1.0]})


def test_threshold_rules_out_what_any_model_finds_too_low() -> None:
    policy = Policy({"a": 1, "b": 1}, strategy="threshold", normalizer="none", thresholds={"a": 3.5})
    scores = {"a": [3.5, 3.0, np.nan], "b": [1.0, 9.0, 2.0]}
    np.testing.assert_allclose(fuse(policy, scores).score, [2.25, -np.inf, 2])


def test_cascade_sorts_what_its_gate_keeps() -> None:
    policy = Policy({"a": 0, "b": 1}, strategy="cascade", normalizer="none", gate="a", keep=2)
    scores = {"a": [1.0, 3.0, 2.0, np.nan], "b": [9.0, 1.0, 2.0, 8.0]}
    np.testing.assert_allclose(fuse(policy, scores).score, [-np.inf, 1, 2, -np.inf])
    np.testing.assert_allclose(fuse(policy, {"b": [9.0, 1.0]}).score, [9, 1])  # a missing gate lets all pass


def test_a_gate_that_says_nothing_of_a_user_rules_nothing_out() -> None:
    policy = Policy({"a": 0, "b": 1}, strategy="cascade", normalizer="none", gate="a", keep=1)
    gate = np.array([[np.nan, np.nan], [1.0, np.nan]])
    fused = fuse(policy, {"a": gate, "b": np.array([[9.0, 1.0], [9.0, 1.0]])})
    np.testing.assert_allclose(fused.score, np.array([[9, 1], [9, -np.inf]]))


def test_switching_chooses_weights_by_the_users_events() -> None:
    switches = (Switch(0, {"b": 1}), Switch(5, {"a": 1}))
    policy = Policy({"a": 1, "b": 1}, strategy="switching", normalizer="none", switches=switches)
    scores = {"a": np.full((4, 1), 2.0), "b": np.full((4, 1), 4.0)}
    np.testing.assert_allclose(
        fuse(policy, scores, events=[0, 1, 5, 6]).score[:, 0],
        [4, 2, 2, 3],
    )
    np.testing.assert_allclose(fuse(policy, {"a": [2.0], "b": [4.0]}, events=3).score, [2])


def test_switching_chooses_weights_by_the_users_ratings() -> None:
    switches = (Switch(weights={"b": 1}, max_ratings=0), Switch(10, {"a": 1}, max_ratings=5))
    policy = Policy({"a": 1, "b": 1}, strategy="switching", normalizer="none", switches=switches)
    scores = {"a": np.full((4, 1), 2.0), "b": np.full((4, 1), 4.0)}
    fused = fuse(policy, scores, events=[90, 10, 11, 9], ratings=[0, 5, 5, 6])
    np.testing.assert_allclose(fused.score[:, 0], [4, 2, 3, 3])


def test_a_model_abstains_from_users_with_too_few_ratings() -> None:
    policy = Policy({"a": 3, "b": 1}, normalizer="minmax", min_ratings={"a": 1})
    scores = {"a": np.array([[0.0, 1.0]] * 2), "b": np.array([[1.0, 0.0]] * 2)}
    fused = fuse(policy, scores, events=[7, 7], ratings=[0, 1])
    np.testing.assert_allclose(fused.score, np.array([[1, 0], [0.25, 0.75]]))
    np.testing.assert_allclose(fused.weight[:, :, 0], np.array([[0, 0.75], [1, 0.25]]))
    alone = fuse(replace(policy, weights={"a": 1}), {"a": [1.0, 2.0]}, events=7)
    assert np.isnan(alone.score).all()


def test_adaptive_weights_grow_with_what_is_known_of_the_user() -> None:
    policy = Policy(
        {"a": 1, "b": 3},
        strategy="adaptive",
        normalizer="none",
        slopes={"a": Slope(2, -1)},
        floor=0.1,
    )
    scores = {"a": np.array([[1.0]] * 4), "b": np.array([[0.0]] * 4)}
    grown = 4**2 / 2 / (4**2 / 2 + 3)  # a's share after 3 events, of which 1 has a rating
    many = 10**9
    fused = fuse(
        policy,
        scores,
        events=[0, 3, many, 0],
        ratings=[0, 1, 0, many],
    ).score[:, 0]
    np.testing.assert_allclose(fused, [0.25, grown, 1 / 1.1, 0.1 / 1.1], rtol=1e-6)
    alone = fuse(policy, {"a": [7.0, np.nan], "b": [np.nan, np.nan]}, 3, 1)
    np.testing.assert_allclose(alone.score, [7, np.nan])


def test_adaptive_weights_follow_agreement() -> None:
    slopes = {"a": Slope(0, 0, agreement=2)}
    policy = Policy({"a": 1, "b": 1}, strategy="adaptive", normalizer="none", slopes=slopes)
    scores = {"a": np.ones((3, 1)), "b": np.zeros((3, 1))}
    agrees = {"a": [0.5, 0.0, -0.5], "b": [1.0, 1.0, 1.0]}
    fused = fuse(policy, scores, agreement=agrees).score[:, 0]
    np.testing.assert_allclose(fused, [np.e / (np.e + 1), 0.5, 1 / (np.e + 1)])
    np.testing.assert_allclose(fuse(policy, scores).score[:, 0], [0.5, 0.5, 0.5])


tenths = st.integers(-20, 20).map(lambda tenth: tenth / 10) | st.just(np.nan)


@given(arrays(np.float64, (2, 4, 9), elements=tenths))
def test_agreement_is_a_shrunk_correlation(pairs: Scores) -> None:
    scores, ratings = pairs
    for found, own, stars in zip(agreement(scores, ratings), scores, ratings, strict=True):
        known = np.isfinite(own) & np.isfinite(stars)
        own, stars = own[known], stars[known]
        expected = 0.0
        if known.sum() > 1 and np.ptp(own) > 0 and np.ptp(stars) > 0:
            expected = np.corrcoef(own, stars)[0, 1] * known.sum() / (known.sum() + PRIOR_RATINGS)
        assert found == pytest.approx(expected, abs=1e-6)


def test_a_learned_layer_by_hand() -> None:
    units = (
        Unit({"a": 0.5, "b": 2}, bias=-1, out=3),
        Unit({"a": 1}, bias=0.5),
    )
    policy = Policy({"a": 1, "b": 2}, strategy="learned", normalizer="none", units=units, activation="relu")
    scores = {"a": [1.0, -2.0, np.nan, np.nan], "b": [2.0, 0.0, 1.0, np.nan]}
    np.testing.assert_allclose(fuse(policy, scores).score, [3 * 7.5 + 1.5, 0, 3 * 3 + 0.5, np.nan])
    one = Policy({"a": 1}, strategy="learned", normalizer="none", units=(Unit({"a": 0.3}, bias=0.2),))
    np.testing.assert_allclose(fuse(one, {"a": [2.0]}).score, [0.3 * 2 + 0.2])


def test_popularity_is_the_groups_own_where_the_profile_names_one() -> None:
    lifts = {"gender=f": np.array([0.5, -0.5]), "age=25": np.array([0.25, 0.0])}
    popularity = Popularity(np.array([2, 5]), np.array([-1.0, -2.0]), lifts)
    np.testing.assert_allclose(popularity.scores(np.array([5, 3, 2])), [-2, np.nan, -1])
    np.testing.assert_allclose(popularity.scores(np.array([5, 2]), ["gender=f", "age=25"]), [-2.5, -0.25])
    empty = Popularity(np.zeros(0, np.int64), np.zeros(0), {})
    assert np.isnan(empty.scores(np.array([5]))).all()
    assert [group_of("age", age) for age in (0, 17, 18, 34, 90)] == ["age=0", "age=0", "age=18", "age=25", "age=56"]
    assert group_of("occupation", " Writer ") == "occupation=writer"
    assert (group_of("zip", " 94110"), group_of("zip", "V3N4P")) == ("zip=9", "zip=v")


def test_given_weights_hold_for_every_user() -> None:
    switches = (Switch(5, {"a": 1}),)
    policy = Policy({"a": 1, "b": 1}, strategy="switching", normalizer="none", switches=switches)
    given = policy.with_weights({"a": 0.0, "b": 2.0})
    scores = {"a": [[1.0]] * 2, "b": [[3.0]] * 2}
    np.testing.assert_allclose(fuse(given, scores, events=[2, 9]).score, [[3], [3]])
    with pytest.raises(ValueError, match="weights: at least one"):
        policy.with_weights({"a": 0.0})


COVERED = (Switch(5, {"a": 1}), Switch(5, {"a": 1}, max_ratings=3))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": {}}, "at least one"),
        ({"weights": {"a": -1}}, r"weights\.a: must be 0 to 1e\+12, not -1"),
        ({"weights": {"a": np.nan}}, r"weights\.a: must be 0 to 1e\+12, not nan"),
        ({"weights": {"a": 1}, "bias": 1.0}, "only weighted_sum_bias"),
        ({"weights": {"a": 1}, "normalizer": "calibrated"}, "calibrators"),
        ({"weights": {"a": 1}, "strategy": "threshold"}, "thresholds"),
        ({"weights": {"a": 1}, "strategy": "cascade"}, "gate"),
        ({"weights": {"a": 1}, "strategy": "switching"}, "switches"),
        (
            {"weights": {"a": 1}, "strategy": "switching", "switches": COVERED},
            "max_events and max_ratings must ascend",
        ),
        ({"weights": {"a": 1}, "min_ratings": {"b": 1}}, "min_ratings: each must be of a model"),
        ({"weights": {"a": 1}, "min_ratings": {"a": -1}}, r"min_ratings\.a: must be 0 to"),
        ({"weights": {"a": 1}, "strategy": "adaptive"}, "slopes: exactly"),
        ({"weights": {"a": 1}, "strategy": "adaptive", "slopes": {"b": Slope(1, 1)}}, "slopes: each must be of"),
        ({"weights": {"a": 1}, "floor": 0.1}, "floor"),
        ({"weights": {"a": 1}, "strategy": "learned"}, "units: exactly"),
        ({"weights": {"a": 1}, "units": (Unit({"a": 1}),)}, "units: exactly"),
        ({"weights": {"a": 1}, "activation": "tanh"}, "activation: only learned"),
        ({"weights": {"a": 1e300}}, r"weights\.a: must be 0 to 1e\+12, not 1e\+300"),
        ({"weights": {"": 1}}, "weights: a model's name must have 1 to 256 characters, not 0"),
        (
            {"weights": {"a": 1}, "strategy": "threshold", "thresholds": {"a": np.inf}},
            r"thresholds\.a: must be -1e\+12 to 1e\+12, not inf",
        ),
        (
            {"weights": {"a": 1}, "strategy": "cascade", "gate": "nosuch"},
            "gate: must be a model in weights",
        ),
        ({"weights": {"a": 1}, "strategy": "cascade", "gate": "a", "keep": 10**400}, "keep: must be 1 to 100000"),
        (
            {"weights": {"a": 1, "b": 1}, "strategy": "adaptive", "slopes": {"b": Slope(1, 1)}, "floor": 0.6},
            "floor: times the number of models in weights must be at most 1",
        ),
        ({"weights": {"a": 1}, "strategy": "learned", "units": (Unit({"a": 1}),) * 65}, "units: at most 64"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Policy(**fields)  # type: ignore[arg-type]


def test_a_calibrator_that_turns_the_order_is_refused() -> None:
    with pytest.raises(ValueError, match="scale"):
        Calibrator(-1.0, 0.0)


@pytest.mark.parametrize(
    "unit",
    [
        lambda: Unit({"a": -1.0}),
        lambda: Unit({"a": 1.0}, out=-1),
        lambda: Slope(np.nan, 0.0),
        lambda: Unit({"a": 1.0}, bias=np.inf),
        lambda: Calibrator(1.0, np.nan),
        lambda: Switch(-1, {"a": 1.0}),
    ],
)
def test_parameters_that_would_turn_the_order_are_refused(unit: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must be (0|-20|-1e\+12) to (20|1e\+12|100000), not"):
        unit()
