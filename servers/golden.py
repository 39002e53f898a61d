"""What a version has to prove before it serves: it scores as when it was made, and finds the best items.

Blocking; meant for a thread of its own.
"""

import numpy as np

from servers.published import read_arrays
from servers.runtime.datatypes import Array
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Version
from servers.scorer import MAX_VALUE, LoadedScorer
from servers.signature import SCORE, Arrays, Limits

LIMITS = Limits(B=256, L=100_000, C=10_000, K=0)
MAX_TOLERANCE = 1e-2
"""Maximum tolerance for scores up to 100, in proportion for larger ones: ten times what training allows."""
MAX_SEARCHED_ITEMS = 64
"""Maximum number of items whose vectors are searched for beside the golden users' queries."""
MIN_RECALL = 0.8
"""Share of the best items that an index must find. Training publishes no index that finds less than 0.98."""


def check(scorer: LoadedScorer, version: Version) -> None:
    """Raises ArtifactError, and whatever the scorer raises for inputs that it should know."""
    golden = read_arrays(version, "golden.npz")
    expected = golden.pop("score")
    requests = _requests(golden, expected)
    _check_scores(scorer, requests, expected, version)
    if (largest := scorer.largest_query(requests)) > MAX_VALUE:
        _refuse(version, f"a golden user's query has values up to {largest:g}; the limit is {MAX_VALUE:g}")
    if (recall := scorer.recall(requests, MAX_SEARCHED_ITEMS)) < MIN_RECALL:
        _refuse(version, f"the index finds {recall:.2f} of the items with the best scores, not {MIN_RECALL}")
    _check_last(scorer)


def _requests(golden: Arrays, expected: Array) -> Arrays:
    """Raises InvalidArgument."""
    if expected.dtype != np.float32 or len(golden["user_id"]) != len(expected):
        raise ValueError("golden.npz has no score for each request")
    user_id = np.array([[user.encode()] for user in golden["user_id"].tolist()], object)
    return SCORE.complete({**golden, "user_id": user_id}, LIMITS)


def _check_scores(scorer: LoadedScorer, requests: Arrays, expected: Array, version: Version) -> None:
    tolerance = version.manifest.scorer.golden_tolerance
    finite = np.abs(expected[np.isfinite(expected)])
    limit = MAX_TOLERANCE * max(1, finite.max(initial=0) / 100)
    if not finite.size:
        _refuse(version, "there is no golden score")
    if not 0 <= tolerance <= limit:
        _refuse(version, f"golden scores may be off by {tolerance:g}; the limit is {limit:g}")
    score = scorer.score(requests)["score"]
    if score.shape != expected.shape:
        _refuse(version, f"golden scores are {list(expected.shape)}; their requests make {list(score.shape)}")
    # NaN equals NaN: where the model abstained in training, it has to abstain here.
    wrong = ~np.isclose(score, expected, rtol=0, atol=tolerance, equal_nan=True)
    if wrong.any():
        _refuse(version, f"{wrong.sum()} of {wrong.size} golden scores are off by more than {tolerance:g}")


def _check_last(scorer: LoadedScorer) -> None:
    """The tower must know the last user and the last item, or their calls would fail."""
    last = np.array([[scorer.last_item]])
    scorer.score(SCORE.complete({"user_id": scorer.last_user, "history_item": last, "candidate": last}, LIMITS))


def _refuse(version: Version, problem: str) -> None:
    raise ArtifactError(f"{version.model}/{version.number}: {problem}", "golden")
