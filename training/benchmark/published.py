"""Published figures that stand beside ours, each with where it comes from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One figure as its source states it."""

    dataset: str
    protocol: str
    model: str
    metric: str
    value: float
    source: str
    recipe: str = ""
    """Our recipe of that system."""


ML_100K, ML_1M = "ml-100k", "ml-1m"
MYFM = "myFM (Ohtsuki), ordered probit with the rating's date and side information"
RATING = (
    Published(ML_100K, "u1", "myFM, dated", "rmse", 0.8808, MYFM),
    Published(ML_100K, "u1", "myFM regression, dated", "rmse", 0.8833, MYFM),
    Published(ML_100K, "u1", "GHRS", "rmse", 0.887, "Zamanzadeh Darban and Valipour 2022"),
    Published(ML_100K, "u1", "GLocal-K", "rmse", 0.8889, "Han et al. 2021; epoch chosen on the test part"),
    Published(ML_100K, "u1", "GC-MC", "rmse", 0.905, "van den Berg et al. 2017"),
    Published(ML_100K, "u1", "user + item bias", "rmse", 0.953, "myFM's table"),
    Published(ML_100K, "random 5-fold", "SVD++", "rmse", 0.919, "Surprise's table"),
    Published(ML_100K, "random 5-fold", "SVD", "rmse", 0.934, "Surprise's table"),
    Published(ML_100K, "unnamed split", "S4", "mse", 0.8272, "systems.md S4", "hybrid_genres"),
    Published(ML_100K, "unnamed split", "S4", "accuracy@2.5", 0.8596, "systems.md S4", "hybrid_genres"),
    Published("ml-20m", "unnamed split", "S1", "rmse", 1.0518, "systems.md S1", "seed_rating"),
    Published("ml-20m", "unnamed split", "S1", "precision@50", 0.8530, "systems.md S1", "seed_rating"),
    Published("ml-20m", "unnamed split", "S1", "recall@50", 0.9402, "systems.md S1", "seed_rating"),
    Published("ml-20m", "3-fold, own filter", "S3 SVD", "rmse", 0.804, "systems.md S3", "svd"),
    Published("ml-20m", "unnamed split", "S3 network", "mse", 0.957, "systems.md S3, validation", "ids_content_nn"),
    Published(ML_1M, "90/10", "myFM, dated", "rmse", 0.8140, MYFM),
    Published(ML_1M, "90/10", "myFM regression, dated", "rmse", 0.8161, MYFM),
    Published(ML_1M, "90/10", "GLocal-K", "rmse", 0.8227, "Han et al. 2021"),
    Published(ML_1M, "90/10", "Sparse FC", "rmse", 0.824, "Muller et al. 2018"),
    Published(ML_1M, "90/10", "GC-MC", "rmse", 0.832, "van den Berg et al. 2017"),
    Published(ML_1M, "random 5-fold", "SVD++", "rmse", 0.862, "Surprise's table"),
)


@dataclass(frozen=True)
class PublishedRanking:
    """HR@10 and NDCG@10 of a paper or a library's own table."""

    dataset: str
    protocol: str
    model: str
    time: str
    """`aware` or `free`: whether the time of the target is read."""
    hit_rate: float
    ndcg: float


BERT4REC_FILE = "with BERT4Rec's file of 3,416 items"
NEXT_ITEM = tuple(
    PublishedRanking(ML_1M, "leave-last-out", *rest)
    for rest in (
        (f"SASRec, {BERT4REC_FILE}", "free", 0.2500, 0.1341),
        (f"SASRec+ full cross entropy, {BERT4REC_FILE}", "free", 0.3152, 0.1821),
        (f"SASRec+ 3000 negatives, {BERT4REC_FILE}", "free", 0.3159, 0.1857),
        ("eSASRec (RecTools)", "free", 0.3133, 0.1772),
        ("HSTU (Meta)", "free", 0.3097, 0.1720),
        ("HSTU-large (Meta)", "free", 0.3294, 0.1893),
        ("HSTU, 2 blocks (RecTools)", "aware", 0.3227, 0.1879),
        ("HSTU, 8 blocks (RecTools)", "aware", 0.3642, 0.2164),
    )
)
S1_NDCG, S1_POPULARITY_NDCG = 0.0849, 0.0082
"""On MovieLens 20M, by its own protocol: training/benchmark/seed_windows.py."""


def published_for(dataset: str, metric: str) -> list[Published]:
    """Figures on this data set or, for a system implemented here, on another one."""
    return [row for row in RATING if row.metric == metric and (row.dataset == dataset or row.recipe)]
