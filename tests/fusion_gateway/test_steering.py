"""Scenarios on random catalogs, candidates and requests: the order in which their parts are applied, as the README has
it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusion_gateway.candidates import Eligible
from fusion_gateway.catalog.catalog import SCHEMA, Catalog
from fusion_gateway.fusion import Candidates, Fused, Mask
from fusion_gateway.ordering import ListConstraints, Ranking, fill_unscored, rank
from fusion_gateway.scenarios import Scenario
from fusion_gateway.steering import NOT_STEERED, Steered, Steering

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


@st.composite
def cases(draw: st.DrawFn) -> Case:
    size = draw(st.integers(1, 24))
    # Few titles, so that some works have several ids; an id's studio and votes are its work's.
    works = draw(st.lists(st.integers(0, size), min_size=size, max_size=size))
    of_work = draw(
        st.lists(
            st.tuples(st.sampled_from(STUDIOS), st.sampled_from([0, 0, 5]), st.integers(1990, 2023)),
            min_size=size + 1,
            max_size=size + 1,
        )
    )
    genres = st.lists(st.sampled_from(GENRES), max_size=2, unique=True)
    movies = [(f"Movie {work}", of_work[work][2], draw(genres), of_work[work][1]) for work in works]
    catalog = catalog_of(movies)
    studios = [of_work[work][0] for work in works]
    moods = [draw(st.lists(st.sampled_from(MOODS), max_size=3)) for _ in works]
    values = {
        row: {"studio": studio or None, "moods": tuple(mood)}
        for row, (studio, mood) in enumerate(zip(studios, moods, strict=True))
    }
    catalog.attributes = catalog.attributes.patched(values)
    masks = st.lists(st.booleans(), min_size=size, max_size=size).map(lambda bits: np.array(bits, np.bool_))
    shown_works = {work for work in works if draw(st.integers(0, 9)) == 0}
    score = st.one_of(st.none(), st.floats(-5, 5, width=16))
    return Case(
        catalog,
        studios,
        moods,
        eligible=draw(st.one_of(st.just(np.ones(size, np.bool_)), masks)),
        shown=np.array([work in shown_works for work in works]),
        scenario=draw(scenarios(size)),
        constraints=draw(constraints()),
        retrieved=draw(masks),
        scores=draw(st.lists(score, min_size=size, max_size=size)),
        any_model=draw(st.integers(0, 4)) > 0,
    )


@st.composite
def scenarios(draw: st.DrawFn, size: int) -> Scenario:
    items = draw(st.lists(st.integers(0, size), max_size=4, unique=True))
    ranks = draw(st.permutations(range(1, 9)))
    where = draw(
        st.sampled_from(
            [
                {"equals": {"attribute": "studio", "text": "pixar"}},
                {"contains": {"attribute": "moods", "text": "Dark"}},
                {"range": {"attribute": "year", "min": 2010}},
                {"range": {"attribute": "studio", "min": 1}},  # a text is in no range
            ]
        )
    )
    limits = draw(st.sampled_from([[], ["studio"], ["studio"], ["moods"], ["studio", "moods"], ["genres"]]))
    document = {
        "pin": [{"item": f"i{item}", "rank": ranks[index]} for index, item in enumerate(items)],
        "boost": [{"name": "a boost", "amount": draw(st.sampled_from([2.5, -1.0])), "where": where}],
        "at_most": [{"attribute": name, "count": draw(st.integers(1, 3))} for name in limits],
        "freshness": {"half_life_days": 1000.0, "amount": 3.0},
        "new_share": draw(st.sampled_from([0.0, 0.3, 1.0])),
    }
    left_out = {part: document[part] for part in document if draw(st.booleans())}
    return Scenario.model_validate(left_out)


@st.composite
def constraints(draw: st.DrawFn) -> ListConstraints:
    return ListConstraints(
        k=draw(st.integers(1, 12)),
        diversity=draw(st.sampled_from([0.0, 0.0, 0.5])),
        max_per_genre=draw(st.sampled_from([None, None, 2])),
        exploration=draw(st.sampled_from([0.0, 0.0, 0.5])),
        seed=draw(st.integers(0, 9)),
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
    items = Eligible(case.eligible, True, case.eligible)
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


CASES = settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(cases())
@CASES
def test_nothing_that_is_ruled_out_comes_and_nothing_twice(case: Case) -> None:
    listed = answer(case).rows
    assert case.eligible[listed].all()
    assert not case.shown[listed].any()
    assert len(set(case.catalog.work[listed].tolist())) == len(listed) <= case.constraints.k


@given(cases())
@CASES
def test_pins_keep_their_ranks(case: Case) -> None:
    got = answer(case)
    pins = expected_pins(case)
    assert {rank: int(got.candidates.rows[at]) for rank, at in got.steered.rules.pins.items()} == pins
    for pinned_rank, row in pins.items():
        assert row in got.rows
        if pinned_rank <= len(got.rows) - sum(later > pinned_rank for later in pins):
            assert got.rows[pinned_rank - 1] == row
    at_pins = np.isin(got.ranking.positions, got.steered.rules.pinned)
    assert not got.ranking.is_drawn[at_pins].any()
    assert (got.ranking.propensities[at_pins] == 1).all()


@given(cases())
@CASES
def test_values_have_their_limits_but_for_pins(case: Case) -> None:
    got = answer(case)
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


@given(cases())
@CASES
def test_the_rest_is_in_the_order_of_scores_that_add_up(case: Case) -> None:
    got = answer(case)
    listed, scores = got.ranking.positions, got.ranking.scores
    by_score = ~np.isin(listed, got.steered.rules.pinned)
    if not case.constraints.diversity and not case.constraints.exploration:
        assert (np.diff(scores[listed[by_score]]) <= 0).all()
    rated = case.catalog.weighted_rating[got.candidates.rows]
    ruled_out = got.fused is not None and np.isneginf(got.fused.score)
    base = rated if got.fused is None else fill_unscored(np.where(ruled_out, np.nan, got.fused.score))
    for position in listed.tolist():
        parts = got.steered.contributions(position)
        assert scores[position] == pytest.approx(base[position] + sum(part.contribution for part in parts), abs=1e-4)


@given(cases())
@CASES
def test_k_items_come_where_there_are_so_many(case: Case) -> None:
    got, pins = answer(case), expected_pins(case)
    limits = case.scenario.at_most
    if case.constraints.max_per_genre or any(limit.attribute != "studio" for limit in limits):
        return  # how many there can be is hard to tell then
    if got.fused is not None and np.isneginf(got.fused.score).any():
        return  # the policy rules some out
    needs_all = bool(limits) or case.scenario.new_share == 1
    pool = case.eligible & ~case.shown
    if not needs_all:
        pool &= case.retrieved
    free = {int(case.catalog.work[row]): case.studios[row] for row in np.flatnonzero(pool)}
    for row in pins.values():
        free.pop(int(case.catalog.work[row]), None)
    possible = len(pins) + len(free)
    if limits:
        taken = Counter(case.studios[row] for row in pins.values())
        there = Counter(free.values())
        room = {studio: max(limits[0].count - taken[studio], 0) if studio else len(free) for studio in there}
        possible = len(pins) + sum(min(there[studio], room[studio]) for studio in there)
    assert len(got.rows) >= min(case.constraints.k, possible) if needs_all else True
    assert len(got.rows) >= min(case.constraints.k, possible)


@given(cases())
@CASES
def test_a_share_is_new_where_there_are_so_many(case: Case) -> None:
    if case.scenario.at_most or case.constraints.max_per_genre:
        return  # which come first
    got, catalog = answer(case), case.catalog
    if got.fused is not None and np.isneginf(got.fused.score).any():
        return
    is_new = catalog.votes == 0
    there = len(set(catalog.work[case.eligible & ~case.shown & is_new].tolist()))
    pins = expected_pins(case).values()
    ranks = min(case.constraints.k, len(got.rows)) - sum(not is_new[row] for row in pins)
    needed = round(case.scenario.new_share * case.constraints.k)
    assert is_new[got.rows].sum() >= min(needed, there, ranks)


@given(cases())
@CASES
def test_an_empty_scenario_changes_nothing(case: Case) -> None:
    assert Steering.of(Scenario(), Eligible(case.eligible, True, case.eligible), np.zeros(0, np.int64), case.catalog, 5) is None
    plain = Case(**{**case.__dict__, "scenario": Scenario()})
    candidates = np.flatnonzero(plain.retrieved & plain.eligible)
    assert answer(plain).candidates.rows.tolist() == candidates.tolist()
