"""The rating network: ids and genres to a rating.

systems.md S1 (embeddings 64 + 64, hidden 128, dropout 0.1) and S4 (with genres, hidden 64 and 32, dropout 0.3).
"""

import numpy as np
import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.interactions import Floats, Interactions
from training.progress import track
from training.recipes import RatingRecipe


class RatingNetwork(nn.Module):
    """User embedding, item embedding and item features, joined, to one rating."""

    feature: Tensor

    def __init__(self, users: int, feature: Floats, mean: float, recipe: RatingRecipe) -> None:
        """`feature` is [N + 1, G]; row 0 belongs to padding. `mean` is the mean training rating."""
        super().__init__()
        self.user = nn.Embedding(users + 1, recipe.embedding)
        self.item = nn.Embedding(len(feature), recipe.embedding)
        nn.init.normal_(self.user.weight, std=0.05)
        nn.init.normal_(self.item.weight, std=0.05)
        self.register_buffer("feature", torch.from_numpy(feature))
        widths = [2 * recipe.embedding + feature.shape[1], *recipe.hidden]
        layers: list[nn.Module] = [nn.Dropout(recipe.dropout)]
        for narrow, wide in zip(widths[1:], widths[:-1], strict=True):
            layers += [nn.Linear(wide, narrow), nn.ReLU(), nn.Dropout(recipe.dropout)]
        output = nn.Linear(widths[-1], 1)
        nn.init.constant_(output.bias, mean)
        self.layers = nn.Sequential(*layers, output)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """[E] dense users and items -> [E] ratings."""
        return self.layers(torch.cat([self.user(user), self.item(item), self.feature[item]], -1)).squeeze(-1)

    @torch.no_grad()
    def table(self) -> Floats:
        """[U, N]: the rating of every known user for every known item."""
        self.eval()
        users, items = self.user.num_embeddings, self.item.num_embeddings
        item = torch.arange(1, items)
        rows = [self(torch.full((items - 1,), user), item).numpy() for user in range(1, users)]
        return np.stack(rows)


def train_rating_network(
    train: Interactions, validation: Interactions, feature: Floats, recipe: RatingRecipe
) -> tuple[RatingNetwork, float]:
    """Least squares on the rated events. Keeps, and returns beside it, the epoch with the lowest validation RMSE."""
    torch.manual_seed(recipe.seed)
    user, item, rating = _rated(train)
    network = RatingNetwork(train.users, feature, float(rating.mean()), recipe)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    best, kept, note = np.inf, network.state_dict(), [""]
    for _ in track("rating network", range(recipe.epochs), recipe.epochs, note):
        network.train()
        for rows in torch.randperm(len(rating)).split(recipe.batch):
            loss = nn.functional.mse_loss(network(user[rows], item[rows]), rating[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rmse = _rmse(network, validation)
        if not np.isfinite(rmse):
            raise TrainingError(f"the loss diverged at learning rate {recipe.learning_rate}: try a tenth of it")
        note.append(f"validation RMSE {rmse:.4f}")
        if rmse < best:
            best, kept = rmse, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(kept)
    return network.eval(), best


def _rated(data: Interactions) -> tuple[Tensor, Tensor, Tensor]:
    rows = np.flatnonzero(np.isfinite(data.rating))
    if not len(rows):
        raise TrainingError("the rating model needs events with a rating, and this data has none")
    return torch.from_numpy(data.user[rows]), torch.from_numpy(data.item[rows]), torch.from_numpy(data.rating[rows])


@torch.no_grad()
def _rmse(network: RatingNetwork, data: Interactions) -> float:
    network.eval()
    user, item, rating = _rated(data)
    return float((network(user, item) - rating).square().mean().sqrt())
