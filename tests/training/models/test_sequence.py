"""The sequence models: what they may see, and that a served tower says what the model says."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.artifacts.onnx_export import export_tower, session
from training.features.windows import Events
from training.models.gated import GatedTransformer
from training.models.sequence import Block, SequenceTransformer
from training.models.towers import HistoryTower, RatedTower, TimeTower, UserTower
from training.pipelines.sequential import Model, make_model
from training.recipes import sequential as recipes
from training.recipes.sequential import SequentialRecipe

RECIPES = (
    recipes.transformer(),
    recipes.seed_transformer(),
    recipes.best_sequential(),
    recipes.best_now_sequential(),
    recipes.best_time_free_sequential(),
)
DAY = 86_400


@pytest.fixture(params=RECIPES, ids=lambda recipe: str(recipe.name))
def model(request: pytest.FixtureRequest) -> Model:
    return made(request.param)


def made(recipe: SequentialRecipe) -> Model:
    """With biases that matter, of which training starts from 0."""
    torch.manual_seed(0)
    model = make_model(replace(recipe, length=8), users=5, items=20).eval()
    for name, parameter in model.named_parameters():
        if "by_" in name:
            torch.nn.init.normal_(parameter)
    return model


def events(*items: int, query_time: int = 10 * DAY) -> Events:
    item = torch.tensor([items])
    rating = torch.where(item % 2 > 0, item % 5 + 1.0, torch.nan)
    time = torch.arange(item.shape[1]).unsqueeze(0) * DAY
    return Events(torch.tensor([[2]]), item, rating, time, torch.tensor([[query_time]]))


def padded(history: Events, front: int) -> Events:
    def pad(column: Tensor) -> Tensor:
        return torch.nn.functional.pad(column, (front, 0))

    return replace(history, item=pad(history.item), rating=pad(history.rating), time=pad(history.time))


@torch.no_grad()
def test_padding_in_front_changes_nothing(model: Model) -> None:
    history = events(3, 9, 4)
    alone, other = model.encode(history), model.encode(padded(history, 4))
    torch.testing.assert_close(alone, other[:, 4:], atol=1e-5, rtol=0)


@torch.no_grad()
def test_an_event_does_not_see_the_future(model: Model) -> None:
    one, other = (model.encode(events(3, 9, last)) for last in (4, 5))
    torch.testing.assert_close(one[:, :2], other[:, :2])
    assert not torch.allclose(one[:, 2], other[:, 2])


@torch.no_grad()
def test_the_newest_event_alone_is_encoded_as_among_the_others(model: Model) -> None:
    history = events(3, 9, 4)
    torch.testing.assert_close(model.encode(history, newest=True), model.encode(history)[:, -1:])


@torch.no_grad()
def test_the_order_of_the_events_matters(model: Model) -> None:
    assert not torch.allclose(
        model.encode(events(9, 3, 4))[:, -1],
        model.encode(events(3, 9, 4))[:, -1],
    )


@torch.no_grad()
def test_only_a_time_aware_model_reads_the_query_time() -> None:
    for recipe in (recipes.best_sequential(), recipes.best_time_free_sequential()):
        model = made(recipe)
        soon = model.encode(events(3, 9, query_time=2 * DAY))[:, -1]
        late = model.encode(events(3, 9, query_time=200 * DAY))[:, -1]
        assert torch.allclose(soon, late) == (not recipe.times)


@torch.no_grad()
def test_queries_within_the_minimum_gap_have_the_same_answer() -> None:
    queries = [events(3, 9, query_time=DAY + seconds) for seconds in (0, 59, 3600)]
    same, minute, hour = (made(recipes.best_now_sequential()).encode(history)[:, -1] for history in queries)
    torch.testing.assert_close(same, minute)
    assert not torch.allclose(same, hour)
    exact = made(recipes.best_sequential())
    assert not torch.allclose(
        exact.encode(queries[0])[:, -1],
        exact.encode(queries[1])[:, -1],
    )


@torch.no_grad()
def test_cosines_are_served_as_inner_products() -> None:
    model = made(recipes.best_sequential())
    assert isinstance(model, GatedTransformer)
    torch.testing.assert_close(model.item_table().norm(dim=-1), torch.ones(20))
    length = model.encode(events(3, 9)).norm(dim=-1)
    torch.testing.assert_close(length, torch.full((1, 2), 1 / model.temperature))


@torch.no_grad()
def test_the_exported_tower_answers_as_torch_batched_or_alone(tmp_path: Path) -> None:
    model = made(recipes.best_sequential())
    one, other = padded(events(3), 3), events(7, 2, 9, 4, query_time=4 * DAY)
    names = {"history_index": "item", "history_rating": "rating", "history_time": "time", "query_time": "query_time"}
    both = {name: torch.cat([getattr(one, part), getattr(other, part)]) for name, part in names.items()}
    export_tower(TimeTower(model), both, tmp_path / "tower.onnx")
    graph = session(tmp_path / "tower.onnx")
    feeds = {name: value.numpy() for name, value in both.items()}
    served = torch.from_numpy(graph.run(["query"], feeds)[0])
    torch.testing.assert_close(served[:1], model.encode(events(3))[:, -1], atol=1e-4, rtol=0)
    torch.testing.assert_close(served[1:], model.encode(other)[:, -1], atol=1e-4, rtol=0)


@torch.no_grad()
def test_an_empty_history_abstains() -> None:
    history, rating = torch.tensor([[0, 0], [0, 3]]), torch.full((2, 2), 4.0)
    user, time = torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 2, dtype=torch.int64)
    plain, timed = (made(recipe) for recipe in (recipes.transformer(), recipes.best_sequential()))
    assert isinstance(plain, SequenceTransformer)
    answers = (
        HistoryTower(plain)(history),
        UserTower(made(recipes.seed_transformer()))(user, history),
        RatedTower(made(recipes.best_time_free_sequential()))(history, rating),
        TimeTower(timed)(history, rating, time, time[:, -1:]),
    )
    for query in answers:
        assert query[0].isnan().all()
        assert query[1].isfinite().all()


@pytest.mark.parametrize("post_norm", [True, False])
def test_a_block_with_relu_is_torchs_encoder_layer(post_norm: bool) -> None:
    """S1's blocks are those of Vaswani et al. 2017: normalized after each sum, ReLU between."""
    assert recipes.seed_transformer().post_norm
    assert recipes.seed_transformer().relu
    recipe = replace(recipes.seed_transformer(), post_norm=post_norm)
    torch.manual_seed(0)
    block = Block(8, recipe).eval()
    torchs = torch.nn.TransformerEncoderLayer(8, recipe.heads, 16, batch_first=True, norm_first=not post_norm).eval()
    pairs = (
        (torchs.self_attn.in_proj_weight, block.project.weight),
        (torchs.self_attn.in_proj_bias, block.project.bias),
        (torchs.self_attn.out_proj.weight, block.join.weight),
        (torchs.self_attn.out_proj.bias, block.join.bias),
        (torchs.linear1.weight, block.feed_forward[0].weight),
        (torchs.linear1.bias, block.feed_forward[0].bias),
        (torchs.linear2.weight, block.feed_forward[3].weight),
        (torchs.linear2.bias, block.feed_forward[3].bias),
    )
    with torch.no_grad():
        for theirs, own in pairs:
            theirs.copy_(own)  # type: ignore[arg-type]
        x, mask = torch.randn(2, 5, 8), torch.full((5, 5), -torch.inf).triu(1)
        expected = torchs(x, src_mask=mask)
        torch.testing.assert_close(block(x, mask.expand(2, 5, 5)), expected, atol=1e-5, rtol=1e-5)
