"""The table of recipes: what each is, and what it reaches."""

from collections.abc import Iterator

from training.benchmark.result_tables.files import Cells, Results, Row, number
from training.benchmark.result_tables.quality import ESTIMATED, reads_times

RATING = {
    "best": "**default**; Bayesian factorization with people and keywords; rank 32, or 64 from 500,000 ratings",
    "small": "`hybrid_genres` on a sample, 12 epochs",
    "bayesian": "Bayesian factorization, rank 20, without words",
    "seed_rating": "S1: a network of user and item embeddings",
    "hybrid_mf_deep": "S2: factorization and network, from ratings and views",
    "svd": "S3: biased factorization by gradient descent, its size from a grid",
    "ids_content_nn": "S3: a network of ids, director, genres and tags",
    "ids_content_fewer": "S3's refinements of it: fewer neurons",
    "ids_content_slower": "… and half the learning rate",
    "ids_content_l2": "… and L2",
    "ids_content_dropout": "… and dropout .6",
    "ids_content_fewest": "… and 32 and 16 neurons",
    "content_nn": "S3: a network of genres and tags alone",
    "content_dropout": "… with dropout .6",
    "content_slower": "… and half the learning rate",
    "content_fewest": "… and 32 and 16 neurons",
    "hybrid_genres": "S4: a network of ids and genres",
}
SEQUENTIAL = {
    "best": "**default**; gated transformer that reads ratings and times; 64 dimensions, or 128 from 500,000 targets",
    "small": "`transformer` on a sample, 40 epochs",
    "best_now": "`best` that does not distinguish queries within one minute",
    "best_time_free": "`best` from order and ratings alone",
    "best_with_linear": "`best` with the linear model inside: the best server on its own",
    "best_time_free_with_linear": "`best_time_free` with the linear model inside",
    "sasrec": "SASRec with cross entropy over all items; reads order alone",
    "transformer": "S1's with learned positions, longer windows and Adam",
    "seed_transformer": "S1: windows of 4, sine and cosine positions, SGD",
}
VISUAL_TEMPORAL = {
    "best": "**default**; poster CNN, RNN in both directions and autoencoder, for the next item",
    "small": "the same on a sample, 8 epochs of 50 steps",
    "seed_cnn_birnn_ae": "S5, for likes; posters of 72 × 48",
    "seed_cnn_birnn_ae_224": "S5 with posters of 224 × 224: hours without a GPU",
}
LINEAR = {"closed_form": "**default**; what follows and what goes together, both in closed form"}
FUSED = {"conditional_likelihood": "**default**; every strategy fitted on validation events"}
LEAVE_LAST_OUT = {"protocol": "leave-last-out", "metric": "ndcg@10"}
RANKINGS = {
    "ml-100k": ("next-item-ml-100k", "sequential-ml-100k"),
    "ml-1m": ("sequential-ml-1m", "sequential-ml-1m-time-free", "next-item-ml-1m"),
}
ROWS = {
    "sequential": SEQUENTIAL,
    "linear": LINEAR,
    "visual_temporal": VISUAL_TEMPORAL,
    "fused": FUSED,
}


def rating_recipes(results: Results) -> Iterator[Cells]:
    """RMSE as served."""
    yield ["recipe", "what it is", "RMSE, ml-100k u1", "RMSE, ml-1m 90/10", "seconds on ml-100k", "GiB"]
    for recipe, about in RATING.items():
        row = {"model": "rating", "recipe": recipe}
        u1 = {**row, "protocol": "rating-u1-as-served"}
        rmse = results.value("rating-ml-100k-recipes", **u1, metric="rmse")
        on_1m = results.value("rating-ml-1m", **row, protocol="rating-90/10-as-served", metric="rmse")
        seconds = results.value("rating-ml-100k-recipes", **u1, metric="seconds")
        memory = results.value("rating-ml-100k-recipes", **u1, metric="peak_gib")
        yield [f"`{recipe}`", about, number(rmse), number(on_1m), number(seconds, 0), number(memory, 1)]


def next_item_recipes(results: Results) -> Iterator[Cells]:
    """NDCG@10 of leave-last-out."""
    yield ["model", "recipe", "what it is", "NDCG@10, ml-100k", "NDCG@10, ml-1m"]
    for model, recipes in ROWS.items():
        for recipe, about in recipes.items():
            row = {**LEAVE_LAST_OUT, "model": model, "recipe": recipe}
            yield [model, f"`{recipe}`", about, *(_ndcg(results, dataset, row) for dataset in RANKINGS)]


def _ndcg(results: Results, dataset: str, fields: Row) -> str:
    """Of the first file that has it, and whether it was reached with estimated times."""
    rows = [row for file in RANKINGS[dataset] for row in results.rows(file, **fields)]
    if not rows:
        return ""
    estimated = dataset in ESTIMATED and reads_times(rows[0])
    return number(rows[0]["value"]) + ", estimated times" * estimated
