"""Published metrics that stand beside ours, each with where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Metrics of one model as their source states them."""

    dataset: str
    protocol: str
    model: str
    metrics: Mapping[str, float]
    source: str
    recipe: str = ""
    """Our recipe of that system; its metrics are shown beside every data set."""


MYFM = "myFM's documentation: the rating's date, side information and implicit sets; 512 samples"
GLOCAL_K = "Han et al. 2021; epoch chosen on the test part"
SURPRISE = "Surprise's documentation"
PUBLISHED = (
    Published("ml-100k", "u1", "myFM ordered probit, dated", {"rmse": 0.8808}, MYFM),
    Published("ml-100k", "u1", "myFM regression, dated", {"rmse": 0.8833}, MYFM),
    Published("ml-100k", "u1", "GHRS", {"rmse": 0.887}, "Zamanzadeh Darban and Valipour 2022"),
    Published("ml-100k", "u1", "GLocal-K", {"rmse": 0.8889}, GLOCAL_K),
    Published("ml-100k", "u1", "GC-MC", {"rmse": 0.905}, "van den Berg et al. 2017"),
    Published("ml-100k", "random 5-fold", "SVD++", {"rmse": 0.919}, SURPRISE),
    Published("ml-100k", "random 5-fold", "SVD", {"rmse": 0.934}, SURPRISE),
    Published("ml-1m", "90/10", "myFM ordered probit, dated", {"rmse": 0.8140}, MYFM),
    Published("ml-1m", "90/10", "myFM regression, dated", {"rmse": 0.8161}, MYFM),
    Published("ml-1m", "90/10", "GLocal-K", {"rmse": 0.8227}, GLOCAL_K),
    Published("ml-1m", "90/10", "Sparse FC", {"rmse": 0.824}, "Muller et al. 2018"),
    Published("ml-1m", "90/10", "GC-MC", {"rmse": 0.832}, "van den Berg et al. 2017"),
    Published("ml-1m", "random 5-fold", "SVD++", {"rmse": 0.862}, SURPRISE),
    Published(
        "ml-20m",
        "own split",
        "S1",
        {"rmse": 1.0518, "precision@50-estimated": 0.8530, "recall@50-estimated": 0.9402},
        "REFERENCE_SYSTEMS.md S1",
        "seed_rating",
    ),
    Published("ml-20m", "3-fold, own filter", "S3 SVD", {"rmse": 0.804}, "REFERENCE_SYSTEMS.md S3", "svd"),
    Published("ml-20m", "validation", "S3 network", {"mse": 0.957}, "REFERENCE_SYSTEMS.md S3", "ids_content_nn"),
    Published(
        "ml-100k",
        "own split",
        "S4",
        {"mse": 0.8272, "accuracy@2.5": 0.85955},
        "REFERENCE_SYSTEMS.md S4",
        "hybrid_genres",
    ),
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
    PublishedRanking("ml-1m", "leave-last-out", *rest)
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
S1_CROSS_ENTROPY, S1_PERPLEXITY = 6.56, 705.6
"""On MovieLens 20M, by its own protocol: training/benchmark/seed_windows.py."""
S5_LIKES: Mapping[str, tuple[float, float, float]] = {
    "CF": (0.78, 0.65, 0.71),
    "content-based": (0.82, 0.67, 0.74),
    "CNN alone": (0.85, 0.70, 0.77),
    "RNN alone": (0.87, 0.72, 0.79),
    "autoencoder alone": (0.88, 0.75, 0.81),
    "whole": (0.93, 0.85, 0.89),
}
"""Precision, recall and F1 (REFERENCE_SYSTEMS.md S5); the paper does not say what a relevant item is."""
S5_LOSSES = {
    "without CNN": "accuracy -5 %",
    "without RNN": "recall -6 %",
    "without autoencoder": "precision -4 %",
}
"""By part that is left out."""


def published_beside(dataset: str) -> list[Published]:
    """Metrics on this data set, and of the systems implemented here on others."""
    return [row for row in PUBLISHED if row.dataset == dataset or row.recipe]
