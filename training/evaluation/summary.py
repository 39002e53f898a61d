"""The metrics of an evaluation: as a table for people, and as rows in the format of results."""

import math
from collections.abc import Iterator, Mapping
from typing import cast

import numpy as np
from rich.table import Table

from fusion_gateway.fusion import Policy
from training.evaluation.genres import METRICS as GENRE_METRICS
from training.evaluation.lists import CatalogStats, list_quality
from training.evaluation.measure import METRICS, RANKING, Evaluation, Row
from training.evaluation.ranking_metrics import Doubles, bootstrap, holm, paired_p
from training.evaluation.rating_metrics import Predicted, rating_metrics
from training.evaluation.through_gateway import Comparison, K
from training.features.rating_scale import RatingScale
from training.terminal import narrow_table

MAX_DIFFERENCES = 20
SHUFFLED = "-ties-shuffled"
GENRES_NOTE = (
    "all genres' flags together; accuracy at a probability of a half, the others at the threshold that is best on the "
    "validation events"
)
WEIGHTS_NOTE = (
    "weights multiply normalized scores; those of strategy adaptive are of users without events, and slopes move them; "
    "what the list loses without a model, over the same candidates, is in the table above"
)
NOTE = (
    "below a model: 95 % bootstrap interval of NDCG@10 over users; p: paired bootstrap over users, of no "
    "difference in NDCG@10 to the fused list, adjusted by Holm for the {count} comparisons; ties shuffled: NDCG@10, "
    "mean over both orders where a user's last two events are in one second"
)


def as_table(evaluation: Evaluation, title: str) -> Table:
    """Best NDCG@10 first, with 95 % bootstrap intervals over users; the last column is paired by user."""
    note = NOTE.format(count=len(evaluation.rows) - 1)
    table = narrow_table(title, note)
    table.add_column("model", overflow="fold")
    for column in ("HR@10", "NDCG@10", "MRR", "RMSE", "fused is\nbetter by"):
        table.add_column(column, justify="right", no_wrap=True)
    fused, p = evaluation.row("fused").of("ndcg@10"), against_fused(evaluation)
    for row in sorted(evaluation.rows, key=lambda row: -row.of("ndcg@10").mean()):
        gain = row.of("ndcg@10")
        ratings = row_rating_metrics(evaluation, row)
        compared = row.model in p
        table.add_row(
            "\n".join([row.model, f"  {interval(gain)}", *_details(row)]),
            f"{row.of('hr@10').mean():.4f}",
            f"{gain.mean():.4f}",
            f"{row.of('mrr').mean():.4f}",
            f"{ratings['rmse']:.4f}" if ratings else "",
            f"{interval(fused - gain)}\np {p[row.model]:.3f}" if compared else "",
        )
    return table


def _details(row: Row) -> Iterator[str]:
    """What is not the same for every model: the recipe, users without an answer, another NDCG@10 with shuffled ties."""
    if row.recipe:
        yield row.recipe
    if (answered := row.of("answered").mean()) < 1:
        yield f"answered {answered:.1%}"
    if row.shuffled is not None:
        yield f"ties shuffled {row.shuffled[RANKING.index('ndcg@10')].mean():.4f}"


def against_fused(evaluation: Evaluation) -> dict[str, float]:
    """By model: the adjusted p of no difference in NDCG@10 to the fused list."""
    others = [row for row in evaluation.rows if row.model != "fused"]
    fused = evaluation.row("fused").of("ndcg@10")
    adjusted = holm([paired_p(fused - row.of("ndcg@10")) for row in others])
    return dict(zip((row.model for row in others), adjusted, strict=True))


def interval(values: Doubles) -> str:
    low, high = bootstrap(values)
    return f"{low:.4f} to {high:.4f}"


def predicted_ratings(evaluation: Evaluation, row: Row) -> Predicted | None:
    """The test events with a rating, and what the model predicts of them; None where it predicts none."""
    actual = evaluation.targets["rating"].fill_null(float("nan")).to_numpy()
    both = np.isfinite(actual) & np.isfinite(row.predicted)
    if not both.any():
        return None
    scale = RatingScale.of(evaluation.split.train["rating"].fill_null(float("nan")).to_numpy())
    return Predicted(np.flatnonzero(both), actual[both], row.predicted[both], scale)


def row_rating_metrics(evaluation: Evaluation, row: Row) -> dict[str, float]:
    """RMSE and others of the test events; empty for a model that predicts no rating."""
    predicted = predicted_ratings(evaluation, row)
    found = rating_metrics(predicted) if predicted else {}
    return {name: value for name, value in found.items() if "@50" not in name}  # one test event a user is no list


def rows(evaluation: Evaluation) -> Iterator[dict[str, object]]:
    """Every metric that there is; those that are means over users with a 95 % interval."""
    return (row for row in _rows(evaluation) if not math.isnan(cast(float, row["value"])))


def _rows(evaluation: Evaluation) -> Iterator[dict[str, object]]:
    stats, protocol = CatalogStats.of(evaluation.dataset, evaluation.split), evaluation.split.name
    for row in evaluation.rows:
        for name, metrics in zip(METRICS, row.values, strict=True):
            yield _figure(evaluation, row, protocol, name, metrics)
        if row.shuffled is not None:
            for name, metrics in zip(RANKING, row.shuffled, strict=True):
                yield _figure(evaluation, row, protocol + SHUFFLED, name, metrics)
        quality = list_quality(row.top, stats)
        other = {name: getattr(quality, name) for name in ("coverage", "gini", "novelty", "diversity")}
        for name, value in other.items():
            yield _figure(evaluation, row, protocol, f"{name}@10", value)
        for name, value in row_rating_metrics(evaluation, row).items():
            yield _figure(evaluation, row, f"rating-{protocol}-as-served", name, value)
        for name, value in evaluation.genres.get(row.model, {}).items():
            yield _figure(evaluation, row, f"genres-{protocol}", name, value)


def _figure(evaluation: Evaluation, row: Row, protocol: str, metric: str, values: Doubles | float) -> dict[str, object]:
    limits = dict(zip(("low", "high"), bootstrap(values), strict=True)) if isinstance(values, np.ndarray) else {}
    return {
        "dataset": evaluation.dataset.name,
        "protocol": protocol,
        "model": row.model,
        "recipe": row.recipe,
        "metric": metric,
        "value": float(np.mean(values)),
        **limits,
        "seeds": row.seeds,
        "n": row.values.shape[1],
    }


def genre_table(evaluation: Evaluation) -> Table:
    """The prediction of the genres that are watched next, by what predicts them."""
    table = narrow_table("Genres of what is watched next", GENRES_NOTE)
    for column in ("predicted by", *GENRE_METRICS):
        table.add_column(column, justify="left" if column == "predicted by" else "right")
    for name, metrics in evaluation.genres.items():
        table.add_row(name, *(f"{metrics[metric]:.4f}" for metric in GENRE_METRICS))
    return table


def weights_table(name: str, policy: Policy) -> Table:
    """Each model's share of the weights, for the users of each switch and for all others."""
    table = narrow_table(f"Shares of the weights in the default policy, {name} ({policy.strategy})", WEIGHTS_NOTE)
    for column in ("users with at most", *policy.models):
        table.add_column(column, justify="left" if column == "users with at most" else "right")
    for switch in policy.switches:
        limits = {"events": switch.max_events, "ratings": switch.max_ratings}
        users = ", ".join(f"{limit} {what}" for what, limit in limits.items() if limit is not None)
        table.add_row(users, *_shares(policy, switch.weights))
    table.add_row("any number", *_shares(policy, policy.weights))
    return table


def _shares(policy: Policy, weights: Mapping[str, float]) -> list[str]:
    total = sum(weights.values())
    return [f"{weights.get(model, 0.0) / total:.1%}" for model in policy.models]


def comparison_tables(comparison: Comparison) -> Iterator[Table]:
    """The metrics of both sides, and the first users with a difference."""
    found = comparison.differences()
    titles = (
        f"Through the gateway and offline, queried now, lists of {K}: {comparison.degraded} degraded answers",
        f"{len(found)} users with another rank or another list of ten (rank 0: not listed)",
    )
    for frame, title in zip((comparison.metrics(), found.head(MAX_DIFFERENCES)), titles, strict=True):
        table = narrow_table(title)
        for name in frame.columns:
            table.add_column(name)
        for row in frame.iter_rows():
            table.add_row(*(f"{value:.6f}" if isinstance(value, float) else str(value) for value in row))
        yield table


def comparison_rows(comparison: Comparison, evaluation: Evaluation) -> Iterator[dict[str, object]]:
    """The fused list's metrics on both sides, and how many users have another one."""
    for metric, offline, gateway, users in comparison.metrics().iter_rows():
        for ending, value in (("-query-now", offline), ("-through-the-gateway", gateway)):
            yield _figure(evaluation, evaluation.row("fused"), evaluation.split.name + ending, metric, value)
        yield _figure(
            evaluation,
            evaluation.row("fused"),
            f"{evaluation.split.name}-through-the-gateway",
            f"{metric}-users",
            users,
        )
