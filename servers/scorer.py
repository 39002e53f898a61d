"""One scorer in memory: a query tower, item vectors and their indexes. Blocking; meant for the compute thread.

The score of an item for a user is the inner product of the tower's query and the item's vector. Items are known here by
*rows*: 1 + their index in `item_number`; row 0 is padding and unknown items, and its vector is NaN, as are scores that
come of it.
"""

import math
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from servers.device import Device, flat_index, load_tower, max_k, place_index
from servers.embedding import GRAPH, ItemEncoder, has_file
from servers.published import read_index, read_tensors, with_row_0
from servers.runtime.datatypes import Array
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Version
from servers.signature import EMBED, Arrays, Limits
from servers.similar_lists import similar_lists
from servers.users import Users

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
FAISS: Any = faiss
"""With what its stubs lack."""
POSTERS, GENRE_TOWER = "posters.safetensors", "genre_tower.onnx"
CHECKED = Limits(B=1 << 20, L=0, C=0, K=0)
"""Of what has been checked already."""
MAX_EXACT = 50_000
"""Number of allowed items above which those of an inverted index are searched in its lists."""
MAX_VALUE = 1e12
"""Largest value of an item's vector, and of a query: products stay far from where float32 overflows."""
TIED = 1e-5
"""Scores that differ by less, relative to the largest, are equal: FAISS adds up in another order."""
MAX_TABLE_NUMBER = 1 << 22
"""Item number above which rows are found by binary search instead of in a table."""
MAX_GATHERED_VALUES = 1 << 21
"""Maximum number of values of item vectors that are copied out at a time: 8 MiB."""
MAX_TOWER_VALUES = 1 << 22
"""Maximum number of events fed to a tower at a time, times their width: 16 MiB, of which it makes a few copies."""


class LoadedScorer:
    """Answers every kind of model from one artifact. Row b of an answer depends on row b of the inputs only."""

    def __init__(self, version: Version, threads: int, device: Device = "cpu", shared: bool = False) -> None:
        """Raises ArtifactError where the files do not fit together; their checksums have been checked before.

        Its vectors are `shared` with other processes by mapping the files, which then must not change in place.
        Raises ConfigurationError where the device cannot run them.
        """
        spec = version.manifest.scorer
        if spec.engine != "onnxruntime":
            raise ArtifactError(f"{version.model}/{version.number}: engine {spec.engine!r} is not known", "manifest")
        items = read_tensors(version, "items.safetensors", shared)
        self._numbers: Rows = np.concatenate([[0], items["item_number"]])
        self._row_of = _table(self._numbers)
        self._vectors = with_row_0(items["item_vector"], np.nan)
        # Zeros, not NaN: the similarity index is searched with row 0, and towers read it as padding.
        self._similar = with_row_0(items["similar_vector"], 0)
        self._features = with_row_0(items["item_feature"], 0) if "item_feature" in items else None
        self._tower_index: Rows | None = np.concatenate([[0], items["tower_index"]]) if "tower_index" in items else None
        self._users = Users(read_tensors(version, "users.safetensors", shared))
        feature_width = 0 if self._features is None else self._features.shape[1]
        self._widest = max(1, spec.dimension, feature_width)
        self._inputs = list(spec.inputs)
        self._max_history = spec.max_history
        self._tower = load_tower(version.file("query_tower.onnx"), threads, device, shared)
        index = read_index(version, "index.faiss", shared)
        self._index = place_index(index, device)
        self._max_k = max_k(device, len(self))
        self._check(version, spec.dimension)
        lists = similar_lists(self._similar[1:], index)
        self._similar_index = flat_index(self._similar[1:], device) if lists is None else place_index(lists, device)
        self.encoder = ItemEncoder(version, threads, device) if has_file(version, GRAPH) else None
        self._posters = self._poster_index(version, device, shared) if has_file(version, POSTERS) else None
        self._genre_tower = None
        if has_file(version, GENRE_TOWER):
            self._genre_tower = load_tower(version.file(GENRE_TOWER), threads, device, shared)
            self._check_genres(version)

    @property
    def item_numbers(self) -> Rows:
        """The items it knows, ascending."""
        return self._numbers[1:]

    @property
    def last_item(self) -> int:
        """Number of the item with the largest index in the tower."""
        last = -1 if self._tower_index is None else self._tower_index.argmax()
        return int(self._numbers[last])

    @property
    def last_user(self) -> Array:
        """Id [1, 1] of the user with the largest index; empty where it knows none."""
        return np.array([[self._users.last]], object)

    def __len__(self) -> int:
        return len(self._numbers) - 1

    def _check(self, version: Version, dimension: int) -> None:
        count = len(self)
        features = count + 1 if self._features is None else len(self._features)
        tower_inputs = {tensor.name for tensor in self._tower.get_inputs()}
        wrong = {
            f"max_history is {self._max_history}": self._max_history < 0,
            "item_number is not ascending from 1": (np.diff(self._numbers) <= 0).any(),
            f"item_vector is not [{count}, {dimension}]": self._vectors.shape != (count + 1, dimension),
            "item_vector has values that are not finite": not np.isfinite(self._vectors[1:]).all(),
            f"item_vector has values beyond {MAX_VALUE:g}": (np.abs(self._vectors[1:]) > MAX_VALUE).any(),
            "similar_vector does not fit item_number": len(self._similar) != count + 1,
            "similar_vector is not of unit length": not _unit_or_zero(self._similar).all(),
            "similar_vector has values that are not finite": not np.isfinite(self._similar).all(),
            "item_feature does not fit item_number": features != count + 1,
            "item_feature has values that are not finite": not np.isfinite(
                0 if self._features is None else self._features
            ).all(),
            "tower_index does not fit item_number": not self._tower_index_fits(),
            "index.faiss is not by inner product": self._index.metric_type != faiss.METRIC_INNER_PRODUCT,
            "index.faiss does not fit item_vector": (self._index.ntotal, self._index.d) != (count, dimension),
            "query_tower.onnx has other inputs than the manifest": tower_inputs != set(self._inputs),
            "there are no items": count == 0,
        }
        for message, is_wrong in wrong.items():
            if is_wrong:
                raise ArtifactError(f"{version.model}/{version.number}: {message}", "malformed")

    def _tower_index_fits(self) -> bool:
        """The tower reads either item_feature, of every item, or rows of its own."""
        index = self._tower_index
        if index is None:
            return True
        if self._features is not None or len(index) != len(self._numbers):
            return False
        return bool(index.min() >= 0 and index.max() <= len(self))

    def _poster_index(self, version: Version, device: Device, shared: bool) -> Any:
        """Of the posters' vectors. Raises ArtifactError."""
        vectors = read_tensors(version, POSTERS, shared)["poster_vector"]
        name = f"{version.model}/{version.number}: {POSTERS}"
        if self.encoder is None or vectors.shape != (len(self), self._similar.shape[1]):
            raise ArtifactError(f"{name} does not fit item_number", "malformed")
        if not _unit_or_zero(vectors).all():  # nor where a value is not finite
            raise ArtifactError(f"{name} is not of unit length", "malformed")
        return flat_index(vectors, device)

    def _check_genres(self, version: Version) -> None:
        """Raises ArtifactError."""
        assert self._genre_tower is not None
        width = self._genre_tower.get_outputs()[0].shape[-1]
        inputs = {tensor.name for tensor in self._genre_tower.get_inputs()}
        if self.encoder is None or width != len(self.encoder.genres) or inputs != set(self._inputs):
            raise ArtifactError(
                f"{version.model}/{version.number}: {GENRE_TOWER} does not fit content.json", "malformed"
            )

    @property
    def similar_poster(self) -> Callable[[Arrays], Arrays] | None:
        """Answers with the `k` items whose posters are nearest to `image` by cosine; none where there is no image."""
        return self._similar_poster if self._posters is not None else None

    @property
    def genres(self) -> Callable[[Arrays], Arrays] | None:
        """Answers with each `genre` [B, G] and its `probability` for what the user watches next."""
        return self._genres if self._genre_tower is not None else None

    def _similar_poster(self, inputs: Arrays) -> Arrays:
        assert self.encoder is not None
        assert self._posters is not None
        query = self.encoder.embed(EMBED.complete({"image": inputs["image"]}, CHECKED))["embedding"]
        no_image_B1 = np.array([[not image] for image in inputs["image"][:, 0]])
        count = min(len(self), int(inputs["k"].max()))
        score_BF, found_BF = self._posters.search(query, count)
        without_poster = score_BF == 0  # their vectors are zero
        return self._rank(found_BF + 1, score_BF, without_poster | no_image_B1, inputs["k"])

    def _genres(self, inputs: Arrays) -> Arrays:
        assert self.encoder is not None
        probability = self._from_tower(inputs, self._run_genres)
        names = np.array([name.encode() for name in self.encoder.genres], object)
        return {"genre": np.tile(names, (len(probability), 1)), "probability": probability}

    def _run_genres(self, feeds: Arrays) -> Floats:
        assert self._genre_tower is not None
        probability: Floats = self._genre_tower.run(["probability"], feeds)[0]
        return probability

    def score(self, inputs: Arrays) -> Arrays:
        """`score` [B, C] of `candidate` [B, C]; NaN for unknown items and for users on whom the tower abstains."""
        return {"score": self._products(self._rows(inputs["candidate"]), self._queries(inputs))}

    def retrieve(self, inputs: Arrays) -> Arrays:
        """The `k` best items per user that are not in the history: `item` and `score` [B, K], best first.

        Where a row of `allowed` [B, A] names items, only those.
        """
        seen_BL = self._rows(inputs["history_item"])
        query_BD = self._queries(inputs)
        abstains_B1 = np.isnan(query_BD).any(axis=1, keepdims=True)
        # So many are searched for that k are left once those of the longest history are taken out.
        longest_history = int((seen_BL > 0).sum(axis=1).max())
        count = min(self._max_k, int(inputs["k"].max()) + longest_history)
        is_limited_B = inputs["allowed"].any(axis=1)
        rows_BF = np.zeros((len(query_BD), count), np.int64)
        # FAISS cannot search for NaN; what it finds for those who abstain is dropped below.
        _, found_UF = self._index.search(np.nan_to_num(query_BD[~is_limited_B]), count)
        rows_BF[~is_limited_B] = found_UF + 1
        for b in np.flatnonzero(is_limited_B):
            best = self._best_allowed(inputs["allowed"][b], query_BD[b], count)
            rows_BF[b, : len(best)] = best
        excluded_BF = self._excluded(rows_BF, seen_BL)
        found_B = (~excluded_BF).sum(axis=1)
        for b in np.flatnonzero(~is_limited_B & (found_B < inputs["k"][:, 0])):  # an approximate index may miss some
            rows_BF[b] = self._search_all(query_BD[b], seen_BL[b], count)
            excluded_BF[b] = self._excluded(rows_BF[b : b + 1], seen_BL[b : b + 1])
        # Not the index's own scores: those of a quantized index are approximate, and differ from `score`.
        score_BF = self._products(rows_BF, query_BD)
        return self._rank(rows_BF, score_BF, excluded_BF | abstains_B1, inputs["k"])

    def largest_query(self, inputs: Arrays) -> float:
        """Largest absolute value of these users' queries, without those on whom the tower abstains."""
        query_BD = self._queries(inputs)
        return float(np.abs(query_BD[~np.isnan(query_BD).any(axis=1)]).max(initial=0))

    def recall(self, inputs: Arrays, items: int) -> float:
        """Share of the exact best that the index finds, over these users' queries and the vectors of so many items.

        The best are a quarter of all items, at most 100; which of several with equal scores does not matter.
        """
        some = np.linspace(1, len(self), min(items, len(self)), dtype=np.int64)
        query_QD = np.concatenate([self._queries(inputs), self._vectors[some]])
        query_QD = query_QD[np.isfinite(query_QD).all(axis=1)]
        k = max(1, min(100, len(self) // 4))
        _, found_QK = self._index.search(query_QD, k)
        good_QK = [self._are_best(query_D, found_K, k) for query_D, found_K in zip(query_QD, found_QK, strict=True)]
        return float(np.mean(good_QK))

    def _are_best(self, query_D: Floats, found_K: Rows, k: int) -> NDArray[np.bool_]:
        """Which of the rows found (-1: none) score as high as the exact `k` best."""
        score_N = self._vectors[1:] @ query_D
        lowest = np.partition(score_N, -k)[-k] - TIED * np.abs(score_N).max()
        # -1 would be the last score; its own condition rules it out.
        are_best: NDArray[np.bool_] = (found_K >= 0) & (score_N[found_K] >= lowest)
        return are_best

    def similar(self, inputs: Arrays) -> Arrays:
        """The `k` items whose `similar_vector` is nearest by cosine, never the item itself; none for unknown items."""
        row_B1 = self._rows(inputs["item"])
        count = min(len(self), int(inputs["k"].max()) + 1)  # one more, for the item itself is found too
        score_BF, found_BF = self._similar_index.search(self._similar[row_B1[:, 0]], count)
        rows_BF = found_BF + 1
        return self._rank(rows_BF, score_BF, (rows_BF == row_B1) | (row_B1 == 0), inputs["k"])

    def _rows(self, numbers: Array) -> Rows:
        """Rows of item numbers; 0 where unknown."""
        if self._row_of is not None:
            return self._row_of.take(numbers, mode="clip")
        rows = np.searchsorted(self._numbers, numbers)
        rows[rows == len(self._numbers)] = 0
        return np.where(self._numbers[rows] == numbers, rows, 0)

    def _queries(self, inputs: Arrays) -> Floats:
        """The query tower's answer, [B, D]; a row of NaN where it abstains."""
        return self._from_tower(inputs, self._run_query)

    def _from_tower(self, inputs: Arrays, run: Callable[[Arrays], Floats]) -> Floats:
        """A tower's answers, [B, …]. So many rows at a time as memory allows."""
        feeds = self._history(inputs)
        feeds["user_index"] = self._users.index(inputs["user_id"])
        feeds["query_time"] = inputs["query_time"]
        count, width = feeds["history_index"].shape
        rows = max(1, MAX_TOWER_VALUES // (width * self._widest))
        if count <= rows:
            return run(self._named(feeds))
        answers = []
        for start in range(0, count, rows):
            part = {name: feed[start : start + rows] for name, feed in feeds.items()}
            answers.append(run(self._named(part)))
        return np.concatenate(answers)

    def _named(self, feeds: Arrays) -> Arrays:
        """The inputs of the towers, and no others."""
        if self._features is not None:
            feeds["history_feature"] = self._features[feeds["history_index"]]
        return {name: feeds[name] for name in self._inputs}

    def _run_query(self, feeds: Arrays) -> Floats:
        query: Floats = self._tower.run(["query"], feeds)[0]
        return query

    def _products(self, rows_BC: Rows, query_BD: Floats) -> Floats:
        """Inner products [B, C] of each query with the vectors of its rows, copied MAX_GATHERED_VALUES at a time."""
        score_BC = np.empty(rows_BC.shape, np.float32)
        columns = max(1, MAX_GATHERED_VALUES // query_BD.shape[1])
        rows = max(1, columns // max(1, rows_BC.shape[1]))
        for b in range(0, rows_BC.shape[0], rows):
            query_BD1 = query_BD[b : b + rows, :, None]
            for c in range(0, rows_BC.shape[1], columns):
                vectors_BCD = self._vectors.take(rows_BC[b : b + rows, c : c + columns], axis=0)
                score_BC[b : b + rows, c : c + columns] = np.matmul(vectors_BCD, query_BD1)[:, :, 0]
        return score_BC

    def _history(self, inputs: Arrays) -> Arrays:
        """The last items of each history that the tower knows, at most `max_history` of them, padded in front."""
        rows_BL = self._rows(inputs["history_item"])
        if self._tower_index is not None:
            rows_BL = self._tower_index[rows_BL]
        rating_BL, time_BL = inputs["history_rating"], inputs["history_time"]
        known_BL = rows_BL > 0
        longest = max(1, int(known_BL.sum(axis=1).max()))
        width = min(longest, self._max_history or longest)
        if not known_BL.all():
            known_last_BL = np.argsort(known_BL, axis=1, kind="stable")  # known events keep their order
            rows_BL = np.take_along_axis(rows_BL, known_last_BL, axis=1)
            rating_BL = np.where(known_BL, rating_BL, np.float32(np.nan))
            rating_BL = np.take_along_axis(rating_BL, known_last_BL, axis=1)
            time_BL = np.where(known_BL, time_BL, 0)
            time_BL = np.take_along_axis(time_BL, known_last_BL, axis=1)
        return {
            "history_index": rows_BL[:, -width:],
            "history_rating": rating_BL[:, -width:],
            "history_time": time_BL[:, -width:],
        }

    def _excluded(self, rows_BF: Rows, seen_BL: Rows) -> NDArray[np.bool_]:
        """True where a found row is in the history, or is nothing."""
        excluded_BF: NDArray[np.bool_] = rows_BF == 0
        if not seen_BL.shape[1]:
            return excluded_BF
        seen_BL = np.sort(seen_BL, axis=1)
        # What takes part does not depend on the number of items.
        for rows, seen, excluded in zip(rows_BF, seen_BL, excluded_BF, strict=True):
            index = np.searchsorted(seen, rows).clip(max=len(seen) - 1)
            excluded |= seen[index] == rows
        return excluded_BF

    def _search_all(self, query_D: Floats, seen_L: Rows, count: int) -> Rows:
        """The `count` best rows by exact search, those in the history last."""
        score_N = np.nan_to_num(self._vectors[1:] @ query_D)
        score_N[seen_L[seen_L > 0] - 1] = -np.inf
        best: Rows = np.argsort(-score_N, kind="stable")[:count] + 1
        return best

    def _best_allowed(self, allowed_A: Array, query_D: Floats, count: int) -> Rows:
        """The `count` best of the allowed rows; of equals the first."""
        rows = self._rows(allowed_A)
        if not (np.diff(rows) > 0).all():
            rows = np.unique(rows)
        rows = rows[rows > 0]
        if isinstance(self._index, faiss.IndexIVF) and len(rows) > max(MAX_EXACT, count):
            found = self._search_lists(rows, query_D, count)
            if len(found) == count:
                return found
        # No vector is copied, which is twice as fast as a product of copies.
        score = np.empty(len(rows), np.float32)
        query_D = np.ascontiguousarray(query_D, np.float32)
        pointers = [FAISS.swig_ptr(array) for array in (score, query_D, self._vectors, rows)]
        FAISS.fvec_inner_products_by_idx(*pointers, d=query_D.size, nx=1, ny=len(rows))
        if len(rows) > count:
            is_best = score >= np.partition(score, -count)[-count]  # and all equals of the last
            rows, score = rows[is_best], score[is_best]
        best: Rows = rows[np.argsort(-score, kind="stable")[:count]]
        return best

    def _search_lists(self, rows: Rows, query_D: Floats, count: int) -> Rows:
        """The `count` best of the allowed rows that an inverted index finds.

        The fewer are allowed, the further apart are their best, and the more lists are searched.
        """
        share = len(rows) / len(self)
        lists = math.ceil(self._index.nprobe / math.sqrt(share))
        is_allowed_N = np.zeros(len(self), np.bool_)
        is_allowed_N[rows - 1] = True
        bits = np.packbits(is_allowed_N, bitorder="little")  # which the selector does not copy
        selector = FAISS.IDSelectorBitmap(bits)
        parameters = FAISS.SearchParametersIVF(sel=selector, nprobe=min(lists, self._index.nlist))
        _, found_1F = self._index.search(np.nan_to_num(query_D)[None], count, params=parameters)
        found: Rows = found_1F[found_1F >= 0] + 1
        return found

    def _rank(self, rows_BF: Rows, score_BF: Floats, excluded_BF: NDArray[np.bool_], k_B1: Array) -> Arrays:
        """The k best per user as item numbers and scores; 0 and NaN where there are fewer."""
        width = int(k_B1.max())
        score_BF = np.where(excluded_BF, -np.inf, score_BF)
        # Stable, so that an answer does not depend on the batch where scores are equal.
        best_BK = np.argsort(-score_BF, axis=1, kind="stable")[:, :width]
        score_BK = np.take_along_axis(score_BF, best_BK, axis=1)
        empty_BK = np.isneginf(score_BK) | (np.arange(best_BK.shape[1]) >= k_B1)
        item = np.zeros((len(rows_BF), width), np.int64)
        score = np.full((len(rows_BF), width), np.nan, np.float32)
        item_BK = self._numbers[np.take_along_axis(rows_BF, best_BK, axis=1)]
        item[:, : best_BK.shape[1]] = np.where(empty_BK, 0, item_BK)
        score[:, : best_BK.shape[1]] = np.where(empty_BK, np.nan, score_BK)
        return {"item": item, "score": score}


def _table(numbers: Rows) -> Rows | None:
    """Row by number, with a 0 at both ends for what lies beyond; None where numbers are too large for a table."""
    if numbers.max() > MAX_TABLE_NUMBER:
        return None
    table = np.zeros(numbers.max() + 2, np.int64)
    table[numbers] = np.arange(len(numbers))
    return table


def _unit_or_zero(vectors: Array) -> NDArray[np.bool_]:
    """Whether each row is of unit length, or zero."""
    length = np.linalg.norm(vectors, axis=1)
    found: NDArray[np.bool_] = np.isclose(length, 1, atol=1e-3) | (length < 1e-3)
    return found
