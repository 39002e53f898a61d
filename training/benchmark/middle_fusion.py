"""Post-fusion and middle fusion of S1's two models (REFERENCE_SYSTEMS.md), for the next item, side by side.

Post-fusion joins the two scores. Middle fusion joins the last layers: what the rating network's last hidden layer says
of a user and an item, and the products of the sequence model's query and item vectors, whose sum is its score. One new
layer over both takes the place of the two last ones, and is trained like post-fusion's weights, on the validation
events, a fifth of which stops it. Leave-last-out, all items, those watched before left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from rich.table import Table
from torch import Tensor, nn

from fusion_gateway.fusion import Policy, fuse
from training.artifacts.requests import Requests, pad_front, requests_for
from training.benchmark.runner import Arrays, Cell, Measurement, Runner, over_queries
from training.data.splits import leave_last_out
from training.errors import TrainingError
from training.evaluation.gateway_candidates import CandidateBatch
from training.evaluation.next_item import (
    NDCG,
    Rank,
    Task,
    all_items,
    first_of_each_user,
    reindex,
    row_chunks,
    seen_items,
)
from training.evaluation.ranking_metrics import Doubles, bootstrap
from training.features.interactions import Floats, Interactions, Ints
from training.features.windows import Events
from training.fitting.loop import Run, fit
from training.models.rating import RatingNetwork
from training.pipelines.fusion_fit import fit_layer, fit_weights
from training.pipelines.job import Job
from training.pipelines.rating_predictions import learn_network, usable_stars
from training.pipelines.sequential import Model, learn
from training.recipes.rating import seed_rating
from training.recipes.sequential import seed_transformer

SEQUENCE, RATING = "sequential", "rating"
MIDDLE = "middle fusion"
POLICY = Policy({SEQUENCE: 1.0, RATING: 1.0})
LEARNING_RATE, EPOCHS, PATIENCE = 3e-3, 300, 30
STOPPING = 5
"""Every so many validation users stop the training."""
SAMPLE = 128
"""Items of each user in the loss, the next one first."""
USERS_AT_ONCE = 16


@dataclass(frozen=True)
class Pair:
    """The two trained models over the same items, numbered alike; each has its own numbers of users."""

    known: Interactions
    """Of the rating network."""
    sequence_users: Mapping[str, int]
    network: RatingNetwork
    sequence: Model
    length: int
    """Events that the sequence model reads."""

    def scores(self, requests: Requests) -> dict[str, Floats]:
        """[B, N] of each model."""
        query, table = self._queries(requests), self.sequence.item_table()
        item = torch.arange(1, self.known.items + 1)
        ratings = [self.network(torch.full_like(item, int(user)), item) for user in self._users(requests)]
        return {SEQUENCE: (query @ table.T).numpy(), RATING: torch.stack(ratings).numpy()}

    def joined(self, requests: Requests, item: Tensor) -> Tensor:
        """[B, C, F] of dense items [B, C]: both last layers' inputs side by side."""
        product = self._queries(requests)[:, None] * self.sequence.item_table()[item - 1]
        user = self._users(requests)[:, None].expand_as(item)
        return torch.cat([self.network.last_hidden(user, item), product], -1)

    def _users(self, requests: Requests) -> Tensor:
        return torch.tensor([self.known.user_index.get(user, 0) for user in requests.user_id])

    def _queries(self, requests: Requests) -> Tensor:
        histories = [self._dense(row)[-self.length :] for row in requests.history_item]
        item = torch.from_numpy(pad_front(histories, 0, np.int64))
        nothing = torch.zeros_like(item)
        user = torch.tensor([[self.sequence_users.get(name, 0)] for name in requests.user_id])
        events = Events(user, item, nothing.float(), nothing, nothing[:, :1])
        return self.sequence.encode(events, newest=True)[:, -1]

    def _dense(self, numbers: Ints) -> Ints:
        """Without those that are unknown."""
        return np.searchsorted(self.known.item_number, numbers[np.isin(numbers, self.known.item_number)]) + 1


def measurements(runner: Runner, seeds: Sequence[int]) -> list[Measurement]:
    """Arrays of a cell: NDCG@10 [B users] of each model and each fusion."""

    def measurement(seed: int) -> Measurement:
        return Measurement("fusions-leave-last-out", "S1", seed_rating(), seed, lambda: _measure(runner, seed))

    return [measurement(seed) for seed in seeds]


def _measure(runner: Runner, seed: int) -> Arrays:
    split = leave_last_out(runner.dataset.events)
    job = Job(runner.dataset, split, runner.work / "repository", runner.work)
    sequence = replace(seed_transformer(), seed=seed)
    learned = learn(job, sequence)
    recipe = replace(seed_rating(), seed=seed)
    network = learn_network(job, recipe, usable_stars(job, split.train, recipe)[0])
    if not np.array_equal(network.events.item_number, job.train.item_number):
        raise TrainingError(f"{runner.dataset.name}: items without a rating; the last layers would be of other items")
    users = job.train.user_index
    pair = Pair(network.events, users, network.network.eval(), learned.model.eval(), length=sequence.length)
    fit_on = requests_for(split.validation, split.train), split.validation["item"].to_numpy()
    items = all_items(split)
    task = Task.of(items, *first_of_each_user(split))
    with torch.no_grad():
        batch = _batch(pair, *fit_on)
    policies = {
        "weighted sum": fit_weights([batch], POLICY),
        "learned layer": fit_layer([batch], POLICY, 1, seed),
        "learned layer, 6 hidden": fit_layer([batch], POLICY, 6, seed),
    }
    layer = fit_middle(pair, *fit_on, seed)
    ranks = _ranks(pair, policies, layer)
    with torch.no_grad():
        return {name: task.metrics(reindex(items, pair.known.item_number, rank))[NDCG] for name, rank in ranks.items()}


def _ranks(pair: Pair, policies: Mapping[str, Policy], layer: nn.Linear) -> dict[str, Rank]:
    def post(policy: Policy) -> Rank:
        def rank(requests: Requests) -> Floats:
            scores = pair.scores(requests)
            seen = seen_items(requests, pair.known.item_number)
            fused = {name: np.where(seen, np.nan, table) for name, table in scores.items()}
            counts = [len(row) for row in requests.history_item]
            return np.where(seen, np.nan, fuse(policy, fused, counts, counts).score).astype(np.float32)

        return rank

    def middle(requests: Requests) -> Floats:
        item = torch.arange(1, pair.known.items + 1)
        parts = []
        for rows in row_chunks(len(requests), USERS_AT_ONCE):
            some = item.expand(len(rows), -1)
            parts.append(layer(pair.joined(requests.select(rows), some)).squeeze(-1).numpy())
        return np.concatenate(parts)

    alone = {name: Policy({name: 1.0}, normalizer="none") for name in (SEQUENCE, RATING)}
    ranks: dict[str, Rank] = {name: post(policy) for name, policy in (alone | dict(policies)).items()}
    return ranks | {MIDDLE: middle}


def _batch(pair: Pair, requests: Requests, target: Ints) -> CandidateBatch:
    """Every item is a candidate, but for those watched before."""
    seen = seen_items(requests, pair.known.item_number)
    scores = {name: np.where(seen, np.nan, table) for name, table in pair.scores(requests).items()}
    users, counts = np.arange(len(target)), np.array([len(row) for row in requests.history_item])
    column = np.tile(np.arange(pair.known.items), (len(target), 1))
    return CandidateBatch(
        user=users,
        column=column,
        scores=scores,
        retrieved={},
        target=_column(pair, target),
        events=counts,
        ratings=counts,
        count=np.full(len(target), pair.known.items),
    )


def _column(pair: Pair, target: Ints) -> Ints:
    """[B] dense item - 1; -1 for an item that is unknown."""
    position = np.searchsorted(pair.known.item_number, target).clip(max=pair.known.items - 1)
    return np.where(pair.known.item_number[position] == target, position, -1)


def fit_middle(pair: Pair, requests: Requests, target: Ints, seed: int) -> nn.Linear:
    """The new last layer, which begins as the sequence model's; of the next item against a sample of the others."""
    rows = np.flatnonzero(_column(pair, target) >= 0)
    requests, column = requests.select(rows), torch.from_numpy(_column(pair, target)[rows])
    torch.manual_seed(seed)
    drawn = torch.randint(1, pair.known.items + 1, (len(rows), SAMPLE - 1))
    item = torch.cat([column[:, None] + 1, drawn], 1)
    seen = torch.from_numpy(seen_items(requests, pair.known.item_number))
    # What was watched, and the next item drawn once more, are no others.
    other = ~seen.gather(1, drawn - 1) & (drawn - 1 != column[:, None])
    allowed = torch.cat([torch.ones(len(rows), 1, dtype=torch.bool), other], 1)
    with torch.no_grad():
        joined = torch.cat([pair.joined(requests.select(some), item[some]) for some in row_chunks(len(rows), 64)])
    hidden = joined.shape[-1] - pair.sequence.item_table().shape[1]
    layer = nn.Linear(joined.shape[-1], 1)
    with torch.no_grad():
        layer.weight.copy_((torch.arange(joined.shape[-1]) >= hidden).float())
    stops = torch.arange(len(rows)) % STOPPING == 0

    def loss(users: Tensor) -> Tensor:
        logits = layer(joined[users]).squeeze(-1).masked_fill(~allowed[users], -torch.inf)
        return -logits.log_softmax(1)[:, 0].mean()

    def losses() -> Iterator[Tensor]:
        yield loss(~stops)

    optimizer = torch.optim.Adam(layer.parameters(), lr=LEARNING_RATE)
    fit(Run("joined layer", layer, optimizer, losses, lambda: -loss(stops).item(), "loss"), EPOCHS, PATIENCE)
    return layer


def means(cells: Sequence[Cell]) -> dict[str, Doubles]:
    """[B users] of each fusion, the mean over seeds."""

    def mean(name: str) -> Doubles:
        return np.mean([cell.arrays[name] for cell in cells], axis=0)

    return {name: mean(name) for name in cells[0].arrays}


def as_table(cells: Sequence[Cell], dataset: str) -> Table:
    """Best first; the last column is paired by user."""
    title = f"{dataset}, leave-last-out, S1's two models, {len(cells)} seeds"
    table = Table("", "NDCG@10", "better than the sequence model by, 95 %", title=title, title_justify="left")
    found = means(cells)
    for name, values in sorted(found.items(), key=lambda pair: -pair[1].mean()):
        low, high = bootstrap(values - found[SEQUENCE])
        table.add_row(name, f"{values.mean():.4f}", "" if name == SEQUENCE else f"{low:+.4f} to {high:+.4f}")
    return table


def rows(cells: Sequence[Cell], dataset: str) -> Iterator[dict[str, object]]:
    """In the format of results."""
    seeds = [cell.seed for cell in cells]
    for name, values in means(cells).items():
        named = {"dataset": dataset, "protocol": "fusions-leave-last-out", "model": name, "recipe": "S1"}
        yield {**named, "metric": "ndcg@10", "seeds": seeds} | over_queries(values)
