"""The arithmetic of a scorer, on artifacts whose right answers are known."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.loading import load
from servers.runtime.datatypes import Array
from servers.runtime.repository import Repository
from servers.scorer import LoadedScorer
from servers.signature import RETRIEVE, SCORE, SIMILAR, Arrays, Limits
from tests.servers import tiny_artifact
from tests.servers.tiny_artifact import Tiny

LIMITS = Limits(B=100, L=2000, C=2000, K=2000, A=2000)


def opened(repository: Path, model: str = "rating") -> LoadedScorer:
    return load(Repository(repository).latest(model), threads=1)


@pytest.fixture(scope="module", params=[61, 10**12], ids=["small numbers", "a huge number"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, LoadedScorer]:
    repository = tmp_path_factory.mktemp("repository")
    return tiny_artifact.publish(repository, item_numbers=[*range(3, 61, 2), request.param]), opened(repository)


def user(histories: list[list[int]], **more: Any) -> Arrays:
    width = max(map(len, histories))
    padded = [[0] * (width - len(history)) + history for history in histories]
    return {"history_item": np.array(padded, np.int64).reshape(len(histories), width), **more}


def score(scorer: LoadedScorer, histories: list[list[int]], candidates: list[list[int]]) -> Array:
    given = user(histories, candidate=np.array(candidates, np.int64))
    return scorer.score(SCORE.complete(given, LIMITS))["score"]


def retrieve(scorer: LoadedScorer, histories: list[list[int]], k: list[int], **more: Array) -> Arrays:
    given = user(histories, k=np.array(k, np.int32)[:, None], **more)
    return scorer.retrieve(RETRIEVE.complete(given, LIMITS))


NUMBERS = st.sampled_from([-1, 0, 1, 2, *range(3, 63, 2), 10**12, 2**63 - 1])
HISTORIES = st.lists(NUMBERS, max_size=8)
LONG_HISTORIES = st.lists(NUMBERS, min_size=1, max_size=30)
CANDIDATES = st.lists(NUMBERS, min_size=5, max_size=5)


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.tuples(HISTORIES, CANDIDATES), min_size=1, max_size=6))
def test_scores_are_right_together_and_alone(
    tiny: tuple[Tiny, LoadedScorer], rows: list[tuple[list[int], list[int]]]
) -> None:
    """Unknown items, empty histories, ragged histories, padding: row by row as if alone."""
    artifact, scorer = tiny
    together = score(scorer, [history for history, _ in rows], [candidates for _, candidates in rows])
    for row, (history, candidates) in zip(together, rows, strict=True):
        np.testing.assert_allclose(row, artifact.score(history, candidates), atol=1e-5)
        np.testing.assert_allclose(row, score(scorer, [history], [candidates])[0], atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.tuples(LONG_HISTORIES, st.integers(1, 40)), min_size=1, max_size=4))
def test_retrieval_gives_the_best_items_outside_the_history(
    tiny: tuple[Tiny, LoadedScorer], rows: list[tuple[list[int], int]]
) -> None:
    artifact, scorer = tiny
    found = retrieve(scorer, [history for history, _ in rows], [k for _, k in rows])
    for item, item_score, (history, k) in zip(found["item"], found["score"], rows, strict=True):
        has_query = np.isfinite(artifact.query(history)).all()
        best = artifact.best(history, k) if has_query else np.array([], np.int64)
        np.testing.assert_array_equal(item, np.pad(best, (0, len(item) - len(best))))
        np.testing.assert_allclose(item_score[: len(best)], artifact.score(history, best), atol=1e-5)
        assert np.isnan(item_score[len(best) :]).all()


ALLOWED = st.lists(NUMBERS, min_size=1, max_size=40)


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(st.tuples(LONG_HISTORIES, st.integers(1, 40), ALLOWED), min_size=1, max_size=4))
def test_retrieval_among_allowed_items_gives_the_best_of_them(
    tiny: tuple[Tiny, LoadedScorer], rows: list[tuple[list[int], int, list[int]]]
) -> None:
    """Unknown numbers allow nothing; a row of zeros alone allows all; a batch is answered row by row."""
    artifact, scorer = tiny
    padded = [allowed + [0] * (40 - len(allowed)) for _, _, allowed in rows]
    histories = [history for history, _, _ in rows]
    found = retrieve(scorer, histories, [k for _, k, _ in rows], allowed=np.array(padded, np.int64))
    for item, (history, k, allowed) in zip(found["item"], rows, strict=True):
        has_query = np.isfinite(artifact.query(history)).all()
        best = artifact.best(history, len(artifact.numbers)) if has_query else np.array([], np.int64)
        best = best[np.isin(best, allowed)][:k] if any(allowed) else best[:k]
        np.testing.assert_array_equal(item, np.pad(best, (0, len(item) - len(best))))


@pytest.mark.parametrize("index", ["Flat", "SQ8", "HNSW32 efSearch=128", "IVF4,Flat nprobe=3"])
@pytest.mark.parametrize("max_exact", [4, 100])
def test_allowed_items_are_found_though_the_index_misses_them(
    tmp_path: Path, index: str, max_exact: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all of the lists, or where those are not searched, exactly."""
    monkeypatch.setattr("servers.scorer.MAX_EXACT", max_exact)
    artifact = tiny_artifact.publish(tmp_path, item_numbers=range(1, 401), index=index)
    worst = artifact.best([1], 399)[-5:]
    scorer = opened(tmp_path)
    found = retrieve(scorer, [[1]], [10], allowed=worst[None])
    np.testing.assert_array_equal(found["item"][0], [*worst, 0, 0, 0, 0, 0])
    fewer = retrieve(scorer, [[1]], [3], allowed=worst[None])
    np.testing.assert_array_equal(fewer["item"][0], worst[:3])


def test_lists_that_have_too_few_of_the_allowed_items_are_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the items are found in two of four lists, though the other two have the best of the allowed ones."""
    monkeypatch.setattr("servers.scorer.MAX_EXACT", 4)
    artifact = tiny_artifact.publish(tmp_path, item_numbers=range(1, 401), index="IVF4,Flat nprobe=3")
    scorer = opened(tmp_path)
    scorer._index.nprobe = 1
    allowed = artifact.best([1], 399)[200:]
    found = retrieve(scorer, [[1]], [150], allowed=allowed[None])["item"][0]
    np.testing.assert_array_equal(found, allowed[:150])


@pytest.mark.parametrize(
    ("index", "floor"),
    [("Flat", 1.0), ("HNSW32 efSearch=64", 0.95), ("IVF16,Flat nprobe=12", 0.95), ("SQ8", 0.95)],
)
def test_a_history_of_1000_items_leaves_the_best_k_with_any_index(tmp_path: Path, index: str, floor: float) -> None:
    artifact = tiny_artifact.publish(tmp_path, item_numbers=range(1, 6001), index=index)
    history = artifact.best([5], 1000).tolist()  # what a search would find first
    found = retrieve(opened(tmp_path), [history, [5]], [150, 10])
    assert len(set(found["item"][0].tolist()) - {0, *history}) == 150
    assert len(set(found["item"][1, :10].tolist()) - {0, 5}) == 10
    np.testing.assert_allclose(found["score"][0], artifact.score(history, found["item"][0]), atol=1e-5)
    assert (np.diff(found["score"][0]) <= 0).all()
    best = artifact.best(history, 150)
    assert np.isin(best, found["item"][0]).mean() >= floor
    if floor == 1:
        np.testing.assert_array_equal(found["item"][0], best)


def test_an_index_that_finds_too_little_is_made_up_for_by_exact_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.golden.MIN_RECALL", 0)
    artifact = tiny_artifact.publish(tmp_path, item_numbers=range(1, 1201), index="IVF64,Flat nprobe=1")
    history = list(range(1, 1001))
    found = retrieve(opened(tmp_path), [history], [150])
    np.testing.assert_array_equal(found["item"][0], artifact.best(history, 150))


@pytest.mark.parametrize("max_values", [1, 50, 1_000])
def test_what_is_computed_in_parts_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_values: int
) -> None:
    """One candidate at a time, several, and several users."""
    tiny_artifact.publish(tmp_path)
    scorer = opened(tmp_path)
    random = np.random.default_rng(0)
    histories = random.integers(0, 70, (9, 7)).tolist()
    candidates = random.integers(0, 70, (9, 40)).tolist()
    scores = score(scorer, histories, candidates)
    found = retrieve(scorer, histories, [20] * 9)
    monkeypatch.setattr("servers.scorer.MAX_GATHERED_VALUES", max_values)
    monkeypatch.setattr("servers.scorer.MAX_TOWER_VALUES", max_values)
    np.testing.assert_allclose(score(scorer, histories, candidates), scores, atol=1e-5)
    again = retrieve(scorer, histories, [20] * 9)
    np.testing.assert_array_equal(again["item"], found["item"])
    np.testing.assert_allclose(again["score"], found["score"], atol=1e-5)


def test_a_large_request_takes_little_memory(tmp_path: Path) -> None:
    """What it would gather at once is 32 rows of 20,000 candidates of 512 values, 1.3 GB."""
    tiny_artifact.publish(tmp_path, dimension=512)
    scorer = opened(tmp_path)
    given = user([[3]] * 32, candidate=np.full((32, 20_000), 5))
    request = SCORE.complete(given, Limits(B=32, L=1, C=20_000, K=1))
    tracemalloc.start()
    scorer.score(request)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 << 20


def test_similar_items_are_the_nearest_by_cosine_without_the_item_itself(tiny: tuple[Tiny, LoadedScorer]) -> None:
    artifact, scorer = tiny
    unit = artifact.vectors / np.linalg.norm(artifact.vectors, axis=1, keepdims=True)
    given = {
        "item": np.array([[3], [999], [59]]),
        "k": np.array([[5], [5], [40]], np.int32),
    }
    found = scorer.similar(SIMILAR.complete(given, LIMITS))
    for row, number, k in ((0, 3, 5), (2, 59, 40)):
        cosine = unit @ unit[artifact.row(number)]
        cosine[artifact.row(number)] = -2
        nearest = artifact.numbers[np.argsort(-cosine)][: min(k, 29)]
        np.testing.assert_array_equal(found["item"][row], np.pad(nearest, (0, 40 - len(nearest))))
        np.testing.assert_allclose(
            found["score"][row, : len(nearest)], np.sort(cosine)[::-1][: len(nearest)], atol=1e-5
        )
    assert (found["item"][1] == 0).all()
    assert np.isnan(found["score"][1]).all()


def probe(tmp_path: Path, given: Arrays, max_history: int = 0) -> dict[str, list[float]]:
    """What the tower was fed, by input."""
    artifact = tiny_artifact.publish_probe(tmp_path, max_history=max_history)
    rows = len(next(iter(given.values())))
    candidates = np.tile(artifact.numbers, (rows, 1))
    complete = SCORE.complete({**given, "candidate": candidates}, LIMITS)
    sums = opened(tmp_path).score(complete)["score"]
    return dict(zip(tiny_artifact.PROBED, sums.T.tolist(), strict=True))


def test_the_tower_is_fed_all_of_its_inputs(tmp_path: Path) -> None:
    """Rows of items and users, and what belongs to unknown items left out."""
    fed = probe(
        tmp_path,
        {
            "user_id": np.array([["Zoë".encode()], [b"nobody"]], object),
            "history_item": np.array([[10, 77, 30], [0, 0, 60]]),
            "history_rating": np.array([[1, 2, 4], [5, 5, 3]], np.float32),
            "history_time": np.array([[100, 200, 400], [1, 2, 5]]),
            "query_time": np.array([[7], [8]]),
        },
    )
    assert fed == {
        "user_index": [3, 0],
        "history_index": [1 + 3, 6],
        "history_rating": [1 + 4, 3 + 100],  # the history is two events long now, and NaN counts as 100
        "history_time": [500, 5],
        "query_time": [7, 8],
        "history_feature": [2 * (1 + 3), 2 * 6],
    }


def test_the_tower_sees_the_last_known_events_only(tmp_path: Path) -> None:
    history = np.array([[10, 20, 77, 30, 0]])
    fed = probe(
        tmp_path, {"history_item": history, "history_time": np.array([[1, 10, 100, 1000, 10_000]])}, max_history=2
    )
    assert fed["history_index"] == [2 + 3]
    assert fed["history_time"] == [1010]
    assert fed["history_rating"] == [200]
