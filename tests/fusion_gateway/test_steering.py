"""Scenarios on random catalogs, candidates and requests: the order in which their parts are applied, as the README has
it."""

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import polars as pl
import pytest

from fusion_gateway.candidates import Filtered
from fusion_gateway.catalog.catalog import SCHEMA, Catalog
from fusion_gateway.fusion import Candidates, Eligible, Fused, Mask
from fusion_gateway.ordering import NONE, ListConstraints, Ranking, fill_unscored, rank
from fusion_gateway.scenarios import AtMost, Scenario
from fusion_gateway.steering import NOT_STEERED, Steered, Steering

NUM_CASES = 600
NOW = 1_700_000_000
STUDIOS = ("", "A24", "Ghibli", "Pixar")
MOODS = ("calm", "dark", "odd")
GENRES = ("Comedy", "Drama", "Horror")


@dataclass(frozen=True)
class Case:
    """A request, and what models say."""

    catalog: Catalog
    studios: Sequence[str]
    """Of each item; empty: none."""
    moods: Sequence[Sequence[str]]
    eligible: Mask
    shown: Mask
    scenario: Scenario
    constraints: ListConstraints
    retrieved: Mask
    scores: Sequence[float | None]
    """By row; None: no model said anything."""
    any_model: bool


def catalog_of(movies: Sequence[tuple[str, int, Sequence[str], int]]) -> Catalog:
    """Title, year, genres and votes of each; ids are "i0", "i1" ..."""
    rows = [
        (number, f"i{number - 1}", title, year, list(genres), "", "", votes, float(number % 5))
        for number, (title, year, genres, votes) in enumerate(movies, 1)
    ]
    return Catalog(pl.DataFrame(rows, SCHEMA, orient="row"), 1)


def case_of(seed: int) -> Case:
    """Works have several ids now and then, which have their studio and votes in common."""
    draw = Random(seed)
    size = draw.randint(1, 24)
    works = [draw.randint(0, size) for _ in range(size)]
    votes = [draw.choice([0, 0, 5]) for _ in range(size + 1)]
    studio = [draw.choice(STUDIOS) for _ in range(size + 1)]
    year = [draw.randint(1990, 2023) for _ in range(size + 1)]
    genres = [draw.sample(GENRES, draw.randint(0, 2)) for _ in works]
    catalog = catalog_of([(f"Movie {work}", year[work], genres[row], votes[work]) for row, work in enumerate(works)])
    studios = [studio[work] for work in works]
    moods = [draw.choices(MOODS, k=draw.randint(0, 3)) for _ in works]
    pairs = zip(studios, moods, strict=True)
    values = {row: {"studio": studio or None, "moods": tuple(mood)} for row, (studio, mood) in enumerate(pairs)}
    catalog.attributes = catalog.attributes.patched(values)
    shown = {work for work in works if draw.random() < 0.1}
    return Case(
        catalog,
        studios,
        moods,
        eligible=mask(draw, size, draw.choice([1.0, 0.5])),
        shown=np.array([work in shown for work in works]),
        scenario=scenario_of(draw, size),
        constraints=constraints_of(draw),
        retrieved=mask(draw, size, 0.5),
        scores=[draw.choice([None, draw.uniform(-5, 5)]) for _ in works],
        any_model=draw.random() < 0.8,
    )


def mask(draw: Random, size: int, share: float) -> Mask:
    return np.array([draw.random() < share for _ in range(size)], np.bool_)


CONDITIONS = [
    {"equals": {"attribute": "studio", "text": "pixar"}},
    {"contains": {"attribute": "moods", "text": "Dark"}},
    {"range": {"attribute": "year", "min": 2010}},
    {"range": {"attribute": "studio", "min": 1}},  # a text is in no range
]
LIMITED = [["studio"], ["studio"], ["moods"], ["studio", "moods"], ["genres"]]


def scenario_of(draw: Random, size: int) -> Scenario:
    items, ranks = draw.sample(range(size + 1), min(size, 4)), draw.sample(range(1, 9), 4)
    amount, share = draw.choice([2.5, -1.0]), draw.choice([0.3, 1.0])
    document = {
        "pin": [{"item": f"i{item}", "rank": rank} for item, rank in zip(items, ranks, strict=False)],
        "boost": [{"name": "a boost", "amount": amount, "where": draw.choice(CONDITIONS)}],
        "at_most": [{"attribute": name, "count": draw.randint(1, 3)} for name in draw.choice(LIMITED)],
        "freshness": {"half_life_days": 1000.0, "amount": 3.0},
        "new_share": share,
    }
    return Scenario.model_validate({part: document[part] for part in document if draw.random() < 0.5})


def constraints_of(draw: Random) -> ListConstraints:
    return ListConstraints(
        k=draw.randint(1, 12),
        diversity=draw.choice([0.0, 0.0, 0.5]),
        max_per_genre=draw.choice([None, None, 2]),
        exploration=draw.choice([0.0, 0.0, 0.5]),
        seed=draw.randint(0, 9),
    )


@dataclass(frozen=True)
class Answer:
    """What the gateway makes of a case, by its own code."""

    rows: list[int]
    ranking: Ranking
    candidates: Candidates
    fused: Fused | None
    steered: Steered


def answer(case: Case) -> Answer:
    shown = np.flatnonzero(case.shown)
    eligible = Eligible.of_mask(case.eligible)
    items = Filtered(eligible, True, eligible)
    steering = Steering.of(case.scenario, items, shown, case.catalog, case.constraints.k)
    candidates = Candidates(np.flatnonzero(case.retrieved & case.eligible), {})
    if steering:
        candidates = steering.with_candidates(candidates)
    steered = steering.steered(candidates.rows, NOW) if steering else NOT_STEERED
    scores = np.array([case.scores[row] for row in candidates.rows], np.float64)[None]
    fused = None
    if case.any_model and len(candidates.rows):
        score = np.where(scores[0] < -4, -np.inf, scores[0])  # by a threshold of the policy
        fused = Fused(score, ("model",), scores, scores, np.ones_like(scores), 0.0)
    ranking = rank(fused, candidates.rows, case.catalog, case.constraints, shown, steered.rules)
    rows = candidates.rows[ranking.positions].tolist()
    return Answer(rows, ranking, candidates, fused, steered)


@pytest.fixture(scope="module")
def answered() -> list[tuple[Case, Answer]]:
    drawn = [case_of(seed) for seed in range(NUM_CASES)]
    return [(case, answer(case)) for case in drawn]


def expected_pins(case: Case) -> dict[int, int]:
    """Rank -> row."""
    pins: dict[int, int] = {}
    for pin in sorted(case.scenario.pin, key=lambda pin: pin.rank):
        row = case.catalog.row_of(pin.item)
        if row is None or pin.rank > case.constraints.k or case.shown[row] or not case.eligible[row]:
            continue
        if case.catalog.work[row] not in case.catalog.work[list(pins.values())]:
            pins[pin.rank] = row
    return pins


def test_nothing_that_is_ruled_out_comes_and_nothing_twice(answered: list[tuple[Case, Answer]]) -> None:
    for case, got in answered:
        listed = got.rows
        assert case.eligible[listed].all()
        assert not case.shown[listed].any()
        assert len(set(case.catalog.work[listed].tolist())) == len(listed) <= case.constraints.k


def test_pins_keep_their_ranks(answered: list[tuple[Case, Answer]]) -> None:
    for case, got in answered:
        pins = expected_pins(case)
        assert {rank: int(got.candidates.rows[at]) for rank, at in got.steered.rules.pins.items()} == pins
        for pinned_rank, row in pins.items():
            assert row in got.rows
            if pinned_rank <= len(got.rows) - sum(later > pinned_rank for later in pins):
                assert got.rows[pinned_rank - 1] == row
        at_pins = np.isin(got.ranking.positions, got.steered.rules.pinned)
        assert not got.ranking.is_drawn[at_pins].any()
        assert (got.ranking.propensities[at_pins] == 1).all()


def test_values_have_their_limits_but_for_pins(answered: list[tuple[Case, Answer]]) -> None:
    for case, got in answered:
        pinned = list(expected_pins(case).values())
        for limit in case.scenario.at_most:
            values = values_of(case, limit.attribute)
            in_list = Counter(value for row in got.rows for value in values[row])
            in_pins = Counter(value for row in pinned for value in values[row])
            for value, count in in_list.items():
                assert count <= max(limit.count, in_pins[value])


def values_of(case: Case, attribute: str) -> list[set[str]]:
    if attribute == "studio":
        return [{studio} - {""} for studio in case.studios]
    return [set(each) for each in (case.moods if attribute == "moods" else case.catalog.genres)]


def test_the_rest_is_in_the_order_of_scores_that_add_up(answered: list[tuple[Case, Answer]]) -> None:
    for case, got in answered:
        listed, scores = got.ranking.positions, got.ranking.scores
        by_score = ~np.isin(listed, got.steered.rules.pinned)
        if not case.constraints.diversity and not case.constraints.exploration:
            assert (np.diff(scores[listed[by_score]]) <= 0).all()
        rated = case.catalog.weighted_rating[got.candidates.rows]
        ruled_out = got.fused is not None and np.isneginf(got.fused.score)
        base = rated if got.fused is None else fill_unscored(np.where(ruled_out, np.nan, got.fused.score))
        for position in listed.tolist():
            parts = got.steered.contributions(position)
            whole = base[position] + sum(part.contribution for part in parts)
            assert scores[position] == pytest.approx(whole, abs=1e-4)


def test_k_items_come_where_there_are_so_many(answered: list[tuple[Case, Answer]]) -> None:
    for case, got in answered:
        pins = expected_pins(case)
        limits = case.scenario.at_most
        if case.constraints.max_per_genre or any(limit.attribute != "studio" for limit in limits):
            continue  # how many there can be is hard to tell then
        if got.fused is not None and np.isneginf(got.fused.score).any():
            continue  # the policy rules some out
        pool = case.eligible & ~case.shown
        if not limits:  # models and popularity fill the list then
            pool &= case.retrieved
        free = {int(case.catalog.work[row]): case.studios[row] for row in np.flatnonzero(pool).tolist()}
        for row in pins.values():
            free.pop(int(case.catalog.work[row]), None)
        possible = len(pins) + len(free)
        if limits:
            taken = Counter(case.studios[row] for row in pins.values())
            there = Counter(free.values())
            room = {studio: max(limits[0].count - taken[studio], 0) if studio else len(free) for studio in there}
            possible = len(pins) + sum(min(there[studio], room[studio]) for studio in there)
        assert len(got.rows) >= min(case.constraints.k, possible)


def test_a_share_is_new_where_there_are_so_many(answered: list[tuple[Case, Answer]]) -> None:
    for case, got in answered:
        if case.scenario.at_most or case.constraints.max_per_genre:
            continue  # which come first
        catalog = case.catalog
        if got.fused is not None and np.isneginf(got.fused.score).any():
            continue
        is_new = catalog.votes == 0
        there = len(set(catalog.work[case.eligible & ~case.shown & is_new].tolist()))
        pins = expected_pins(case).values()
        ranks = min(case.constraints.k, len(got.rows)) - sum(not is_new[row] for row in pins)
        needed = round(case.scenario.new_share * case.constraints.k)
        assert is_new[got.rows].sum() >= min(needed, there, ranks)


def test_an_empty_scenario_changes_nothing(answered: list[tuple[Case, Answer]]) -> None:
    for case, got in answered[:100]:
        plain = answer(replace(case, scenario=Scenario()))
        assert plain.steered is NOT_STEERED
        if not case.scenario.steers:
            assert plain.rows == got.rows


def test_a_value_that_an_item_has_twice_counts_once() -> None:
    catalog = catalog_of([("Movie", 2000, ["Drama", "drama"], 1)])
    scenario = Scenario.model_validate({"at_most": [{"attribute": "genres", "count": 1}]})
    everything = Eligible.of_mask(np.ones(1, np.bool_))
    steering = Steering.of(scenario, Filtered(everything, False, everything), NONE, catalog, 1)
    assert steering
    assert steering.with_candidates(Candidates(NONE, {})).rows.tolist() == [0]


def test_limits_of_many_values_take_little_memory() -> None:
    size, draw = 4000, Random(1)
    catalog = catalog_of([(f"Movie {row}", 2000, (), 0) for row in range(size)])
    actors = [f"a{number}" for number in range(40_000)]
    cast = [tuple(draw.choices(actors, k=20)) for _ in range(size)]
    catalog.attributes = catalog.attributes.patched({row: {"cast": names} for row, names in enumerate(cast)})
    scenario = Scenario(at_most=[AtMost(attribute="cast", count=1)])
    tracemalloc.start()
    try:
        steering = Steering(scenario, catalog, Eligible.of_mask(np.ones(size, np.bool_)), {}, 100)
        rules = steering.steered(np.arange(size), NOW).rules
        listed = rank(None, np.arange(size), catalog, ListConstraints(100), rules=rules).positions
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(listed) == 100
    counts = Counter(actor for row in listed for actor in set(cast[row]))
    assert max(counts.values()) == 1
    assert peak < 32 << 20
