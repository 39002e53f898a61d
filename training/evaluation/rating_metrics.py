"""How good predicted ratings are, as numbers and as an order."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from training.features.interactions import Floats, Ints
from training.features.rating_scale import STARS, RatingScale

LIKED, RELEVANT, GOOD = 2.5, 3.0, 4.0
"""Stars: a rating above 2.5 is a liking (REFERENCE_SYSTEMS.md S4), from 3 relevant (S1), from 4 good."""
TOP = 50
THRESHOLDED = ("precision@50-estimated", "recall@50-estimated")
"""As S1 counts: of the first 50, those whose predicted rating is relevant are recommended."""
DECILES = 10


@dataclass(frozen=True)
class Predicted:
    """[E] test ratings, who gave them, and what was predicted, inside the scale."""

    user: Ints
    actual: Floats
    predicted: Floats
    scale: RatingScale = STARS


def rating_metrics(rows: Predicted) -> dict[str, float]:
    """Errors, accuracy at 2.5, AUC at ≥ 4, precision and recall@50 at ≥ 3 among a user's test items, calibration."""
    actual, predicted = rows.actual.astype(np.float64), rows.predicted.astype(np.float64)
    error = predicted - actual
    stars, predicted_stars = rows.scale.stars(rows.actual), rows.scale.stars(rows.predicted)
    good = stars >= GOOD
    return {
        "rmse": float(np.sqrt(np.square(error).mean())),
        "mse": float(np.square(error).mean()),
        "mae": float(np.abs(error).mean()),
        "accuracy@2.5": float(((predicted_stars > LIKED) == (stars > LIKED)).mean()),
        "auc@4": float(roc_auc_score(good, predicted)) if 0 < good.sum() < len(good) else float("nan"),
        **dict(zip(("precision@50", "recall@50"), precision_and_recall(rows), strict=True)),
        **dict(zip(THRESHOLDED, precision_and_recall(rows, estimated=True), strict=True)),
        f"ndcg@{TOP}": order_ndcg(rows),
        "calibration": calibration_error(actual, predicted),
    }


def precision_and_recall(rows: Predicted, k: int = TOP, estimated: bool = False) -> tuple[float, float]:
    """Means over users of precision and recall of the k test items predicted highest; relevant is a rating from 3.

    With `estimated`, only those of the k with a prediction from 3 are recommended; precision is 0 where there is none.
    Users without a relevant test item do not count for recall.
    """
    precision, recall = [], []
    stars, predicted = rows.scale.stars(rows.actual), rows.scale.stars(rows.predicted)
    for own in _test_items(rows):
        relevant = stars[own] >= RELEVANT
        recommended = own[np.argsort(-predicted[own], kind="stable")[:k]]
        if estimated:
            recommended = recommended[predicted[recommended] >= RELEVANT]
        hits = (stars[recommended] >= RELEVANT).sum()
        precision.append(hits / max(len(recommended), 1))
        if relevant.any():
            recall.append(hits / relevant.sum())
    return float(np.mean(precision)), float(np.mean(recall)) if recall else float("nan")


def order_ndcg(rows: Predicted, k: int = TOP) -> float:
    """Mean over users of NDCG@k of their test items in the order of the predictions; the gain is the rating (S1)."""
    found = []
    discount = 1 / np.log2(np.arange(2, k + 2))
    stars = rows.scale.stars(rows.actual).astype(np.float64)
    for own in _test_items(rows):
        gain = stars[own[np.argsort(-rows.predicted[own], kind="stable")[:k]]]
        ideal = -np.sort(-stars[own])[:k]
        found.append(gain @ discount[: len(gain)] / (ideal @ discount[: len(ideal)]))
    return float(np.mean(found))


def _test_items(rows: Predicted) -> list[Ints]:
    """The rows of each user."""
    by_user = np.argsort(rows.user, kind="stable")
    return np.split(by_user, np.flatnonzero(np.diff(rows.user[by_user])) + 1)


def calibration_error(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> float:
    """Mean distance between predicted and actual mean rating over the deciles of the predictions, by their size."""
    said, was, count = reliability(actual, predicted)
    return float((np.abs(said - was) * count).sum() / len(actual))


def reliability(actual: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """[3, D]: mean prediction, mean rating and number of ratings in each decile of the predictions."""
    deciles = np.array_split(np.argsort(predicted, kind="stable"), DECILES)
    filled = [rows for rows in deciles if len(rows)]
    columns = [(predicted[rows].mean(), actual[rows].mean(), len(rows)) for rows in filled]
    return np.array(columns).T
