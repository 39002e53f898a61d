"""Whatever data people bring: files in any form are imported, trained on, evaluated, served and queried.

Each example writes files whose tables, columns, ids, scales and spellings are drawn, runs the command line on them, and
asks a gateway and model servers that listen on real ports. `MARQUEE_EXAMPLES` sets how many are drawn.
"""

import asyncio
import gzip
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from fusion_gateway.events.files import read_events
from fusion_gateway.events.store import EventStore
from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.settings import read
from tests.servers import running
from training import recipes
from training.__main__ import app
from training.artifacts.repository import versions
from training.recipes import SCORERS

if TYPE_CHECKING:
    from protos.marquee.v1.recommender_pb2_grpc import RecommenderAsyncStub

EXAMPLES = int(os.environ.get("MARQUEE_EXAMPLES", "2"))
MAX_USERS, MAX_ITEMS = 12, 16

IDS: dict[str, Callable[[int], str]] = {
    "numbers": lambda number: str(number + 1),
    "leading zeros": lambda number: f"{number:04}",
    "words with blanks": lambda number: f"Pink Floyd {number}",
    "symbols": lambda number: "*" * (number + 1),
    "case that matters": lambda number: "aB"[number % 2] + f"x{number // 2}",
    "accents": lambda number: f"é-{number}",
}
RATINGS: dict[str, Callable[[int], float | None]] = {
    "none": lambda _: None,
    "all equal": lambda _: 4.0,
    "0 or 1": lambda number: float(number % 2),
    "half stars": lambda number: 0.5 + number % 10 / 2,
    "0 to 10": lambda number: float(number % 11),
    "0 to 100": lambda number: float(number * 7 % 101),
    "some": lambda number: float(1 + number % 5) if number % 3 else None,
}
TIMES: dict[str, Callable[[int], str] | None] = {
    "none": None,
    "seconds": str,
    "milliseconds": lambda moment: str(moment * 1000),
    "ISO": lambda moment: datetime.fromtimestamp(moment, UTC).isoformat(),
    "day first": lambda moment: f"{datetime.fromtimestamp(moment, UTC):%d.%m.%Y %H:%M:%S}",
}
NAMES = (
    ("user", "item", "rating", "time"),
    ("userId", "movieId", "rating", "timestamp"),
    ("Reviewer-ID", "ASIN", "Overall", "Date"),
)


@dataclass(frozen=True)
class Shop:
    """One data set in one form."""

    users: list[str]
    items: list[str]
    events: list[tuple[int, int]]
    """User and item of each, by position, in the order of time."""
    rating: str
    time: str
    names: tuple[str, str, str, str]
    form: str
    items_table: Sequence[str]
    """Columns of the items table beside the id; none: there is no such table."""
    users_table: bool
    posters: bool


@st.composite
def shops(draw: st.DrawFn) -> Shop:
    user_id, item_id = (IDS[draw(st.sampled_from(sorted(IDS)))] for _ in range(2))
    users = [user_id(number) for number in range(draw(st.integers(1, MAX_USERS)))]
    items = [item_id(number) for number in range(draw(st.integers(1, MAX_ITEMS)))]
    random = draw(st.randoms(use_true_random=False))
    count = draw(st.sampled_from([1, 12, 60, 150]))
    pairs = [(random.randrange(len(users)), random.randrange(len(items))) for _ in range(count)]
    columns = st.sets(st.sampled_from(["title", "year", "genres", "overview"]))
    forms = ["csv", "semicolons", "tsv", "csv.gz", "utf-16", "latin-1", "parquet", "jsonl"]
    return Shop(
        users,
        items,
        events=pairs,
        rating=draw(st.sampled_from(sorted(RATINGS))),
        time=draw(st.sampled_from(sorted(TIMES))),
        names=draw(st.sampled_from(NAMES)),
        form=draw(st.sampled_from(forms)),
        items_table=sorted(draw(columns)),
        users_table=draw(st.booleans()),
        posters=draw(st.booleans()),
    )


def rows_of(shop: Shop) -> list[dict[str, str]]:
    """The lines of the events file; a missing rating is empty."""
    user, item, rating, time = shop.names
    written = TIMES[shop.time]
    rows = []
    for number, (of_user, of_item) in enumerate(shop.events):
        row = {user: shop.users[of_user], item: shop.items[of_item]}
        if shop.rating != "none":
            value = RATINGS[shop.rating](number)
            row[rating] = "" if value is None else f"{value:g}"
        if written:
            row[time] = written(1_600_000_000 + 40_000 * number)
        rows.append(row)
    return rows


def write_events(shop: Shop, folder: Path) -> Path:
    rows = rows_of(shop)
    suffix = shop.form if "." in shop.form or shop.form in ("tsv", "parquet", "jsonl") else "csv"
    path = folder / f"log.{suffix}"
    if shop.form == "parquet":
        pl.DataFrame(rows).write_parquet(path)
        return path
    if shop.form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    separator = {"semicolons": ";", "tsv": "\t"}.get(shop.form, ",")
    lines = [separator.join(rows[0]), *(separator.join(row.values()) for row in rows)]
    text = "\n".join(lines) + "\n"
    encoding = shop.form if shop.form in ("utf-16", "latin-1") else "utf-8"
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content) if shop.form == "csv.gz" else content)
    return path


def write_files(shop: Shop, folder: Path) -> list[Path]:
    """All files of the data set."""
    files = [write_events(shop, folder)]
    if shop.items_table:
        facts = {
            "title": [f"The Film {number}" for number in range(len(shop.items))],
            "year": [1990 + number for number in range(len(shop.items))],
            "genres": ["Drama"] * len(shop.items),
            "overview": [f"Somebody finds thing {number % 3}." for number in range(len(shop.items))],
        }
        table = {"id": shop.items, **{name: facts[name] for name in shop.items_table}}
        files.append(folder / "items.csv")
        pl.DataFrame(table).write_csv(files[-1])
    if shop.users_table:
        files.append(folder / "users.csv")
        pl.DataFrame({"user": shop.users, "age": [20 + number for number in range(len(shop.users))]}).write_csv(
            files[-1]
        )
    if shop.posters:
        (folder / "posters").mkdir()
        for number, item in enumerate(shop.items):
            Image.new("RGB", (24, 36), (9 * number, 90, 200)).save(folder / "posters" / f"{item}.png")
    return files


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small recipes, for one epoch."""
    for choices in (recipes.RATING, recipes.SEQUENTIAL, recipes.VISUAL_TEMPORAL):
        monkeypatch.setitem(choices, "small", partial(replace, choices["small"](), epochs=1))


def run(*arguments: object) -> str:
    """Runs `python -m training` in this process; what it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=EXAMPLES < 10,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes too long to be made smaller
)
@given(shops())
@pytest.mark.timeout(3600)
def test_any_data_becomes_recommendations(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> None:
    note(repr(shop))
    home = tmp_path_factory.mktemp("any")
    source, data, repository = home / "source", home / "mine", home / "repository"
    source.mkdir()
    run("data", "import", *write_files(shop, source), "--out", data)
    assert len(pl.read_parquet(data / "events.parquet")) == len(shop.events)
    run(*["train", "all", "--recipe", "small", "--data"], data, "--repository", repository)
    assert versions(repository, "catalog")
    assert versions(repository, "fusion")
    run("evaluate", "--data", data, "--repository", repository)
    scorers = [name for name in SCORERS if versions(repository, name)]
    event(f"models: {', '.join(scorers) or 'none'}")
    asyncio.run(ask_everything(shop, repository, scorers, data, home))
    if "visual_temporal" in scorers:
        (home / "new.csv").write_text("id,title\nnew-1,A New Film\n")
        run("onboard", "--items", home / "new.csv", "--repository", repository)
        run("evaluate", "--data", data, "--repository", repository)


async def ask_everything(shop: Shop, repository: Path, scorers: Sequence[str], data: Path, home: Path) -> None:
    async with system(repository, scorers, data / "events.parquet", home) as stub:
        watched = Counter(shop.users[user] for user, _ in shop.events)
        for user in [*watched, "nobody", ""]:
            await ask_for(stub, shop, pb.RecommendRequest(user_id=user, k=500, explain=True))
        history = [pb.Event(item_id=shop.items[item]) for _, item in shop.events[:3]]
        await ask_for(stub, shop, pb.RecommendRequest(history=history, k=500))
        for item in {shop.items[item] for _, item in shop.events}:
            similar = await stub.SimilarItems(pb.SimilarItemsRequest(item_id=item, k=500))
            assert item not in {each.item.id for each in similar.items}
        found = await stub.SearchItems(pb.SearchItemsRequest(title=shop.items[0]))
        assert {match.item.id for match in found.matches} <= set(shop.items)


async def ask_for(stub: "RecommenderAsyncStub", shop: Shop, request: pb.RecommendRequest) -> None:
    """Somebody gets every item that they have not watched, once, and whoever is unknown gets all that is known."""
    seen = {shop.items[item] for user, item in shop.events if shop.users[user] == request.user_id}
    seen |= {each.item_id for each in request.history}
    answer = await stub.Recommend(request, timeout=20)
    ids = [each.item.id for each in answer.items]
    known = set(shop.items) if shop.items_table else {shop.items[item] for _, item in shop.events}
    assert len(ids) == len(set(ids))
    assert set(ids) == known - seen
    assert not answer.degraded
    assert all(each.score == each.score for each in answer.items)


@asynccontextmanager
async def system(
    repository: Path, scorers: Sequence[str], events: Path, home: Path
) -> "AsyncIterator[RecommenderAsyncStub]":
    """A server for each model and the gateway, all in this event loop, the events imported."""
    url = f"sqlite:///{home}/events.db"
    store = EventStore(url, 5000)
    await store.open()
    await store.import_all(read_events(events))
    await store.close()
    async with AsyncExitStack() as stack:
        addresses = []
        for name in scorers:
            program, _ = await stack.enter_async_context(running.in_process(running.settings(repository, name)))
            addresses.append(f"{name}={program.grpc_address}")
        flags = [f"--model-repository={repository}", f"--event-store={url}", f"--scorer={','.join(addresses)}"]
        flags.append("--scorer-timeout-secs=10")  # a busy machine is slow, not wrong
        flags += ["--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0"]
        program = await stack.enter_async_context(gateway(read(GatewaySettings, flags)))
        await stack.enter_async_context(program)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(program.grpc_address))
        yield RecommenderStub(channel)
