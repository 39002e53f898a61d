"""Requests from the running gateway what is evaluated, and finds where its lists are not those that are made offline.

Both sides are queried with the present as query time, which a request to the gateway cannot choose.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import polars as pl

from fusion_gateway.fusion import POPULARITY
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from training.artifacts.repository import versions
from training.data.dataset import Dataset
from training.data.splits import Split, in_order
from training.errors import TrainingError
from training.evaluation.gateway_candidates import NextItemTask
from training.evaluation.measure import RANKING, best, default_policy
from training.evaluation.ranking_metrics import Doubles, hit_rate, ndcg
from training.features.interactions import Ints
from training.progress import track

K = 100
"""Length of the lists: of a longer one the gateway would make more candidates than of the usual one."""
MAX_EVENTS = 1000
"""That a request may bring; of longer histories the last ones."""
IN_FLIGHT = 8
TIMEOUT = 60.0


@dataclass(frozen=True)
class Comparison:
    """The same B queries, answered twice."""

    user: list[str]
    target: Ints
    """[B] item numbers."""
    offline: Ints
    """[B, K] item numbers, best first, 0 where there are fewer."""
    gateway: Ints
    degraded: int
    """Answers in which a model was missing."""

    def metrics(self) -> pl.DataFrame:
        """Columns metric, offline, gateway, users: how many of them have another value."""
        offline, gateway = (_metrics(_ranks(lists, self.target)) for lists in (self.offline, self.gateway))
        changed = (~np.isclose(offline, gateway, atol=1e-9)).sum(axis=1)
        columns = {"metric": RANKING, "offline": offline.mean(axis=1), "gateway": gateway.mean(axis=1)}
        return pl.DataFrame({**columns, "users": changed})

    def differences(self) -> pl.DataFrame:
        """Columns user, target, the rank of the target on both sides (0: not listed), and the first rank at which the
        lists differ; only users for whom it is one of the first ten, or whose rank differs.
        """
        other = self.offline != self.gateway
        rank = np.where(other.any(axis=1), other.argmax(axis=1) + 1, 0)
        offline, gateway = (_ranks(lists, self.target) for lists in (self.offline, self.gateway))
        columns = {"user": self.user, "target": self.target, "offline": offline, "gateway": gateway}
        frame = pl.DataFrame({**columns, "first difference": rank})
        return frame.filter(pl.col("first difference").is_between(1, 10) | (pl.col("offline") != pl.col("gateway")))


def _ranks(lists: Ints, target: Ints) -> Ints:
    """[B]: from 1; 0 where it is not listed."""
    found = lists == target[:, None]
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0)


def _metrics(ranks: Ints) -> Doubles:
    """[len(RANKING), B]."""
    better, alone = np.where(ranks > 0, ranks - 1, K), np.zeros_like(ranks)
    reciprocal = np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0)
    return np.stack([hit_rate(better, alone), ndcg(better, alone), reciprocal])


def through_gateway(address: str, dataset: Dataset, split: Split, repository: Path) -> Comparison:
    """Every test event's user is requested, with the history before it.

    Raises TrainingError where no gateway answers at `address`, or it serves other versions than the newest here.
    """
    position = pl.int_range(pl.len()).reverse().over("user")
    history = in_order(pl.concat([split.train, split.validation])).filter(position < MAX_EVENTS)
    # The gateway takes the present for the query time; offline must do so too.
    targets = split.test.with_columns(time=pl.lit(int(time.time()), pl.Int64))
    name, policy = default_policy(repository)
    requests = _requests(dataset, targets, history, name)
    answers = asyncio.run(_recommend(address, requests))
    for answer in answers:
        _check_versions(answer, address, repository)
    numbers = dict(dataset.items.select("id", "number").iter_rows())
    listed = np.zeros((len(answers), K), np.int64)
    for row, answer in zip(listed, answers, strict=True):
        ids = [ranked.item.id for ranked in answer.items]
        if unknown := [id for id in ids if id not in numbers]:
            raise TrainingError(
                f"--through {address}: it recommends item {unknown[0]}, which neither the data nor the catalog in "
                f"{repository} has: start it on this repository, and evaluate again"
            )
        row[: len(ids)] = [numbers[id] for id in ids]
    task = NextItemTask(repository, targets, history)
    offline = [best(chunk.fused(policy), chunk.seen, task.items, K) for chunk in task.chunks()]
    degraded = sum(bool(answer.degraded) for answer in answers)
    return Comparison(targets["user"].to_list(), targets["item"].to_numpy(), np.vstack(offline), listed, degraded)


def _requests(dataset: Dataset, targets: pl.DataFrame, history: pl.DataFrame, policy: str) -> list[pb.RecommendRequest]:
    ids = dataset.items.select(item="number", id="id")
    events: dict[str, list[pb.Event]] = {}
    named = history.join(ids, on="item", how="left", maintain_order="left")
    for user, item, rating, moment in named.select("user", "id", "rating", "time").iter_rows():
        events.setdefault(user, []).append(pb.Event(item_id=item, rating=rating, time=moment))
    return [
        pb.RecommendRequest(user_id=user, k=K, history=events.get(user, []), policy=policy) for user in targets["user"]
    ]


async def _recommend(address: str, requests: Sequence[pb.RecommendRequest]) -> list[pb.RecommendResponse]:
    """In the order of the requests, several at a time."""
    turn = asyncio.Semaphore(IN_FLIGHT)
    shown = track("users requested", range(len(requests)), len(requests), [])

    # A gateway on loopback or in the cluster is reached without the environment's proxy.
    async with grpc.aio.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = RecommenderStub(channel)

        async def one(request: pb.RecommendRequest) -> pb.RecommendResponse:
            async with turn:
                answer = await stub.Recommend(request, timeout=TIMEOUT)
            next(shown, None)
            return answer

        try:
            return await asyncio.gather(*map(one, requests))
        except grpc.aio.AioRpcError as error:
            raise TrainingError(f"--through {address}: {error.code().name}: {error.details()}") from None
        finally:
            list(shown)


def _check_versions(answer: pb.RecommendResponse, address: str, repository: Path) -> None:
    for model, served in answer.model_versions.items():
        published_as = "fusion" if model == POPULARITY else model
        newest = versions(repository, published_as)[-1:]
        if [served] != newest:
            raise TrainingError(
                f"--through {address}: it serves {model} version {served}, and the newest in {repository} is "
                f"{newest[0] if newest else 'none'}: start it on this repository"
            )
