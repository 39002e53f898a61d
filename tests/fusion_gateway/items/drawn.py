"""Catalogs, changes and requests that hypothesis draws."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import polars as pl
from hypothesis import strategies as st

from fusion_gateway.catalog.catalog import SCHEMA
from protos.marquee.v1 import items_pb2 as edits
from protos.marquee.v1 import recommender_pb2 as pb
from tests.fusion_gateway.world import publish

Draw = st.DataObject
WORDS = ("amber", "birch", "cedar", "dunes", "ember", "fjord", "grove", "heath")
GENRES = ("Comedy", "Drama", "Crime")
DIRECTORS = ("", "Ann Lee", "Bo Ek")
POLICIES = """
default: slot
policies:
  slot: {normalizer: none, weights: {rating: 1, sequential: 1}, slot: {rank: 2, min_lead: 0, probability: 0.7}}
  plain: {weights: {rating: 1, sequential: 1, visual_temporal: 1}}
  popular: {weights: {popularity: 1, rating: 0.1}}
  ruled: {weights: {rating: 1, rules: 5}}
  cascade: {strategy: cascade, gate: rating, keep: 3, weights: {rating: 1, sequential: 0}}
rules: [{name: favorite, favorite: director, boost: 3}, {name: comedy, genre: Comedy, boost: 1}]
scenarios:
  steered:
    pin: [{item: i1, rank: 1}, {item: i2, rank: 3}]
    boost: [{name: one, amount: 9, where: {one_of: {attribute: id, texts: [i3, i4]}}}]
    at_most: [{attribute: director, count: 2}]
    freshness: {half_life_days: 1000, amount: 1}
    new_share: 0.5
shadow: {policy: plain, share: 1}
"""


@dataclass
class Drawn:
    """A published catalog, and who may be seen by what editors have said: computed here in its own way."""

    table: pl.DataFrame
    hidden: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    unavailable: set[str] = field(default_factory=set)
    titles: dict[str, str] = field(default_factory=dict)
    """As upserted."""

    @property
    def ids(self) -> list[str]:
        return self.table["id"].to_list()

    @property
    def visible(self) -> set[str]:
        return set(self.ids) - self.hidden - self.deleted - self.unavailable

    @property
    def shown_titles(self) -> dict[str, str]:
        return dict(self.table.select("id", "title").iter_rows()) | self.titles


def catalogs() -> st.SearchStrategy[pl.DataFrame]:
    """Titles and years repeat, so that works have several ids; some items have no votes, so that they are new."""
    movie = st.tuples(
        st.sampled_from(WORDS),
        st.sampled_from([0, 1990, 2000]),
        st.lists(st.sampled_from(GENRES), max_size=2, unique=True),
        st.sampled_from(DIRECTORS),
        st.sampled_from([0, 0, 5, 9]),
    )
    return st.lists(movie, min_size=6, max_size=16).map(_table)


def _table(movies: Sequence[tuple[str, int, list[str], str, int]]) -> pl.DataFrame:
    rows = []
    for number, (word, year, genres, director, votes) in enumerate(movies, 1):
        rows.append((number, f"i{number}", f"{word} road", year, genres, director, "p.jpg", votes, number / 9))
    return pl.DataFrame(rows, SCHEMA, orient="row")


def publish_drawn(repository: Path, table: pl.DataFrame) -> None:
    """With every kind of text, and popularity with a group."""
    size = len(table)
    pairs = {"item": range(size), "word": [row % 2 for row in range(size)], "weight": [1.0] * size}
    words = pl.DataFrame(pairs, {"item": pl.Int32, "word": pl.Int32, "weight": pl.Float32}).sort("word")
    unit = [[1.0, 0.0], [0.0, 1.0]]
    spelled = pl.DataFrame({"word": ["road", "path"], "number": [0, 1], "idf": [1.0, 1.0], "vector": unit})
    vectors = pl.DataFrame({"vector": [[0.8, 0.6]] * size})
    names = {"tags": words, "overviews": words, "search": words, "text_vectors": vectors, "search_vectors": vectors}
    publish(repository, "catalog", _files({"items": table, "search_words": spelled, **names}))
    shares = table.select("number", log_share=-pl.col("number") / 9, **{"gender=f": pl.col("number") / 9})
    popularity = _files({"popularity": shares})
    publish(repository, "fusion", {"policies.yaml": POLICIES.encode(), **popularity})


def _files(tables: Mapping[str, pl.DataFrame]) -> dict[str, bytes]:
    files = {}
    for name, table in tables.items():
        content = BytesIO()
        table.write_parquet(content)
        files[f"{name}.parquet"] = content.getvalue()
    return files


def draw_edit(draw: Draw, drawn: Drawn) -> tuple[str, object]:
    """The name of a method and its request; `drawn` is then as it will be."""
    ids = draw.draw(st.lists(st.sampled_from([*drawn.ids, "unknown"]), min_size=1, max_size=4, unique=True))
    known = set(ids) - {"unknown"}
    kind = draw.draw(st.sampled_from(["HideItems", "HideItems", "ShowItems", "DeleteItems", "UpsertItems"]))
    if kind == "HideItems":
        drawn.hidden |= known
        until = draw.draw(st.sampled_from([None, int(time.time()) + 1000]))
        return kind, edits.HideItemsRequest(item_ids=ids, until=until)
    if kind == "ShowItems":
        drawn.hidden -= known
        return kind, edits.ShowItemsRequest(item_ids=ids)
    for item_id in known:
        drawn.titles.pop(item_id, None)
        drawn.unavailable.discard(item_id)
    if kind == "DeleteItems":
        drawn.deleted |= known
        return kind, edits.DeleteItemsRequest(item_ids=ids)
    drawn.deleted -= known
    return kind, edits.UpsertItemsRequest(items=[_document(draw, drawn, each) for each in sorted(known) or ["i1"]])


def _document(draw: Draw, drawn: Drawn, item_id: str) -> edits.ItemDocument:
    now = int(time.time())
    document = edits.ItemDocument(id=item_id)
    drawn.deleted.discard(item_id)
    drawn.unavailable.discard(item_id)
    drawn.titles.pop(item_id, None)
    match draw.draw(st.sampled_from(["always", "always", "not yet", "no more", "now"])):
        case "not yet":
            document.available_from = now + 1000
            drawn.unavailable.add(item_id)
        case "no more":
            document.available_until = now - 1
            drawn.unavailable.add(item_id)
        case "now":
            document.available_from, document.available_until = now - 1000, now + 1000
    if draw.draw(st.booleans()):
        document.title = drawn.titles[item_id] = f"{draw.draw(st.sampled_from(WORDS))} lake"
        document.genres.append(draw.draw(st.sampled_from([*GENRES, "Fable"])))
        document.director = draw.draw(st.sampled_from(DIRECTORS[1:]))
    return document


def draw_recommend(draw: Draw, drawn: Drawn) -> pb.RecommendRequest:
    ids = st.lists(st.sampled_from(drawn.ids), max_size=3, unique=True)
    rated = st.sampled_from([None, 1.0, 5.0])
    request = pb.RecommendRequest(
        user_id=draw.draw(st.sampled_from(["", "ann", "bob"])),
        k=draw.draw(st.integers(1, 20)),
        history=[pb.Event(item_id=each, rating=draw.draw(rated)) for each in draw.draw(ids)],
        exclude_seen=draw.draw(st.booleans()),
        policy=draw.draw(st.sampled_from(["", "", "slot", "plain", "popular", "ruled", "cascade"])),
        scenario=draw.draw(st.sampled_from(["", "steered"])),
        diversity=draw.draw(st.sampled_from([0, 0, 0.5, 1])),
        exploration=draw.draw(st.sampled_from([0, 0, 0.5, 1])),
        max_per_genre=draw.draw(st.sampled_from([None, None, 1, 3])),
        explain=True,
    )
    if draw.draw(st.booleans()):
        request.filters.item_ids_in.extend(draw.draw(ids))
        request.filters.genres_any.extend(draw.draw(st.lists(st.sampled_from([*GENRES, "Fable"]), max_size=2)))
    if draw.draw(st.booleans()):
        request.profile.liked_genres.append(draw.draw(st.sampled_from(GENRES)))
        request.profile.gender = "F"
    return request


def draw_list(draw: Draw) -> pb.GetListRequest:
    name = draw.draw(st.sampled_from(["trending", "popular", "new", "top-rated", "chosen"]))
    return pb.GetListRequest(
        name=name, user_id=draw.draw(st.sampled_from(["", "ann"])), k=draw.draw(st.integers(1, 20))
    )


def draw_similar(draw: Draw, drawn: Drawn) -> pb.SimilarItemsRequest:
    kinds = ["rating", "sequential", "visual_temporal", "genres", "tags", "overview", "text", "director"]
    request = pb.SimilarItemsRequest(k=draw.draw(st.integers(1, 20)), by_places=draw.draw(st.booleans()))
    weights = draw.draw(st.lists(st.sampled_from(kinds), max_size=3, unique=True))
    match draw.draw(st.sampled_from(["item_id", "item_id", "title", "image"])):
        case "item_id":
            request.item_id = draw.draw(st.sampled_from(drawn.ids))
        case "title":
            request.title = draw.draw(st.sampled_from(sorted(titles(drawn))))
        case "image":
            request.image = b"\x89PNG"
            weights = [kind for kind in weights if kind in kinds[:3]]
    request.weights.update(dict.fromkeys(weights, 1.0))
    return request


def draw_search(draw: Draw, drawn: Drawn) -> pb.SearchItemsRequest:
    title = draw.draw(st.sampled_from([*sorted(titles(drawn)), "road", "path road"]))
    k, semantic = draw.draw(st.integers(1, 20)), draw.draw(st.booleans())
    return pb.SearchItemsRequest(title=title, k=k, semantic=semantic)


def titles(drawn: Drawn) -> set[str]:
    """Published and upserted ones, of hidden items too."""
    return {*drawn.table["title"].to_list(), *drawn.titles.values()}
