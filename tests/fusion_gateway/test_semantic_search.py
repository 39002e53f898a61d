"""Searching by what movies are about, and likeness by texts: from training to answers of a running gateway."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from typer.testing import CliRunner

from fusion_gateway.gateway import gateway
from fusion_gateway.settings import GatewaySettings
from protos.marquee.v1 import recommender_pb2 as pb
from protos.marquee.v1.recommender_pb2_grpc import RecommenderStub
from servers.runtime.settings import read
from tests.fusion_gateway.world import POLICIES, items, publish, publish_catalog
from training.__main__ import app
from training.artifacts.repository import latest

FILMS = """id,title,year,genres,director,keywords,overview
1,Inception,2010,Action|Sci-Fi,Christopher Nolan,dream|heist|subconscious,A thief enters dreams to steal.
2,Heat,1995,Crime|Thriller,Michael Mann,bank,A thief and the detective after him.
3,Jaws,1975,Thriller,Steven Spielberg,shark|beach,A shark terrorizes a small town by the sea.
4,Babe,1995,Comedy|Family,Chris Noonan,pig|sheep|farm,A pig learns to herd sheep.
5,Charlotte's Web,2006,Comedy|Family,Gary Winick,pig|farm|spider,A spider saves a pig.
6,Memento,2000,Thriller,Christopher Nolan,memory|tattoo|dream,A man without memory hunts a killer.
7,Amélie,2001,Comedy|Romance,,paris|café,A waitress in a café helps others.
8,Untold,0,,,,
"""
NEW = "id,title,genres,keywords,overview\n9,Hog Wild,Comedy|Family,pig|race,Pigs race.\n"

WORDS = ("robbery", "heist", "dream", "shark", "pig", "paris", "memory", "comedy", "romance")


def write_model(folder: Path) -> str:
    """Knows WORDS alone, of which the first two mean the same."""
    library: Any = pytest.importorskip("sentence_transformers")
    tokenizers: Any = pytest.importorskip("tokenizers")
    modules: Any = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    numbers = {word: number for number, word in enumerate(("[UNK]", *WORDS))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, "[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    vectors = torch.cat([torch.zeros(1, len(WORDS)), torch.eye(len(WORDS))])
    vectors[2] = vectors[1]
    library.SentenceTransformer(modules=[modules.StaticEmbedding(tokenizer, vectors)]).save_pretrained(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    (folder / "items.csv").write_text(FILMS)
    rows = [f"{user},{item},4,{100 * user + item}" for user in range(1, 6) for item in range(1, 9)]
    (folder / "events.csv").write_text("\n".join(["user,item,rating,time", *rows]))
    (folder / "new.csv").write_text(NEW)
    return folder


@pytest.fixture(scope="module", params=["words", "model"])
def repository(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog whose texts are read by words, or by a sentence-transformers model as well."""
    repository = tmp_path_factory.mktemp("published")
    options = ["--repository", str(repository)]
    model = []
    if request.param == "model":
        model = ["--text-model", write_model(tmp_path_factory.mktemp("models") / "tiny")]
    trained = CliRunner().invoke(app, ["train", "catalog", "--data", str(data), *options, *model])
    assert trained.exit_code == 0, trained.output
    assert ("are compared by their words" in trained.output) == (request.param == "words")
    onboarded = CliRunner().invoke(app, ["onboard", "--items", str(data / "new.csv"), *options])
    assert onboarded.exit_code == 0, onboarded.output
    publish(repository, "fusion", {"policies.yaml": POLICIES.encode()})
    return repository


@pytest.fixture
async def stub(repository: Path, tmp_path: Path) -> AsyncIterator[RecommenderStub]:
    async for opened in serving(repository, tmp_path):
        yield opened


async def serving(repository: Path, tmp_path: Path) -> AsyncIterator[RecommenderStub]:
    flags = [f"--model-repository={repository}", f"--event-store=sqlite:///{tmp_path}/events.db"]
    flags += ["--grpc-port=0", "--metrics-port=0", "--exit-timeout-secs=0", "--scorer=none=127.0.0.1:1"]
    async with AsyncExitStack() as stack:
        program = await stack.enter_async_context(gateway(read(GatewaySettings, flags)))
        await stack.enter_async_context(program)
        yield RecommenderStub(await stack.enter_async_context(grpc.aio.insecure_channel(program.grpc_address)))


async def found(stub: RecommenderStub, query: str, k: int = 3) -> list[str]:
    request = pb.SearchItemsRequest(title=query, k=k, semantic=True)
    matches = (await stub.SearchItems(request)).matches  # type: ignore[misc]
    assert all(0 < match.score <= 100 for match in matches)
    assert [match.score for match in matches] == sorted((match.score for match in matches), reverse=True)
    return [match.item.title for match in matches]


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("a heist in dreams", "Inception"),
        ("SHARKS at the beaches", "Jaws"),  # plurals
        ("Nolan memory", "Memento"),
        ("cafe in Paris", "Amélie"),  # accents
        ("romance", "Amélie"),
        ("racing hogs: wild pigs", "Hog Wild"),  # onboarded, without training
    ],
)
async def test_a_movie_is_found_by_what_it_is_about(stub: RecommenderStub, query: str, title: str) -> None:
    assert (await found(stub, query))[0] == title


async def test_titles_are_still_searched_by_letters(stub: RecommenderStub) -> None:
    answer = await stub.SearchItems(pb.SearchItemsRequest(title="incepton"))  # type: ignore[misc]
    assert [match.item.title for match in answer.matches] == ["Inception"]
    assert not (await stub.SearchItems(pb.SearchItemsRequest(title="a heist in dreams"))).matches  # type: ignore[misc]


async def test_a_word_that_no_item_has_finds_what_means_the_same(stub: RecommenderStub, repository: Path) -> None:
    by_model = (latest(repository, "catalog") / "search_vectors.parquet").is_file()
    assert (await found(stub, "robberies"))[:1] == (["Inception"] if by_model else [])
    assert await found(stub, "zyzzyva") == []


async def test_likeness_by_texts_of_genres_and_tags_director_first(stub: RecommenderStub) -> None:
    async def similar(**weights: float) -> list[str]:
        request = pb.SimilarItemsRequest(title="babe", k=2, weights=weights)
        return [ranked.item.title for ranked in (await stub.SimilarItems(request)).items]  # type: ignore[misc]

    assert set(await similar(text=1)) == {"Charlotte's Web", "Hog Wild"}
    request = pb.SimilarItemsRequest(title="inception", k=3, weights={"text": 1, "director": 1})
    answer = await stub.SimilarItems(request)  # type: ignore[misc]
    assert answer.items[0].item.title == "Memento"
    kinds = (await stub.GetStatus(pb.GetStatusRequest())).similar_kinds  # type: ignore[misc]
    assert list(kinds) == ["none", "genres", "tags", "overview", "text", "director"]


async def test_tags_and_overviews_are_kinds_of_their_own(stub: RecommenderStub) -> None:
    async def similar(kind: str) -> set[str]:
        request = pb.SimilarItemsRequest(title="inception", k=5, weights={kind: 1})
        return {ranked.item.title for ranked in (await stub.SimilarItems(request)).items}  # type: ignore[misc]

    assert await similar("tags") == {"Memento"}  # dream
    assert await similar("overview") == {"Heat"}  # thief


async def test_an_unknown_director_is_nobodys(stub: RecommenderStub) -> None:
    async def of_the_director(title: str) -> list[str]:
        request = pb.SimilarItemsRequest(title=title, weights={"director": 1})
        return [ranked.item.title for ranked in (await stub.SimilarItems(request)).items]  # type: ignore[misc]

    assert await of_the_director("inception") == ["Memento"]
    assert await of_the_director("amelie") == []  # "Untold" has none either


async def test_a_catalog_without_texts_says_so(tmp_path: Path) -> None:
    publish_catalog(tmp_path / "old", items(), {})
    publish(tmp_path / "old", "fusion", {"policies.yaml": POLICIES.encode()})
    async for stub in serving(tmp_path / "old", tmp_path):
        with pytest.raises(grpc.aio.AioRpcError, match="no texts to search: train the catalog again"):
            await found(stub, "anything")
