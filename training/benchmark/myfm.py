"""myFM as an evaluated baseline: ordered probit factorization machine with side information and implicit sets."""

from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sparse

from training.benchmark.rating_baselines import Predict
from training.data.dataset import Dataset
from training.extras import extra_library
from training.features.interactions import Floats, Interactions, Ints
from training.features.side_information import item_blocks, user_blocks

RANK, SAMPLES = 10, 512


def myfm(train: Interactions, dataset: Dataset, seed: int) -> Predict:
    """No dates, as served. Raises TrainingError where it is not installed."""
    module = extra_library("myfm", "benchmarks", "baseline 'myfm' cannot be loaded")
    items = dataset.items.filter(pl.col("number").is_in(train.item_number.tolist()))
    shape = (train.users + 1, train.items + 1)
    rated = sparse.csr_matrix((np.ones(len(train.user)), (train.user, train.item)), shape)
    of_user = _side(rated, user_blocks(dataset.users, train.user_ids))
    of_item = _side(rated.T.tocsr(), item_blocks(items))
    block = module.RelationBlock

    def relations(user: Ints, item: Ints) -> list[Any]:
        return [block(user, of_user), block(item, of_item)]

    lowest = int(train.rating.min())
    level = np.round(train.rating).astype(int) - lowest
    machine = module.MyFMOrderedProbit(RANK, random_seed=seed)
    machine.fit(
        None,
        level,
        X_rel=relations(train.user, train.item),
        n_iter=SAMPLES,
        n_kept_samples=SAMPLES,
        group_shapes=[side.shape[1] for side in (of_user, of_item)],
    )
    levels = np.arange(level.max() + 1) + lowest

    def predict(user: Ints, item: Ints) -> Floats:
        chances = machine.predict_proba(None, X_rel=relations(user, item))
        return np.asarray(chances @ levels, np.float32)

    return predict


def _side(rated: sparse.csr_matrix, blocks: list[Floats]) -> sparse.csr_matrix:
    """[n + 1, K]: who it is, whom it met over the root of their number, and what is known of it; row 0 is unknown."""
    count = np.maximum(np.asarray(rated.sum(1)).ravel(), 1)
    known = [sparse.csr_matrix(np.vstack([np.zeros_like(block[:1]), block])) for block in blocks]
    itself, met = sparse.identity(rated.shape[0]), sparse.diags(count**-0.5) @ rated
    return sparse.hstack([itself, met, *known]).tocsr()
