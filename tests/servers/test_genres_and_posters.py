"""`<name>_genres` and `<name>_similar_poster`: S5's genre prediction, and search by a picture, over the wire."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as triton_aio
from safetensors.numpy import load_file, save_file
from tritonclient.utils import InferenceServerException

from servers.loading import load
from servers.runtime.errors import ArtifactError
from servers.runtime.repository import Repository
from servers.signature import GENRES, POSTER
from tests.conftest import Published
from tests.servers.running import in_process, settings, tensors
from training.artifacts.repository import latest, publish, read_manifest
from training.artifacts.requests import requests_for
from training.artifacts.scorer_files import OfflineScorer
from training.data.load import load_dataset
from training.data.splits import leave_last_out
from training.features.content import genres_of

NAME = "visual_temporal"


@pytest.fixture
async def client(published: Published) -> AsyncIterator[triton_aio.InferenceServerClient]:
    async with in_process(settings(published.repository, NAME)) as (_, client):
        yield client


async def genres(client: triton_aio.InferenceServerClient, arrays: dict[str, Any]) -> tuple[list[bytes], Any]:
    answer = await client.infer(f"{NAME}_genres", tensors(arrays))
    names = answer.as_numpy("genre")
    assert (names == names[0]).all()
    return names[0].tolist(), answer.as_numpy("probability")


async def similar(client: triton_aio.InferenceServerClient, *images: bytes, count: int = 5) -> tuple[Any, Any]:
    pictures = np.array([[image] for image in images], object)
    arrays = {"image": pictures, "k": np.full((len(images), 1), count, np.int32)}
    answer = await client.infer(f"{NAME}_similar_poster", tensors(arrays))
    return answer.as_numpy("item"), answer.as_numpy("score")


async def test_genres_are_those_of_the_model_that_was_published(
    published: Published, client: triton_aio.InferenceServerClient
) -> None:
    dataset = load_dataset(published.data)
    split = leave_last_out(dataset.events)
    requests = requests_for(split.test.head(6), split.train)
    expected = OfflineScorer(latest(published.repository, NAME)).genres(requests)
    assert expected is not None
    for row in range(6):
        history = {
            "history_item": requests.history_item[row][None],
            "history_rating": requests.history_rating[row][None],
        }
        names, probability = await genres(client, history)
        assert [name.decode() for name in names] == list(genres_of(dataset.items))
        np.testing.assert_allclose(probability[0], expected[row], atol=1e-4)
    both = {"history_item": np.array([[0, 3], [0, 0]])}
    _, probability = await genres(client, both)
    assert ((probability[0] > 0) & (probability[0] < 1)).all()
    assert np.isnan(probability[1]).all()  # of whom nothing is known


async def test_a_movies_own_poster_finds_it_first(
    published: Published, client: triton_aio.InferenceServerClient
) -> None:
    items = load_dataset(published.data).items.head(12)
    images = [Path(path).read_bytes() for path in items["poster"]]
    found, score = await similar(client, *images, b"")
    np.testing.assert_array_equal(found[:-1, 0], items["number"].to_numpy())
    np.testing.assert_allclose(score[:-1, 0], 1, atol=1e-4)
    assert (np.diff(score[:-1], axis=1) <= 1e-6).all()
    assert not found[-1].any()  # like no picture is nothing


async def test_what_is_no_picture_is_refused(client: triton_aio.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="tensor 'image', row 0 cannot be decoded as JPEG, PNG, WEBP"):
        await similar(client, b"hello")


async def test_they_are_described_like_the_others(client: triton_aio.InferenceServerClient) -> None:
    for suffix, signature in (("genres", GENRES), ("similar_poster", POSTER)):
        metadata = await client.get_model_metadata(f"{NAME}_{suffix}")
        assert [tensor.name for tensor in metadata.inputs] == [tensor.name for tensor in signature.inputs]
        assert [tensor.name for tensor in metadata.outputs] == [tensor.name for tensor in signature.outputs]
        assert await client.is_model_ready(f"{NAME}_{suffix}")


def changed(published: Published, repository: Path, drop: str = "", cut_posters: bool = False) -> Path:
    """A repository whose only version is without the file `drop`, or has one poster less."""
    folder = latest(published.repository, NAME)

    def write(partial: Path) -> None:
        left_out = shutil.ignore_patterns("manifest.json", drop or "manifest.json")
        shutil.copytree(folder, partial, dirs_exist_ok=True, ignore=left_out)
        if cut_posters:
            vectors = load_file(partial / "posters.safetensors")["poster_vector"]
            save_file({"poster_vector": vectors[1:]}, partial / "posters.safetensors")

    manifest = read_manifest(folder)
    manifest.ClearField("files")
    publish(repository, manifest, write)
    return repository


@pytest.mark.parametrize(
    ("file", "suffix"), [("genre_tower.onnx", "genres"), ("posters.safetensors", "similar_poster")]
)
async def test_a_version_without_the_file_has_no_such_model(
    published: Published, tmp_path: Path, file: str, suffix: str
) -> None:
    async with in_process(settings(changed(published, tmp_path, drop=file), NAME)) as (_, client):
        assert not await client.is_model_ready(f"{NAME}_{suffix}")
        assert await client.is_model_ready(NAME)


def test_posters_that_are_not_those_of_the_items_are_refused(published: Published, tmp_path: Path) -> None:
    version = Repository(changed(published, tmp_path, cut_posters=True)).latest(NAME)
    with pytest.raises(ArtifactError, match="posters.safetensors does not fit item_number"):
        load(version, 1)
