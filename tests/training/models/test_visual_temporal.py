"""The visual-temporal model: padding, absent posters and texts, hidden items, parts left out, no look ahead."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from training.features.content import Content
from training.models.behavior import TemporalEncoder
from training.models.item_encoder import PosterNetwork
from training.models.visual_temporal import VisualTemporalModel, VisualTemporalTower
from training.recipes.visual_temporal import VisualTemporalRecipe, best_visual_temporal, seed_cnn_birnn_ae

N = 6
BEST = replace(best_visual_temporal(), embedding_dim=16, rnn_dim=8, channels=(4, 8), length=5, window=3)
SEED = replace(seed_cnn_birnn_ae(), embedding_dim=16, rnn_dim=8, channels=(4, 8), length=5, window=5)


def poster_feature(model: VisualTemporalModel) -> Tensor:
    width = model.recipe.poster_features
    return torch.linspace(-1, 1, N * width).view(N, width)


def made(recipe: VisualTemporalRecipe, known: float = 1.0) -> VisualTemporalModel:
    """Six items: the last two without a poster, the second and the last without a text; all else that is known of
    them without posters is `known` times something.
    """
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    text = known * random.normal(size=(N, 4)).astype(np.float32)
    text[[1, 5]] = 0
    content = Content(
        known * np.eye(N, 3, dtype=np.float32),
        text,
        known * np.ones((N, 2), np.float32),
    )
    model = VisualTemporalModel(content, torch.tensor([True] * 4 + [False] * 2), recipe).eval()
    for parameter in (model.item.absent, model.item.absent_text, model.bias):
        torch.nn.init.normal_(parameter)
    return model


def after(model: VisualTemporalModel, items: list[int], num_queries: int = 1) -> Tensor:
    """Queries after the newest `num_queries` events."""
    history = torch.tensor([items])
    rating = torch.where(history % 2 > 0, history.float(), torch.nan)
    feature = pad(model.item_feature(poster_feature(model)), (0, 0, 1, 0))[history]
    return model.query(model.user(history, feature, rating, num_queries)[0])[0]


@pytest.fixture(params=[BEST, SEED], ids=["best", "seed"])
def model(request: pytest.FixtureRequest) -> VisualTemporalModel:
    return made(request.param)


@torch.no_grad()
def test_padding_in_front_changes_nothing(model: VisualTemporalModel) -> None:
    torch.testing.assert_close(
        after(model, [0, 0, 0, 0, 1, 5, 2]),
        after(model, [1, 5, 2]),
    )


@torch.no_grad()
def test_every_position_is_answered_from_the_events_up_to_it(model: VisualTemporalModel) -> None:
    """So training, which asks for many positions at once, sees no future and learns what is served."""
    items = [3, 1, 4, 2, 5, 6, 1, 3]
    at_once = after(model, items, num_queries=6)
    for position, query in enumerate(at_once, start=len(items) - 5):
        torch.testing.assert_close(query, after(model, items[:position])[0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_only_the_newest_events_count(model: VisualTemporalModel) -> None:
    newest = [4, 2, 5, 6, 1]
    torch.testing.assert_close(after(model, [3, 3, *newest]), after(model, newest))


@torch.no_grad()
def test_the_temporal_encoder_reads_in_both_directions() -> None:
    encoder = TemporalEncoder(4, BEST).eval()
    events, real = torch.randn(1, 5, 4), torch.ones(1, 5, dtype=torch.bool)
    assert not torch.allclose(encoder(events, real), encoder(events.flip(1), real))


@torch.no_grad()
def test_an_empty_history_abstains(model: VisualTemporalModel) -> None:
    history = torch.zeros(1, 2, dtype=torch.long)
    rating = torch.full((1, 2), torch.nan)
    query = VisualTemporalTower(model)(history, torch.zeros(1, 2, 16), rating)
    assert query.isnan().all()


@torch.no_grad()
def test_missing_posters_and_texts_are_learned_vectors(model: VisualTemporalModel) -> None:
    before = model.item_feature(poster_feature(model))
    torch.testing.assert_close(model.item_feature(poster_feature(model) + 1)[4:], before[4:])
    assert not torch.allclose(model.item_feature(poster_feature(model) + 1)[:4], before[:4])
    for learned, lacking in ((model.item.absent, [4, 5]), (model.item.absent_text, [1, 5])):
        learned.add_(1)
        moved = (model.item_feature(poster_feature(model)) - before).abs().sum(1) > 1e-4
        assert torch.nonzero(moved).flatten().tolist() == lacking
        learned.sub_(1)


@torch.no_grad()
def test_a_hidden_item_has_the_vector_of_one_that_was_never_seen(model: VisualTemporalModel) -> None:
    feature = model.item_feature(poster_feature(model))
    vectors = model.item_vector(feature, torch.tensor([True] + [False] * (N - 1)))
    content = model.content_vector(feature)
    torch.testing.assert_close(vectors[0], content[0])
    assert not torch.allclose(vectors[1:], content[1:])


@torch.no_grad()
def test_an_item_that_came_after_training_is_read_as_a_hidden_one(model: VisualTemporalModel) -> None:
    feature, rating = torch.randn(1, 2, 16), torch.ones(1, 2)
    hidden = torch.tensor([False, True] + [False] * (N - 2))
    unseen = model.user(torch.tensor([[1, N + 7]]), feature, rating)[0]
    torch.testing.assert_close(unseen, model.user(torch.tensor([[1, 2]]), feature, rating, hidden=hidden)[0])
    assert not torch.allclose(unseen, model.user(torch.tensor([[1, 2]]), feature, rating)[0])


@pytest.mark.parametrize("part", ["cnn", "rnn", "autoencoder", "attention", "posters"])
@pytest.mark.parametrize("recipe", [BEST, SEED], ids=["best", "seed"])
def test_a_part_that_is_left_out_has_no_say(recipe: VisualTemporalRecipe, part: str) -> None:
    """Whether scores depend on its parameters: in the whole model they do."""
    for model, depends in ((made(recipe), True), (made(replace(recipe, without=(part,))), False)):
        before = scores(model)
        with torch.no_grad():
            for parameter in parameters_of(model, part):
                parameter += torch.randn_like(parameter)
        assert torch.allclose(scores(model), before) != depends


def parameters_of(model: VisualTemporalModel, part: str) -> list[Tensor]:
    poster = model.item.poster
    parts: dict[str, list[Tensor]] = {
        "cnn": list(model.item.parameters()),
        "rnn": list(model.temporal.parameters()),
        "autoencoder": list(model.autoencoder.parameters()),
        "attention": [model.pool.weight, poster.attention.weight, *model.temporal.attention.parameters()],
        "posters": list(poster.parameters()),
    }
    return parts[part]


@pytest.mark.parametrize(
    ("without", "depends"),
    [((), True), (("text",), True), (("metadata",), False)],
)
def test_without_metadata_nothing_known_of_items_has_a_say(without: tuple[str, ...], depends: bool) -> None:
    recipe = replace(BEST, without=without)
    assert torch.allclose(scores(made(recipe)), scores(made(recipe, known=2.0))) != depends


@torch.no_grad()
def test_without_text_every_text_is_absent() -> None:
    model = made(replace(BEST, without=("text",)))
    genres, text, _ = model.item.parts
    assert not model.metadata[:, genres : genres + text].any()
    assert model.metadata[:, :genres].any()


@torch.no_grad()
def scores(model: VisualTemporalModel) -> Tensor:
    posters = torch.arange(N * 3 * 8 * 8).remainder(251).to(torch.uint8).view(N, 3, 8, 8)
    feature = model.item_feature(model.item.poster(posters))
    history, rating = torch.tensor([[1, 4, 2]]), torch.tensor([[5.0, torch.nan, 1.0]])
    query = VisualTemporalTower(model)(history, feature[history - 1], rating)
    return query @ model.item_vector(feature).T


def test_the_loss_reaches_every_parameter(model: VisualTemporalModel) -> None:
    posters = torch.randint(0, 256, (N, 3, 8, 8), dtype=torch.uint8)
    feature = model.item_feature(model.item.poster(posters))
    history = torch.tensor([[1, 6, 2, 5]])
    rating = torch.tensor([[5.0, torch.nan, 1.0, 3.0]])
    F, _, F_AE = model.user(history, pad(feature, (0, 0, 1, 0))[history], rating, num_queries=2)
    logits = model.query(F) @ model.item_vector(feature).T
    assert model.genres is not None
    loss = logits.exp().sum() + F_AE.square().sum()
    loss += model.genres(F).square().sum()
    loss.backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == set()


@torch.no_grad()
def test_the_attention_map_says_where_a_poster_counts() -> None:
    recipe = replace(BEST, filter_sizes=(3, 5))
    network = PosterNetwork(recipe).eval()
    regions = network.regions(torch.randint(0, 256, (2, 3, 16, 12), dtype=torch.uint8))
    weight = network.weight(regions)
    assert weight.shape == (2, 1, 4, 3)
    torch.testing.assert_close(weight.sum((1, 2, 3)), torch.ones(2))
    assert weight.std() > 0
    assert PosterNetwork(replace(recipe, without=("attention",))).weight(regions).std() == 0


def test_the_seed_has_s5s_activations() -> None:
    """ReLU after both layers of the encoder and the first of the decoder; σ of bottleneck and output."""
    autoencoder = made(SEED).autoencoder
    kinds = [type(layer).__name__ for layer in [*autoencoder.encoder, *autoencoder.decoder]]
    encoder = ["Linear", "ReLU", "Linear", "ReLU", "Residual", "Linear", "Tanh"]
    assert kinds == [*encoder, "Linear", "ReLU", "Residual", "Linear", "Tanh"]


@torch.no_grad()
def test_what_the_seed_reconstructs_is_inside_the_range_of_its_output() -> None:
    model = made(SEED)
    feature = model.item_feature(100 * poster_feature(model))
    history, rating = torch.tensor([[1, 2]]), torch.tensor([[5.0, 1.0]])
    _, joined, _ = model.user(history, feature[:2].unsqueeze(0), rating)
    assert joined.abs().max() <= 1


def test_the_seed_normalizes_nothing_and_best_does() -> None:
    def normalizing(model: VisualTemporalModel) -> int:
        return sum(isinstance(part, nn.BatchNorm2d | nn.LayerNorm) for part in model.modules())

    assert (normalizing(made(SEED)), normalizing(made(BEST))) == (0, 5)


def test_xavier_reaches_every_weight_of_the_seed() -> None:
    """Glorot and Bengio (2010): uniform up to the root of 6 over the sum of fan in and fan out, per gate."""
    model = made(SEED)
    convolution = next(part for part in model.modules() if isinstance(part, nn.Conv2d))
    weights: dict[str, Tensor] = {"conv": convolution.weight, "learned": model.learned.weight}
    recurrent = dict(model.temporal.forwards.named_parameters())
    for name in ("weight_ih_l0", "weight_hh_l0"):
        weights |= {f"{name} {gate}": part for gate, part in enumerate(recurrent[name].split(SEED.rnn_dim))}
    for name, weight in weights.items():
        receptive = weight[0, 0].numel() if weight.dim() > 2 else 1
        bound = (6 / ((weight.shape[0] + weight.shape[1]) * receptive)) ** 0.5
        assert 0.85 * bound < weight.abs().max() <= bound, name
    assert not any(values.any() for name, values in recurrent.items() if name.startswith("bias"))


def test_there_is_a_poster_network_for_each_size_of_filters() -> None:
    network = PosterNetwork(replace(SEED, filter_sizes=(1, 3, 5)))
    sizes = [part.kernel_size for part in network.stacks.modules() if isinstance(part, nn.Conv2d)]
    assert [height for height, width in sizes if height == width] == [1, 1, 3, 3, 5, 5]
    poster = torch.randint(0, 256, (2, 3, 16, 12), dtype=torch.uint8)
    assert network(poster).shape == (2, 3 * SEED.channels[-1])
    alone = network.stacks[2](poster.float() / 255)
    torch.testing.assert_close(network.regions(poster)[:, -SEED.channels[-1] :], alone)


@torch.no_grad()
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_recurrent_cell_is_the_recipes(cell: Literal["gru", "lstm"]) -> None:
    model = made(replace(SEED, cell=cell))
    assert type(model.temporal.forwards) is {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
    torch.testing.assert_close(after(model, [0, 0, 1, 5, 2]), after(model, [1, 5, 2]))
