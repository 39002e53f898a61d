"""Metrics of predicted ratings against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, mean_absolute_error, mean_squared_error, ndcg_score, roc_auc_score

from training.evaluation.rating_metrics import (
    Predicted,
    calibration_error,
    order_ndcg,
    precision_and_recall,
    rating_metrics,
)


@pytest.fixture(scope="module")
def rows() -> Predicted:
    random = np.random.default_rng(0)
    actual = random.integers(1, 6, 500).astype(np.float32)
    predicted = np.clip(actual + random.normal(0, 1.2, 500), 1, 5).astype(np.float32)
    return Predicted(random.integers(0, 12, 500), actual, predicted)


def test_the_errors_are_those_of_scikit_learn(rows: Predicted) -> None:
    found = rating_metrics(rows)
    assert found["mse"] == pytest.approx(mean_squared_error(rows.actual, rows.predicted), rel=1e-5)
    assert found["rmse"] == pytest.approx(found["mse"] ** 0.5)
    assert found["mae"] == pytest.approx(mean_absolute_error(rows.actual, rows.predicted), rel=1e-5)
    assert found["accuracy@2.5"] == accuracy_score(rows.actual > 2.5, rows.predicted > 2.5)
    assert found["auc@4"] == pytest.approx(roc_auc_score(rows.actual >= 4, rows.predicted))


def test_precision_and_recall_are_means_over_users() -> None:
    user = np.array([1, 1, 1, 2, 2, 3])
    actual = np.array([5, 1, 3, 4, 2, 1], np.float32)
    predicted = np.array([4, 3, 2, 1, 2, 3], np.float32)
    precision, recall = precision_and_recall(Predicted(user, actual, predicted), k=2)
    assert precision == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert recall == pytest.approx((1 / 2 + 1 / 1) / 2)


def test_what_is_recommended_may_need_a_relevant_estimate_as_well() -> None:
    user = np.array([1, 1, 1, 2, 2, 3])
    actual = np.array([5, 1, 3, 4, 2, 1], np.float32)
    predicted = np.array([4, 2.9, 2, 1, 2, 3], np.float32)
    precision, recall = precision_and_recall(Predicted(user, actual, predicted), k=2, estimated=True)
    assert precision == pytest.approx((1 / 1 + 0 + 0) / 3)
    assert recall == pytest.approx((1 / 2 + 0) / 2)


def test_the_order_is_measured_as_scikit_learn_does(rows: Predicted) -> None:
    rows = Predicted(rows.user, rows.actual, rows.predicted + np.arange(500, dtype=np.float32) * 1e-4)  # no ties
    users = [rows.user == user for user in np.unique(rows.user)]
    expected = [ndcg_score([rows.actual[own]], [rows.predicted[own]], k=10) for own in users]
    assert order_ndcg(rows, k=10) == pytest.approx(np.mean(expected))
    assert order_ndcg(Predicted(rows.user, rows.actual, rows.actual)) == 1


def test_a_constant_shift_is_the_calibration_error() -> None:
    actual = np.random.default_rng(0).normal(3, 1, 1000)
    assert calibration_error(actual, actual) == 0
    assert calibration_error(actual, actual + 0.25) == pytest.approx(0.25)


def test_auc_is_nan_where_every_rating_is_good() -> None:
    ones = np.full(4, 5, np.float32)
    assert np.isnan(rating_metrics(Predicted(np.arange(4), ones, ones))["auc@4"])
