"""How well the genres of what a user watches next are predicted: REFERENCE_SYSTEMS.md S5's genre prediction.

Legend: B events, G genres.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import f1_score, precision_recall_fscore_support

from training.artifacts.repository import latest, versions
from training.artifacts.requests import Requests, requests_for
from training.artifacts.scorer_files import OfflineScorer
from training.data.dataset import Dataset
from training.data.splits import Split
from training.features.content import ContentEncoder, genre_flags
from training.features.interactions import Floats, Ints

MODEL = "visual_temporal"
METRICS = ("accuracy", "precision", "recall", "f1", "macro-f1")
THRESHOLDS = np.linspace(0.05, 0.95, 19)
Tables = dict[str, Floats]
"""Probability [B, G] by what says so."""


def genre_prediction(dataset: Dataset, split: Split, repository: Path) -> Mapping[str, Mapping[str, float]]:
    """METRICS of the flags of all genres together, by the model and two baselines: how often a genre is watched at all,
    and by the user. Of F1 the threshold is the one that is best on the validation events.

    Empty where no published model predicts genres.
    """
    if not versions(repository, MODEL):
        return {}
    folder = latest(repository, MODEL)
    scorer = OfflineScorer(folder)
    names = ContentEncoder.read(folder).genres
    items = dataset.items["number"].to_numpy()
    flags = genre_flags(dataset.items, names)
    parts = ((split.validation, split.train), (split.test, pl.concat([split.train, split.validation])))
    found = []
    for targets, history in parts:
        predicted = _predicted(scorer, requests_for(targets, history), items, flags)
        if predicted is None:
            return {}
        found.append((flags[np.searchsorted(items, targets["item"].to_numpy())], predicted))
    (chosen_on, validation), (actual, test) = found
    return {name: _metrics(actual, test[name], _threshold(chosen_on, validation[name])) for name in test}


def _predicted(scorer: OfflineScorer, requests: Requests, items: Ints, flags: Floats) -> Tables | None:
    model = scorer.genres(requests)
    if model is None:
        return None
    watched = [flags[np.searchsorted(items, own)] for own in requests.history_item]
    everything = np.concatenate(watched)
    rate = everything.mean(0) if len(everything) else np.zeros(flags.shape[1], np.float32)
    own = np.stack([history.mean(0) if len(history) else rate for history in watched])
    overall = np.tile(rate, (len(requests), 1))
    return {
        MODEL: np.where(np.isnan(model), overall, model),
        "the user's own genres": own,
        "all users' genres": overall,
    }


def _threshold(actual: Floats, probability: Floats) -> float:
    """Of the best F1, the middle one of several; a half where there is nothing to choose on."""
    if not len(actual):
        return 0.5
    scores = np.array([f1_score(actual, probability >= cut, average="micro") for cut in THRESHOLDS])
    best = np.flatnonzero(scores == scores.max())
    return float(THRESHOLDS[best[len(best) // 2]])


def _metrics(actual: Floats, probability: Floats, threshold: float) -> dict[str, float]:
    said = probability >= threshold
    precision, recall, f1, _ = precision_recall_fscore_support(actual, said, average="micro", zero_division=0.0)
    accuracy = float(((probability >= 0.5) == (actual > 0)).mean())
    macro = f1_score(actual, said, average="macro", zero_division=0.0)
    return dict(zip(METRICS, map(float, (accuracy, precision, recall, f1, macro)), strict=True))
