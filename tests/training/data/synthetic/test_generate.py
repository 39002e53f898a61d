"""The generated data set: written whole, the same for a seed, and worth learning from."""

import filecmp
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from training.data.load import load_dataset
from training.data.synthetic import generate as generate_module
from training.data.synthetic.generate import Settings, generate
from training.data.synthetic.world import STYLES, Items, Watched, make_items, make_users, watch
from training.data.validate import validate
from training.errors import DataError

SMALL = Settings(users=30, items=60, events_per_user=15)

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "generated"
    generate(folder, SMALL)
    return folder


def test_the_folder_is_a_clean_data_set(small: Path) -> None:
    dataset = load_dataset(small)
    assert dataset.name == "generated"
    assert (dataset.events["user"].n_unique(), len(dataset.items)) == (30, 60)
    assert dataset.items["number"].to_list() == list(range(1, 61))
    assert dataset.items["title"].n_unique() == 60
    assert dataset.events["rating"].is_between(1, 5).all()
    assert dataset.events["time"].is_sorted()
    assert 0 < (dataset.items["poster"] != "").sum() <= 60
    assert validate(dataset, 1, 5) == []


def test_the_same_settings_give_the_same_files(small: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", SMALL)
    generate(tmp_path / "other", Settings(users=30, items=60, events_per_user=15, seed=1))
    names = [str(path.relative_to(small)) for path in small.rglob("*") if path.is_file()]
    assert filecmp.cmpfiles(small, tmp_path / "again", names, shallow=False) == (names, [], [])
    assert not filecmp.cmp(small / "events.csv", tmp_path / "other" / "events.csv", shallow=False)


def test_a_share_of_the_events_has_no_rating_and_all_else_stays(small: Path, tmp_path: Path) -> None:
    generate(tmp_path / "views", replace(SMALL, unrated=0.3))
    rated, viewed = (load_dataset(folder).events for folder in (small, tmp_path / "views"))
    assert viewed.drop("rating").equals(rated.drop("rating"))
    assert 0.2 < viewed["rating"].null_count() / viewed.height < 0.4
    kept = viewed["rating"].is_not_null()
    assert viewed["rating"].filter(kept).equals(rated["rating"].filter(kept))
    for name in ("items.csv", "users.csv"):
        assert filecmp.cmp(small / name, tmp_path / "views" / name, shallow=False)


def test_a_folder_of_before_a_setting_was_there_is_the_same(small: Path) -> None:
    stored = json.loads((small / "generated.json").read_text())
    del stored["unrated"]
    (small / "generated.json").write_text(json.dumps(stored))
    generate(small, SMALL)


def test_nothing_is_done_where_it_lies_already_and_nothing_else_is_overwritten(small: Path, tmp_path: Path) -> None:
    before = (small / "events.csv").stat().st_mtime_ns
    generate(small, SMALL)
    assert (small / "events.csv").stat().st_mtime_ns == before
    (tmp_path / "mine.txt").write_text("dear")
    for folder, settings in ((small, Settings(seed=9)), (tmp_path, SMALL)):
        with pytest.raises(DataError, match="already holds something else"):
            generate(folder, settings)
    assert (tmp_path / "mine.txt").read_text() == "dear"


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(generate_module, "_write_posters", interrupt)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "generated", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_nobody_watches_an_item_twice() -> None:
    _, watched = _world(0)
    pairs = pl.DataFrame({"user": watched.user, "item": watched.item, "time": watched.time})
    assert pairs.select("user", "item").is_duplicated().sum() == 0
    assert pairs.select((pl.col("time").diff().over("user") > 0).all()).item()


def test_taste_order_and_style_each_beat_popularity_and_together_beat_each() -> None:
    """NDCG@10 of each user's last item, by rankers that see one cause each; mean over three worlds."""
    metrics = [_metrics(seed) for seed in range(3)]

    def mean_of(name: str) -> float:
        return float(np.mean([row[name] for row in metrics]))

    mean = {name: mean_of(name) for name in metrics[0]}
    alone = [mean[name] for name in ("taste", "order", "style")]
    assert min(alone) > 1.3 * mean["popularity"], mean
    assert mean["together"] > 1.1 * max(alone), mean


def _metrics(seed: int) -> dict[str, float]:
    items, watched = _world(seed)
    last = np.append(np.diff(watched.user) > 0, True)
    target = watched.item[last]
    user, item, rating = watched.user[~last], watched.item[~last], watched.rating[~last].astype(float)
    seen = np.zeros((len(target), len(items.style)), bool)
    seen[user, item] = True
    scores = {
        "taste": _ratings_predicted(user, item, rating, seen),
        "order": _following(user, item, seen),
        "style": _style_lately(user, item, items.style) + 1e-6 * seen.sum(0),
    }
    together = np.sum([_standard(score, seen) for score in scores.values()], axis=0)
    popularity = np.broadcast_to(seen.sum(0), seen.shape).astype(float)
    rankers = scores | {"together": together, "popularity": popularity}
    return {name: _ndcg(score, target, seen) for name, score in rankers.items()}


def _world(seed: int) -> tuple[Items, Watched]:
    rng = np.random.default_rng(seed)
    settings = Settings()
    items, users = make_items(settings.items, rng), make_users(settings.users, rng)
    return items, watch(items, users, settings.events_per_user, rng)


def _ndcg(score: Floats, target: NDArray[np.int64], seen: NDArray[np.bool_]) -> float:
    """NDCG@10 of the target among unseen items; a target tied with others is placed in their middle."""
    score = np.where(seen, -np.inf, score)
    own = score[np.arange(len(target)), target][:, None]
    rank = (score > own).sum(1) + ((score == own).sum(1) - 1) / 2
    return float(np.where(rank < 10, 1 / np.log2(rank + 2), 0).mean())


def _standard(score: Floats, seen: NDArray[np.bool_]) -> Floats:
    unseen = np.ma.masked_array(score, seen)
    return np.asarray((score - unseen.mean(1, keepdims=True)) / (unseen.std(1, keepdims=True) + 1e-9))


def _ratings_predicted(
    user: NDArray[np.int64], item: NDArray[np.int64], rating: Floats, seen: NDArray[np.bool_]
) -> Floats:
    """Alternating least squares on what the means of user and item leave, 8 factors."""
    residual = np.zeros(seen.shape)
    residual[user, item] = rating - rating.mean()
    of_item = residual.sum(0) / (seen.sum(0) + 5)
    residual = np.where(seen, residual - of_item, 0)
    of_user = residual.sum(1, keepdims=True) / (seen.sum(1, keepdims=True) + 5)
    residual = np.where(seen, residual - of_user, 0)
    users = np.zeros((len(seen), 8))
    items = np.random.default_rng(0).normal(0, 0.1, (seen.shape[1], 8))
    for _ in range(8):
        for mine, theirs, mask, left in ((users, items, seen, residual), (items, users, seen.T, residual.T)):
            for row in range(len(mine)):
                known = theirs[mask[row]]
                covariance = known.T @ known + 6 * np.eye(8)
                mine[row] = np.linalg.solve(covariance, known.T @ left[row, mask[row]])
    return of_item + users @ items.T


def _following(user: NDArray[np.int64], item: NDArray[np.int64], seen: NDArray[np.bool_]) -> Floats:
    """How often an item came after the user's last one, smoothed over similar items by a truncated SVD."""
    after = np.zeros((seen.shape[1], seen.shape[1]))
    same = np.flatnonzero(np.diff(user) == 0)
    np.add.at(after, (item[same], item[same + 1]), 1)
    after /= after.sum(1, keepdims=True) + 5
    left, size, right = np.linalg.svd(after)
    smooth = (left[:, :40] * size[:40]) @ right[:40]
    return np.asarray((smooth + 0.5 * after)[item[_lasts(user)]])


def _style_lately(user: NDArray[np.int64], item: NDArray[np.int64], style: NDArray[np.int64]) -> Floats:
    """How much of each item's style was watched lately."""
    ends = _lasts(user) + 1
    looks = np.eye(len(STYLES))[style]
    lately = []
    for start, end in pairwise([0, *ends]):
        weights = 0.85 ** np.arange(end - start)[::-1]
        lately.append(weights @ looks[item[start:end]])
    return np.asarray(np.stack(lately) @ looks.T)


def _lasts(user: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.append(np.flatnonzero(np.diff(user)), len(user) - 1)
