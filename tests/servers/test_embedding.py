"""`<name>_embed`: what training made of its items, a server makes of the same posters and texts."""

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tritonclient.grpc.aio as triton_aio
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from safetensors.numpy import load_file
from tritonclient.utils import InferenceServerException

from servers.embedding import ItemEncoder
from servers.runtime.errors import InvalidArgument
from servers.runtime.images import MAX_PIXELS, START_OF_SCAN, decode_images
from servers.runtime.repository import Repository
from servers.signature import EMBED, Limits
from tests.conftest import Published
from tests.servers import tiny_artifact
from tests.servers.running import in_process, settings, tensors
from training.artifacts.repository import latest, publish, read_manifest
from training.data.load import load_dataset
from training.data.posters import read_poster
from training.features.content import ContentEncoder
from training.features.tfidf import TfidfVocabulary

NAME = "visual_temporal"
LISTS = ("genres", "cast", "keywords")


@pytest.fixture
async def client(published: Published) -> AsyncIterator[triton_aio.InferenceServerClient]:
    async with in_process(settings(published.repository, NAME)) as (_, client):
        yield client


def inputs(items: pl.DataFrame) -> dict[str, Any]:
    """What a client sends who has the items as training had them; [B, 1] each."""
    texts = {name: items[name].list.join("|").to_list() for name in LISTS}
    texts |= {name: items[name].to_list() for name in ("title", "overview", "director")}
    images = [Path(path).read_bytes() if path else b"" for path in items["poster"]]
    columns = {name: column(*values) for name, values in texts.items()}
    year = items["year"].to_numpy().astype(np.int64)[:, None]
    return {**columns, "image": column(*images), "year": year}


def image(size: tuple[int, int] = (30, 40), kind: str = "PNG") -> bytes:
    content = BytesIO()
    Image.new("RGB", size, (200, 40, 10)).save(content, kind)
    return content.getvalue()


async def embed(client: triton_aio.InferenceServerClient, arrays: dict[str, Any]) -> Any:
    return (await client.infer(f"{NAME}_embed", tensors(arrays))).as_numpy("embedding")


async def test_known_items_are_where_training_put_them(
    published: Published, client: triton_aio.InferenceServerClient
) -> None:
    items = load_dataset(published.data).items.head(20)
    expected = load_file(latest(published.repository, NAME) / "items.safetensors")["similar_vector"][:20]
    batch = inputs(items)
    np.testing.assert_allclose(await embed(client, batch), expected, atol=1e-4)
    del batch["year"]
    titles = [f"{title} ({year})" for title, year in items.select("title", "year").iter_rows()]
    batch["title"] = column(*titles)
    np.testing.assert_allclose(await embed(client, batch), expected, atol=1e-4)


async def test_texts_and_poster_may_be_left_out(client: triton_aio.InferenceServerClient) -> None:
    nothing = await embed(client, {"image": np.array([[b""]], object)})
    np.testing.assert_allclose(np.linalg.norm(nothing), 1, atol=1e-5)
    poster = await embed(client, {"image": np.array([[image()]], object)})
    assert np.abs(nothing - poster).max() > 1e-3


async def test_a_broken_image_is_named_and_its_neighbours_are_answered(
    client: triton_aio.InferenceServerClient,
) -> None:
    good, cut = image(kind="JPEG"), image((300, 400), "JPEG")[:700]
    calls = [column(good), column(good, b"", cut), column(good)]
    alone = await embed(client, {"image": calls[0]})
    answers: list[Any] = await asyncio.gather(
        *(embed(client, {"image": call}) for call in calls), return_exceptions=True
    )
    for answer in (answers[0], answers[2]):
        np.testing.assert_allclose(answer, alone, atol=1e-5)
    assert isinstance(answers[1], InferenceServerException)
    assert answers[1].status() == "StatusCode.INVALID_ARGUMENT"
    assert "tensor 'image', row 2 cannot be decoded as JPEG, PNG, WEBP" in answers[1].message()


async def test_it_is_described_like_the_others(published: Published, client: triton_aio.InferenceServerClient) -> None:
    metadata = await client.get_model_metadata(f"{NAME}_embed")
    assert {tensor.name for tensor in metadata.inputs} == {tensor.name for tensor in EMBED.inputs}
    config = (await client.get_model_config(f"{NAME}_embed")).config
    assert [tensor.name for tensor in config.input if not tensor.optional] == ["image"]
    index = (await client.get_model_repository_index()).models
    assert (f"{NAME}_embed", "READY") in {(row.name, row.state) for row in index}


async def test_it_comes_and_goes_with_the_version(published: Published, tmp_path: Path) -> None:
    version = latest(published.repository, NAME)
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "1").symlink_to(version)
    chosen = settings(tmp_path, NAME, model_control_mode="poll", repository_poll_secs=0.05)
    async with in_process(chosen) as (program, client):
        assert await client.is_model_ready(f"{NAME}_embed")
        assert program.health.serving(f"{NAME}_embed")
        tiny_artifact.publish(tmp_path, NAME, version=2)
        while not await client.is_model_ready(NAME, "2"):
            await asyncio.sleep(0.01)
        assert not await client.is_model_ready(f"{NAME}_embed")
        assert not program.health.serving(f"{NAME}_embed")
        with pytest.raises(InferenceServerException, match="there are visual_temporal, "):
            await embed(client, {"image": np.array([[b""]], object)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "of none of them"),
        (image()[:60], "cannot be decoded"),
        (image(kind="GIF"), "of none of them"),
        (image((MAX_PIXELS // 1000 + 1, 1000)), "pixels; the limit is"),
        (image((20_000, 9_000)), "pixels"),
        (bytes(9 << 20), "9437184 bytes; the limit is 8388608"),
    ],
)
@pytest.mark.filterwarnings("default::PIL.Image.DecompressionBombWarning")
def test_what_is_no_image_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        decode_images([content], 8, 6, "it")


def test_images_have_a_limit_on_their_pixels_together() -> None:
    large = image((4096, 4096))
    assert decode_images([large, b"", large], 8, 6, "it").shape == (3, 3, 8, 6)
    started = time.perf_counter()
    with pytest.raises(InvalidArgument, match="it has 536870912 pixels together; the limit is 67108864"):
        decode_images([large] * 32, 8, 6, "it")
    assert time.perf_counter() - started < 5  # none was decoded


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded() -> None:
    """Each takes as long as all the pixels, in 34 bytes."""
    usual = BytesIO()
    Image.new("RGB", (64, 48), "navy").save(usual, "JPEG", progressive=True)
    assert decode_images([usual.getvalue()], 8, 6, "it").any()
    with pytest.raises(InvalidArgument, match=r"it, row 0 has \d+ scans; the limit is 100"):
        decode_images([usual.getvalue() + 100 * START_OF_SCAN], 8, 6, "it")
    several = BytesIO()
    first, second = (Image.new("RGB", (64, 48), color) for color in ("navy", "red"))
    first.save(several, "MPO", save_all=True, append_images=[second])
    assert decode_images([several.getvalue()], 8, 6, "it").any()
    with pytest.raises(InvalidArgument, match=r"it, row 0 has \d+ scans; the limit is 100"):
        decode_images([several.getvalue() + 100 * START_OF_SCAN], 8, 6, "it")


def test_a_png_of_long_texts_is_refused_before_they_are_unpacked() -> None:
    """Of a few bytes each; the memory of all calls beside would be theirs."""
    texts = PngImagePlugin.PngInfo()
    for number in range(3):
        texts.add_text(f"text {number}", "x" * 900_000, zip=True)
    packed = BytesIO()
    Image.new("RGB", (8, 6)).save(packed, "PNG", pnginfo=texts)
    with pytest.raises(InvalidArgument, match="it, row 0 cannot be decoded .*Too much memory used in text chunks"):
        decode_images([packed.getvalue()], 8, 6, "it")


async def test_posters_do_not_hold_up_scores(
    client: triton_aio.InferenceServerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, go = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        busy.set()
        assert go.wait(20)
        return decode_images(*arguments)

    monkeypatch.setattr("servers.embedding.decode_images", slow)
    held = asyncio.create_task(embed(client, {"image": column(b"")}))
    assert await asyncio.to_thread(busy.wait, 20)
    answer = await client.infer(NAME, tensors({"candidate": [[1]]}), client_timeout=10)
    assert answer.as_numpy("score").shape == (1, 1)
    assert not held.done()
    go.set()
    await held


async def test_what_is_too_long_to_read_is_refused(client: triton_aio.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="tensor 'overview', row 1 has 16385 bytes; the limit is 16384"):
        await embed(client, {"image": column(b"", b""), "overview": column("", "x" * 16385)})


@given(st.binary(max_size=64), st.integers(0, 200), st.sampled_from(["JPEG", "PNG", "WEBP"]))
def test_garbage_in_an_image_never_raises_anything_else(garbage: bytes, start: int, kind: str) -> None:
    content = image(kind=kind)
    try:
        pixels = decode_images([content[:start] + garbage + content[start + len(garbage) :]], 8, 6, "it")
    except InvalidArgument:
        return
    assert pixels.shape == (1, 3, 8, 6)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pixels_are_those_of_training(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8)
    path = tmp_path / "poster"
    Image.fromarray(noise).save(path, kind)
    np.testing.assert_array_equal(decode_images([path.read_bytes()], 48, 32, "it")[0], read_poster(path, (48, 32)))


@pytest.fixture(scope="module")
def encoders(published: Published) -> tuple[ItemEncoder, ContentEncoder]:
    return ItemEncoder(Repository(published.repository).latest(NAME), 1, "cpu"), ContentEncoder.read(
        latest(published.repository, NAME)
    )


WORDS = st.text() | st.sampled_from(["Comedy", "toy", "a toy Toy", "Kira Lindqvist", "ship-wreck"])
WORDS_OF_LISTS = WORDS.filter(lambda word: "|" not in word)


@given(text=WORDS, name=WORDS, words=st.lists(WORDS_OF_LISTS), year=st.integers(-1, 3000))
def test_any_text_is_encoded_as_in_training(
    encoders: tuple[ItemEncoder, ContentEncoder], text: str, name: str, words: list[str], year: int
) -> None:
    served, trained = encoders
    item = {"overview": [text], "director": [name], "year": [year], **{column: [words] for column in LISTS}}
    expected = trained(
        pl.DataFrame(
            item,
            {"overview": pl.String, "director": pl.String, "year": pl.Int32} | dict.fromkeys(LISTS, pl.List(pl.String)),
        )
    ).all
    texts = {"overview": text, "director": name, **{column: "|".join(words) for column in LISTS}}
    given_ = {key: np.array([[value.encode("utf-8", "replace")]], object) for key, value in texts.items()}
    given_ |= {"image": np.array([[b""]], object), "year": np.array([[year]])}
    complete = EMBED.complete(given_, Limits(1, 1, 1, 1))
    np.testing.assert_allclose(served.metadata(complete), expected, atol=1e-5)


def test_of_a_version_with_a_text_model_no_text_is_taken_and_the_rest_is_embedded(
    published: Published, tmp_path: Path
) -> None:
    folder = latest(published.repository, NAME)
    usual = ContentEncoder.read(folder)
    T = len(usual.components)
    no_words = TfidfVocabulary((), usual.words.idf[:0])
    other = ContentEncoder(usual.genres, no_words, np.ones((T, T + 3), np.float32), "any/model")

    def write(partial: Path) -> None:
        shutil.copytree(folder, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        other.write(partial)

    manifest = read_manifest(folder)
    manifest.ClearField("files")
    publish(tmp_path, manifest, write)
    encoder, limits = ItemEncoder(Repository(tmp_path).latest(NAME), 1, "cpu"), Limits(2, 1, 1, 1)
    given_ = {
        "genres": column("War", usual.genres[0]),
        "title": column("", "A (1999)"),
        "image": column("", image()),
    }
    wordless = EMBED.complete(given_, limits)
    plain = ItemEncoder(Repository(published.repository).latest(NAME), 1, "cpu")
    np.testing.assert_allclose(encoder.metadata(wordless), plain.metadata(wordless))
    np.testing.assert_allclose(encoder.embed(wordless)["embedding"], plain.embed(wordless)["embedding"])
    for name in ("overview", "keywords", "director", "cast"):
        with pytest.raises(InvalidArgument, match=f"tensor '{name}', row 1: .+ sentence-transformers model"):
            encoder.embed(EMBED.complete(given_ | {name: column("", "A word")}, limits))


def column(*values: str | bytes) -> Any:
    """[B, 1]."""
    return np.array([[value.encode() if isinstance(value, str) else value] for value in values], object)
