"""A version whose vectors are mapped answers as one whose vectors are copied."""

from pathlib import Path

import numpy as np
import pytest

from servers import tables
from servers.loading import load
from servers.runtime.repository import Repository
from servers.scorer import LoadedScorer
from servers.signature import RETRIEVE, SCORE, SIMILAR, Limits
from tests.servers import tiny_artifact

ITEMS, DIMENSION = 3000, 32
LIMITS = Limits(B=8, L=50, C=ITEMS, K=100, A=ITEMS)


@pytest.fixture(scope="module", params=["Flat", "IVF16,Flat nprobe=16", "IVF16,SQ8 nprobe=16", "HNSW32"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository = tmp_path_factory.mktemp("mapped")
    numbers = range(1, 1 + ITEMS)
    tiny_artifact.publish(repository, item_numbers=numbers, dimension=DIMENSION, index=request.param)
    return repository


def scorers(folder: Path) -> list[LoadedScorer]:
    version = Repository(folder).open("rating", 1)
    return [load(version, threads=1, shared=shared) for shared in (False, True)]


def maps() -> list[str]:
    return [line.split()[1] for line in Path("/proc/self/maps").read_text().splitlines() if "mapped" in line]


def test_answers_are_the_same_and_the_files_are_mapped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MIN_BYTES", 1000)
    copied, mapped = scorers(folder)
    history = {"history_item": np.array([[3, 5], [2990, 7]])}
    k = {"k": np.full((2, 1), 20, np.int32)}
    allowed = {"allowed": np.tile(np.arange(100, 2000), (2, 1))}
    for name, inputs in (
        ("score", SCORE.complete({**history, "candidate": np.array([[1, 3000, 3001]] * 2)}, LIMITS)),
        ("retrieve", RETRIEVE.complete({**history, **k}, LIMITS)),
        ("retrieve", RETRIEVE.complete({**history, **k, **allowed}, LIMITS)),
        ("similar", SIMILAR.complete({"item": np.array([[1], [9999]]), **k}, LIMITS)),
    ):
        expected, found = (getattr(scorer, name)(inputs) for scorer in (copied, mapped))
        for output in expected:
            np.testing.assert_array_equal(found[output], expected[output])
    # The tower's table; the index; vectors of items and of similar items, copied on write for their first row.
    assert sorted(maps()) == ["r--s", "r--s", "rw-p", "rw-p"]
    del mapped, found
    assert maps() == []
