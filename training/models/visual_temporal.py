"""Posters (CNN with attention), behavior (bi-directional RNN), autoencoder and fusion layer: REFERENCE_SYSTEMS.md S5.

Legend: B users, L events, Q of them queried after (the newest ones), W events of a window, N items, D dimension.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from training.features.content import Content
from training.features.rating_scale import STARS, RatingScale
from training.models.behavior import EnhancedAutoencoder, HistoryPooling, TemporalEncoder, attended
from training.models.item_encoder import ItemEncoder
from training.models.rating_index import RATINGS, rating_index
from training.recipes.visual_temporal import VisualTemporalRecipe

OF_ITEM = ("watched.weight", "learned.weight", "bias")
"""What is learned of each item, in its last rows one an item; in the first of `watched` is padding."""
PARTS = ("cnn", "rnn", "autoencoder", "attention", "metadata", "text", "posters")
"""What a recipe may leave out. `cnn` is F_CNN, so all content of items; `metadata` is genres, year and text."""


class VisualTemporalModel(nn.Module):
    """F = σ(W [F_CNN; F_RNN; F_AE] + b) of a user, against item vectors; σ is tanh, or brings F to one length."""

    genre_flags: Tensor
    kept: Tensor
    metadata: Tensor
    has_poster: Tensor

    def __init__(
        self,
        content: Content,
        has_poster: Tensor,
        recipe: VisualTemporalRecipe,
        scale: RatingScale = STARS,
    ) -> None:
        super().__init__()
        D, N = recipe.embedding_dim, len(has_poster)
        self.recipe, self.scale = recipe, scale
        self.has = {part: part not in recipe.without for part in PARTS}
        kept = [self.has["metadata"], self.has["metadata"] and self.has["text"], self.has["metadata"]]
        widths = [table.shape[1] for table in (content.genres, content.text, content.year)]
        self.register_buffer("kept", torch.tensor(kept).repeat_interleave(torch.tensor(widths)))
        self.register_buffer("metadata", torch.from_numpy(content.all) * self.kept)
        self.register_buffer("genre_flags", torch.from_numpy(content.genres))
        self.register_buffer("has_poster", has_poster & self.has["posters"])
        self.item = ItemEncoder(content, recipe)
        self.enter = nn.Linear(D, D)
        self.watched = nn.Embedding(N + 1, D, padding_idx=0)
        self.rating = nn.Embedding(RATINGS, D)
        self.temporal = TemporalEncoder(D, recipe)
        self.pool = nn.Linear(D, 1)
        self.recall = HistoryPooling(recipe, scale) if recipe.history_pools else None
        width = 3 * D if recipe.history_pools else 2 * D
        self.autoencoder = EnhancedAutoencoder(width, recipe)
        self.drop = nn.Dropout(recipe.dropout)
        self.fusion = nn.Linear(2 * D + width, D)
        self.output = nn.Linear(D, D + 1)
        self.learned = nn.Embedding(N, D)
        self.bias = nn.Parameter(torch.zeros(N))
        self.genres = nn.Linear(D, content.genres.shape[1]) if content.genres.shape[1] else None
        self.apply(_xavier)
        for embedding in (self.watched, self.rating, self.learned):
            nn.init.normal_(embedding.weight, std=D**-0.5)
        if recipe.xavier:
            self.apply(_xavier_others)
        nn.init.zeros_(self.watched.weight.data[0])

    def expand_to(self, content: Content, has_poster: Tensor, row: Tensor) -> "VisualTemporalModel":
        """The same model over the items of `content`; those at each `row` [N] it was trained on, of the others it knows
        the content alone.
        """
        wider = VisualTemporalModel(content, has_poster, self.recipe)
        of_content = {name: wider.get_buffer(name) for name in ("metadata", "genre_flags", "has_poster")}
        state = self.state_dict() | of_content
        for name in OF_ITEM:
            learned = torch.zeros_like(wider.get_parameter(name))
            # `watched` has a row more than there are items, the padding in front.
            learned[row + len(learned) - len(has_poster)] = state[name][-len(row) :]
            state[name] = learned
        wider.load_state_dict(state)
        return wider.eval()

    def item_feature(self, poster_feature: Tensor) -> Tensor:
        """[N, C] -> F_CNN [N, D]."""
        return self.item(poster_feature, self.has_poster, self.metadata)

    def nothing_known(self) -> Tensor:
        """[N, M] metadata of items of which there is a poster at most."""
        metadata = torch.zeros_like(self.metadata)
        metadata[:, -1] = 1  # the year is unknown
        return metadata * self.kept

    def item_vector(self, item_feature: Tensor, hidden: Tensor | None = None) -> Tensor:
        """[N, D + 1]: from content, plus what was learned of the item itself; bool [N] `hidden` leaves that out."""
        own = torch.cat([self.learned.weight, self.bias.unsqueeze(1)], 1)
        return self._vector(item_feature, own if hidden is None else own * ~hidden.unsqueeze(1))

    def content_vector(self, item_feature: Tensor) -> Tensor:
        """[P, D + 1] of items from content alone, whatever items they are."""
        return self._vector(item_feature, item_feature.new_zeros(self.output.out_features))

    def _vector(self, item_feature: Tensor, own: Tensor) -> Tensor:
        vector = self.output(item_feature) * self.has["cnn"] + own
        if not self.recipe.temperature:
            return vector
        return torch.cat([normalize(vector[:, :-1], dim=1), vector[:, -1:]], 1)

    def user(
        self,
        history_BL: Tensor,
        feature_BLD: Tensor,
        rating_BL: Tensor,
        num_queries: int = 1,
        hidden: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """F [B, Q, D] after each of the newest Q = `num_queries` events, and the autoencoder's input and output.

        No F depends on events after its own. Histories are padded in front with item 0.

        Of items that the model does not know, and of those in bool [N] `hidden`, only the content is read.
        """
        known_BL = torch.where(history_BL <= len(self.has_poster), history_BL, 0)
        own_BLD = self.watched(known_BL)
        if hidden is not None:
            own_BLD = own_BLD * ~pad(hidden, (1, 0))[known_BL].unsqueeze(-1)
        feature_BLD = feature_BLD * self.has["cnn"]
        x_BLD = self.drop(self.enter(feature_BLD) * self.has["cnn"] + own_BLD)
        position_L = torch.arange(history_BL.shape[1], device=history_BL.device)
        position_Q = position_L[-num_queries:]
        age_QL = position_Q.unsqueeze(1) - position_L
        seen_BQL = (history_BL > 0).unsqueeze(1) & (age_QL >= 0) & (age_QL < self.recipe.length)
        F_CNN = attended(self.pool if self.has["attention"] else None, feature_BLD, seen_BQL)
        F_RNN = self._temporal(x_BLD + self.rating(rating_index(rating_BL, self.scale)), history_BL > 0, position_Q)
        parts = [F_CNN, F_RNN] + ([self.recall(x_BLD, rating_BL, seen_BQL, age_QL)] if self.recall else [])
        joined = torch.cat(parts, -1)
        F_AE = self.autoencoder(self.drop(joined)) * self.has["autoencoder"]
        if self.recall:
            F_AE = F_AE + joined * self.has["autoencoder"]
        F = self.fusion(self.drop(torch.cat([F_CNN, F_RNN, F_AE], -1)))
        return F if self.recipe.temperature else torch.tanh(F), joined, F_AE

    def _temporal(self, x_BLD: Tensor, real_BL: Tensor, position_Q: Tensor) -> Tensor:
        """F_RNN [B, Q, D] of the newest events at each position."""
        W, (B, _, D) = self.recipe.window, x_BLD.shape
        Q = len(position_Q)
        if not self.has["rnn"]:
            return torch.zeros_like(x_BLD[:, :1]).expand(B, Q, D)
        window_QW = position_Q.unsqueeze(1) + torch.arange(1, W + 1, device=x_BLD.device)
        events = pad(x_BLD, (0, 0, W, 0))[:, window_QW].reshape(B * Q, W, D)
        real = pad(real_BL, (W, 0))[:, window_QW].reshape(B * Q, W)
        return self.temporal(events, real).view(B, Q, D)

    def query(self, F: Tensor) -> Tensor:
        """[..., D + 1], of which the inner products with item vectors are the scores."""
        if self.recipe.temperature:
            F = normalize(F, dim=-1) / self.recipe.temperature
        # The last column of item vectors is the item's bias.
        return torch.cat([F, torch.ones_like(F[..., :1])], -1)


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def _xavier_others(module: nn.Module) -> None:
    """What is not linear: convolutions, embeddings, and recurrent layers gate by gate."""
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.RNNBase):
        for name, values in module.named_parameters():
            for gate in values.data.split(module.hidden_size):
                nn.init.xavier_uniform_(gate) if name.startswith("weight") else nn.init.zeros_(gate)


class VisualTemporalTower(nn.Module):
    """Query [F, 1]; NaN where the history is empty."""

    def __init__(self, model: VisualTemporalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, history_index: Tensor, history_feature: Tensor, history_rating: Tensor) -> Tensor:
        query = self.model.query(self.model.user(history_index, history_feature, history_rating)[0][:, 0])
        return torch.where((history_index > 0).any(1, keepdim=True), query, torch.nan)


class GenreTower(nn.Module):
    """Probability [B, G] of each genre of what the user watches next; NaN where the history is empty."""

    def __init__(self, model: VisualTemporalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, history_index: Tensor, history_feature: Tensor, history_rating: Tensor) -> Tensor:
        assert self.model.genres is not None
        F = self.model.user(history_index, history_feature, history_rating)[0][:, 0]
        probability = torch.sigmoid(self.model.genres(F))
        return torch.where((history_index > 0).any(1, keepdim=True), probability, torch.nan)


class NewItems(nn.Module):
    """The item side for items that the model has not been trained on: what was learned of them is zero."""

    def __init__(self, model: VisualTemporalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, poster: Tensor, has_poster: Tensor, metadata: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [P, 3, H, W], bool [P], [P, M] -> item feature [P, D], item vector [P, D + 1]."""
        model = self.model
        feature = model.item(model.item.poster(poster), has_poster & model.has["posters"], metadata * model.kept)
        return feature, model.content_vector(feature)
