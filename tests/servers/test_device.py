"""What --device cuda needs, and what it gives where that is there."""

from pathlib import Path

import numpy as np
import pytest

from servers.device import check_device
from servers.loading import load
from servers.runtime.errors import ConfigurationError
from servers.runtime.repository import Repository
from servers.signature import RETRIEVE, SCORE, Limits
from tests.servers import tiny_artifact
from tests.servers.running import command, run

LIMITS = Limits(B=100, L=2000, C=2000, K=2000, A=2000)


def missing() -> str:
    """Why there is no GPU to test on; empty where there is one."""
    try:
        check_device("cuda")
    except ConfigurationError as error:
        return str(error)
    return ""


@pytest.mark.skipif(not missing(), reason="this machine has a GPU")
def test_without_a_gpu_the_program_says_what_is_missing(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path)
    ended = run(*command("rating", tmp_path, "--device", "cuda"))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: {missing()}\n"
    assert "pip install 'marquee[gpu]'" in ended.stderr or "no GPU is visible" in ended.stderr


@pytest.mark.skipif(bool(missing()), reason=f"not tested on a GPU: {missing()}")
@pytest.mark.parametrize("index", ["Flat", "IVF16,Flat"])
def test_a_gpu_gives_the_answers_of_the_cpu(tmp_path: Path, index: str) -> None:
    artifact = tiny_artifact.publish(tmp_path, item_numbers=range(1, 5001), index=index)
    scorer = load(Repository(tmp_path).latest("rating"), threads=1, device="cuda")
    history = list(range(1, 2000))
    given = {"history_item": np.array([history]), "candidate": np.array([[7, 4000, 9999]])}
    score = scorer.score(SCORE.complete(given, LIMITS))["score"]
    np.testing.assert_allclose(score[0], artifact.score(history, [7, 4000, 9999]), atol=1e-4)
    given = {"history_item": np.array([history]), "k": np.array([[500]], np.int32)}
    item = scorer.retrieve(RETRIEVE.complete(given, LIMITS))["item"][0]
    assert len(set(item.tolist()) - {0, *history}) == 500
    if index == "Flat":
        np.testing.assert_array_equal(item, artifact.best(history, 500))


@pytest.mark.skipif(bool(missing()), reason=f"not tested on a GPU: {missing()}")
def test_an_index_that_no_gpu_can_search_is_reported(tmp_path: Path) -> None:
    tiny_artifact.publish(tmp_path, index="HNSW8")
    with pytest.raises(ConfigurationError, match="IndexHNSWFlat cannot be on the GPU"):
        load(Repository(tmp_path).latest("rating"), threads=1, device="cuda")
