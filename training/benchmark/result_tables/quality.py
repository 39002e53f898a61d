"""Tables of how good the models are: next item, ratings, the five systems, posters and new items, cost of training."""

from collections.abc import Iterable, Iterator, Sequence

from training.benchmark.published import NEXT_ITEM, PUBLISHED
from training.benchmark.result_tables.files import Cells, Results, Row, interval, named, number, seeds

LEAVE_LAST_OUT = "leave-last-out"
TIES_SHUFFLED = "leave-last-out-ties-shuffled"
READ_TIMES = {"fused", "sequential", "recent popularity"}
"""Of the models that `evaluate` measures."""
ESTIMATED = {"ml-1m"}
"""Data sets of which some times are estimated."""


# Next item


def next_item_ml_100k(results: Results) -> Iterator[Cells]:
    """The models of `evaluate`, and what `benchmark sequential` adds to them."""
    evaluated = _rankings(results, "next-item-ml-100k")
    known = {named(row) for row in evaluated}
    added = [row for row in _rankings(results, "sequential-ml-100k") if named(row) not in known]
    return _next_item("ml-100k", [*evaluated, *added])


def next_item_ml_1m(results: Results) -> Iterator[Cells]:
    """Recipes of the sequential model beside baselines and published metrics."""
    time_free = [row for row in _rankings(results, "sequential-ml-1m-time-free") if row["recipe"]]
    return _next_item("ml-1m", [*time_free, *_rankings(results, "sequential-ml-1m")], published=True)


def fused_ml_1m(results: Results) -> Iterator[Cells]:
    """The models of one repository, and their fusion."""
    return _next_item("ml-1m", _rankings(results, "next-item-ml-1m"))


def _rankings(results: Results, file: str) -> list[Row]:
    """The rows of NDCG@10, each with the other metrics of its model."""
    rankings: list[Row] = []
    for row in results.rows(file, protocol=LEAVE_LAST_OUT, metric="ndcg@10"):
        model = {"model": row["model"], "recipe": row["recipe"]}
        hit_rate = results.value(file, protocol=LEAVE_LAST_OUT, metric="hr@10", **model)
        shuffled = results.value(file, protocol=TIES_SHUFFLED, metric="ndcg@10", **model)
        rankings.append({**row, "hit_rate": hit_rate, "shuffled": shuffled})
    return rankings


def reads_times(row: Row) -> bool:
    """Files of `benchmark sequential` say so, those of `evaluate` do not."""
    return row["model"] in READ_TIMES if "time" not in row else row["time"] == "aware"


def _next_item(dataset: str, rankings: Iterable[Row], published: bool = False) -> Iterator[Cells]:
    """What reads no times first; the best of each kind first."""
    yield ["model", "reads times", "seeds", "HR@10", "NDCG@10", "95 %", "NDCG@10, ties shuffled"]
    times = {False: "no", True: "estimated" if dataset in ESTIMATED else "yes"}
    lines: list[tuple[bool, float, Cells]] = []
    for row in rankings:
        metrics = [number(row["hit_rate"]), number(row["value"]), interval(row), number(row["shuffled"])]
        aware = reads_times(row)
        lines.append((aware, -row["value"], [named(row), times[aware], seeds(row), *metrics]))
    papers = [paper for paper in NEXT_ITEM if published and paper.dataset == dataset]
    for paper in papers:
        aware = paper.time == "aware"
        metrics = ["", number(paper.hit_rate), number(paper.ndcg), "", ""]
        lines.append((aware, -paper.ndcg, [f"*published:* {paper.model}", "true" if aware else "no", *metrics]))
    yield from (cells for _, _, cells in sorted(lines))


PARTS = ("gap-0", "gap-positive", "query-at-newest")


def ties_ml_100k(results: Results) -> Iterator[Cells]:
    """How much the time of the query gives away."""
    return _ties(results, LEAVE_LAST_OUT, ["sequential-ml-100k"])


def ties_ml_1m(results: Results) -> Iterator[Cells]:
    """The same on ML-1M."""
    return _ties(results, LEAVE_LAST_OUT, ["sequential-ml-1m-time-free", "sequential-ml-1m"])


def global_time(results: Results) -> Iterator[Cells]:
    """One moment divides training from test for all users."""
    return _ties(results, "global-time", ["sequential-ml-100k-global-time"])


def _ties(results: Results, protocol: str, files: Sequence[str]) -> Iterator[Cells]:
    """NDCG@10 of all queries and of parts of them; what reads no times first."""
    yield ["model", "reads times", "NDCG@10", "95 %", "in the second of the newest event", "later", "queried at once"]
    lines: dict[str, tuple[bool, float, Cells]] = {}
    for file in files:
        for row in results.rows(file, protocol=protocol, metric="ndcg@10"):
            model = {"metric": "ndcg@10", "model": row["model"], "recipe": row["recipe"]}
            parts = [results.value(file, protocol=f"{protocol}-{part}", **model) for part in PARTS]
            aware = row["time"] == "aware"
            metrics = [number(row["value"]), interval(row), *map(number, parts)]
            lines[named(row)] = (aware, -row["value"], [named(row), "yes" if aware else "no", *metrics])
    yield from (cells for _, _, cells in sorted(lines.values()))


TRENDING = ("trending-ml-100k", "trending-ml-1m")


def trending(results: Results) -> Iterator[Cells]:
    """What is watched lately against a fixed popularity, and beside EASE."""
    yield ["data", "users", "model", "NDCG@10", "95 %", "difference", "95 %", "to"]
    for file in TRENDING:
        for row in results.rows(file, metric="ndcg@10"):
            yield [
                row["dataset"],
                f"{row['n']:,}",
                row["model"],
                number(row["value"]),
                interval(row),
                *_to(results, file, row),
            ]


def _to(results: Results, file: str, row: Row) -> Cells:
    """The difference to the model that it is compared with."""
    if row["model"] == row["reference"]:
        return ["", "", ""]
    difference = results.row(file, metric="ndcg@10 difference", model=row["model"])
    return (
        ["", "", ""] if difference is None else [f"{difference['value']:+.4f}", interval(difference), row["reference"]]
    )


# Ratings


def rating_u1(results: Results) -> Iterator[Cells]:
    """Every rating recipe on one fold."""
    return _ratings(results, ["rating-ml-100k-u1", "rating-ml-100k-recipes"], "ml-100k", "u1")


def rating_folds(results: Results) -> Iterator[Cells]:
    """The mean over the canonical folds."""
    return _ratings(results, ["rating-ml-100k-folds"], "ml-100k", "u1..u5")


def rating_last(results: Results) -> Iterator[Cells]:
    """Each user's last ratings."""
    return _ratings(results, ["rating-ml-100k-last"], "ml-100k", "last-20%")


def rating_ml_1m(results: Results) -> Iterator[Cells]:
    """A random tenth."""
    return _ratings(results, ["rating-ml-1m"], "ml-1m", "90/10")


OTHER_METRICS = ("mae", "mse", "accuracy@2.5", "auc@4")


def _ratings(results: Results, files: Sequence[str], dataset: str, protocol: str) -> Iterator[Cells]:
    """Best first. A model that is in several files is taken from the first of them."""
    yield ["model", "seeds", "RMSE", "lowest to highest", "MAE", "MSE", "accuracy at 2.5", "AUC at ≥ 4"]
    lines: dict[str, tuple[float, Cells]] = {}
    for file in files:
        for row in results.rows(file, metric="rmse"):
            # A recipe is served as factors; a baseline is not served.
            measured = f"rating-{protocol}-as-served" if row["recipe"] else f"rating-{protocol}"
            if row["protocol"] != measured or named(row) in lines:
                continue
            model = {"protocol": measured, "model": row["model"], "recipe": row["recipe"]}
            others = [results.value(file, metric=metric, **model) for metric in OTHER_METRICS]
            cells = [named(row), seeds(row), number(row["value"]), interval(row), *map(number, others)]
            lines[named(row)] = (row["value"], cells)
    for paper in PUBLISHED:
        if (paper.dataset, paper.protocol) == (dataset, protocol):
            rmse = paper.metrics["rmse"]
            lines[paper.model] = (rmse, [f"*published:* {paper.model}", "", number(rmse), *[""] * 5])
    yield from (cells for _, cells in sorted(lines.values()))


GIVEN = (0, 1, 3, 5, 10, 20)


def fold_in(results: Results) -> Iterator[Cells]:
    """Users that training never saw."""
    yield ["ratings given", *map(str, GIVEN)]
    for model, name in {"item mean": "item mean", "user + item bias": "user + item bias", "rating": "fold-in"}.items():
        protocols = [f"rating-fold-in-{given}-as-served" for given in GIVEN]
        metrics = [results.value("fold-in-ml-100k", protocol=protocol, model=model) for protocol in protocols]
        yield [name, *map(number, metrics)]


# The five systems


def five_systems(results: Results) -> Iterator[Cells]:
    """A claim is three rows of its file: the system's recipe, `best`, and a trivial baseline."""
    yield ["system", "recipe", "protocol", "metric", "published", "its recipe", "`best`", "trivial", "which is"]
    first = results.rows("five-systems-ml-100k-s1")
    others = results.rows("five-systems-ml-100k")[len(first) :]  # S1 is measured in both, and comes first
    rows = [*first, *others]
    for recipe, best, trivial in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        about = [recipe["model"], f"`{recipe['recipe']}`", recipe["protocol"], recipe["metric"]]
        metrics = [recipe["published"], recipe["value"], best["value"], trivial["value"]]
        yield [*about, *map(number, metrics), trivial["model"]]


# Posters, words and items that nobody has watched


def signals(results: Results) -> Iterator[Cells]:
    """Ratings and views, apart and together."""
    file = "signals-ml-100k"
    yield ["learned from", "RMSE", "NDCG@10 by rating", "NDCG@10 by view"]
    for model in ("explicit only", "implicit only", "both"):
        squared = results.value(file, model=model, metric="squared error")
        metrics = ["" if squared is None else number(squared**0.5)]
        metrics += [number(results.value(file, model=model, metric=f"NDCG@10 by {by}")) for by in ("rating", "view")]
        yield [model, *metrics]
    for model in ("explicit only", "implicit only"):
        gains = [
            interval(results.row(file, model=model, metric=f"{metric}, both better by"))
            for metric in ("squared error", "NDCG@10 by rating", "NDCG@10 by view")
        ]
        yield [f"*both, better than {model} by, 95 %*", *gains]


def adaptive_split(results: Results) -> Iterator[Cells]:
    """Clicks lost against the best policy of each round."""
    yield ["split", "clicks lost", "95 %", "of the even one's", "95 %", "growth", "95 %"]
    file = "adaptive-split-ml-100k"
    for row in results.rows(file, metric="regret"):
        of_even, growth = (results.row(file, model=row["model"], metric=name) for name in ("regret-of-even", "growth"))
        cells = [number(row["value"], 0), interval(row, 0)]
        for each in (of_even, growth):
            cells += [number(each["value"], 2) if each else "", interval(each, 2)]
        yield [row["model"], *cells]


def visual_temporal_parts(results: Results) -> Iterator[Cells]:
    """The next item, without one part after the other."""
    yield ["model", "seeds", "HR@10", "NDCG@10", "95 %", "the whole is better by, 95 %"]
    file = "visual-temporal-ablation-ml-100k"
    for row in results.rows(file, protocol=LEAVE_LAST_OUT, metric="ndcg@10"):
        model = {"protocol": LEAVE_LAST_OUT, "model": row["model"]}
        hit_rate = results.value(file, metric="hr@10", **model)
        difference = results.row(file, metric="ndcg@10-whole-less-this", **model)
        yield [row["model"], seeds(row), number(hit_rate), number(row["value"]), interval(row), interval(difference)]


LIKES_METRICS = ("precision", "recall", "f1", "accuracy", "auc")


def likes_from_4(results: Results) -> Iterator[Cells]:
    """Will a rating be 4 or more?"""
    return _likes(results, "70/15/15 at 4")


def likes_from_3(results: Results) -> Iterator[Cells]:
    """Will a rating be 3 or more?"""
    return _likes(results, "70/15/15 at 3")


def _likes(results: Results, protocol: str) -> Iterator[Cells]:
    yield ["model", "seeds", *LIKES_METRICS]
    file = "visual-temporal-likes-ml-100k"
    for row in results.rows(file, protocol=protocol, metric="auc"):
        model = {"protocol": protocol, "model": row["model"]}
        metrics = [results.value(file, metric=metric, **model) for metric in LIKES_METRICS]
        yield [row["model"], seeds(row), *(number(metric, 3) for metric in metrics)]


def cold_items(results: Results) -> Iterator[Cells]:
    """Items hidden from training, ranked among themselves and among all."""
    yield ["what is read", "hidden: HR@10", "NDCG@10", "95 %", "all posters and text are better by, 95 %", "all: HR@10"]
    file = "visual-temporal-cold-ml-100k"
    hidden, everything = "cold-items among hidden items", "cold-items among all items"
    for row in results.rows(file, protocol=hidden, metric="ndcg@10"):
        hit_rate = results.value(file, protocol=hidden, metric="hr@10", model=row["model"])
        difference = results.row(file, protocol=hidden, metric="ndcg@10-whole-less-this", model=row["model"])
        among_all = results.value(file, protocol=everything, metric="hr@10", model=row["model"])
        metrics = [number(hit_rate), number(row["value"]), interval(row), interval(difference), number(among_all)]
        yield [row["model"], *metrics]


COLD_FUSED, COLD_MEANING = "cold-fused-ml-100k", "cold-linear-meaning-ml-100k"
COLD_SLOTS = ("cold-linear-ml-100k", COLD_FUSED)


def cold_maps(results: Results) -> Iterator[Cells]:
    """Items hidden from training, by the map from content onto learned vectors."""
    yield ["model", "seeds", "the map reads", "hidden: HR@10", "NDCG@10", "95 %", "more than genres and year, 95 %"]
    hidden = "cold-items among hidden items"
    for file, meaning in ((COLD_FUSED, ""), (COLD_MEANING, ", what keywords mean")):
        for row in results.rows(file, protocol=hidden, metric="ndcg@10"):
            named = {"protocol": hidden, "model": row["model"], "known": row["known"]}
            hit_rate = number(results.value(file, metric="hr@10", **named))
            more = interval(results.row(file, metric="ndcg@10-more", **named))
            read = row["known"] + (meaning if "text" in row["known"] else "")
            yield [row["model"], seeds(row), read, hit_rate, number(row["value"]), interval(row), more]


def cold_slot(results: Results) -> Iterator[Cells]:
    """Among all items: what a policy's slot finds of hidden ones, and costs of learned ones."""
    yield ["model", "seeds", "lists", "targets", "metric", "without", "with", "difference, 95 %"]
    for file in COLD_SLOTS:
        for row in results.rows(file):
            if "slot" in row["protocol"] and row["metric"] in ("hr@10", "ndcg@10"):
                named = {"protocol": row["protocol"]}
                without = number(results.value(file, metric=f"{row['metric']}-without", **named))
                more = interval(results.row(file, metric=f"{row['metric']}-more", **named))
                lists, targets = f"{row['share']:.0%}", row["protocol"].split()[2]
                yield [row["model"], seeds(row), lists, targets, row["metric"], without, number(row["value"]), more]


# Cost


def growth(results: Results) -> Iterator[Cells]:
    """A training step as the catalog grows."""
    yield ["model", "items", "CPU-ms a step", "peak GiB"]
    for file in ("growth-sequential", "growth-visual-temporal"):
        for row in results.rows(file, metric="cpu-ms a step"):
            memory = results.value(file, metric="peak GiB", n=row["n"])
            yield [named(row), f"{row['n']:,}", number(row["value"], 0), number(memory, 1)]
