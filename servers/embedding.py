"""Embeds items from a poster and what is written about them, as training does: artifact.proto says how."""

import math
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from servers.device import Device, load_tower
from servers.published import read_json, read_tensors
from servers.runtime.errors import ArtifactError, InvalidArgument
from servers.runtime.images import decode_images
from servers.runtime.repository import Version
from servers.signature import Arrays
from servers.text_encoder import GRAPH as TEXT_GRAPH
from servers.text_encoder import TextEncoder

GRAPH = "item_encoder.onnx"
TEXTS = ("overview", "keywords", "director", "cast")
MAX_POSTER_PIXELS = 1 << 20
"""Maximum number of pixels that an item encoder may read of a poster."""
MAX_TEXT_BYTES = 16 << 10
"""Maximum length of each text of an item."""
WORD = re.compile(r"\w\w+")
YEAR_IN_TITLE = re.compile(r"\((\d{4})\)\s*$")
Floats = NDArray[np.float32]


def has_file(version: Version, path: str) -> bool:
    return any(file.path == path for file in version.manifest.files)


class ItemEncoder:
    """Row b of an answer depends on row b of the inputs only. Blocking; meant for the compute thread."""

    def __init__(self, version: Version, threads: int, device: Device) -> None:
        """Raises ArtifactError where the files do not fit together."""
        names = read_json(version, "content.json")
        self._genre_names: list[str] = names["genres"]
        self._genres = [name.casefold() for name in self._genre_names]
        self._word: dict[str, int] = {word: column for column, word in enumerate(names["words"])}
        arrays = read_tensors(version, "content.safetensors")
        self._idf = arrays["idf"]
        self._components = np.ascontiguousarray(arrays["components"].T)
        self._graph = load_tower(version.file(GRAPH), threads, device)
        poster, _, metadata = self._graph.get_inputs()
        self._height, self._width = poster.shape[2:]
        self._text_model: str = names.get("text_model", "")
        self._read_sentence = None
        text_width = len(self._word)
        if self._text_model:
            text_width = len(self._components)
            if has_file(version, TEXT_GRAPH):
                self._read_sentence = TextEncoder(version, threads, device)
                text_width = self._read_sentence.width
        metadata_width = len(self._genres) + self._components.shape[1] + 2
        if not 0 < self._height * self._width <= MAX_POSTER_PIXELS:
            raise ArtifactError(f"{version.model}/{version.number}: {GRAPH} takes posters of another size", "malformed")
        fits = len(self._idf) == len(self._word)
        fits &= len(self._components) == text_width
        fits &= metadata.shape[1] == metadata_width
        if not fits:
            raise ArtifactError(f"{version.model}/{version.number}: content.* does not fit {GRAPH}", "malformed")

    def embed(self, inputs: Arrays) -> Arrays:
        """`embedding` [B, S] of unit length.

        Raises InvalidArgument naming the row of a broken image, of a text that is too long, or of one for a text model
        that was not published.
        """
        for name, texts in inputs.items():
            if texts.dtype == np.object_ and name != "image":
                _check_lengths(name, texts[:, 0].tolist())
        images = inputs["image"][:, 0].tolist()
        feeds = {
            "poster": decode_images(images, self._height, self._width, "tensor 'image'"),
            "has_poster": np.array([bool(image) for image in images]),
            "metadata": self.metadata(inputs),
        }
        feature: Floats = self._graph.run(["item_feature"], feeds)[0]
        return {"embedding": feature / np.maximum(np.linalg.norm(feature, axis=1, keepdims=True), 1e-12)}

    @property
    def genres(self) -> list[str]:
        """Names, in the order of the columns."""
        return self._genre_names

    def metadata(self, inputs: Arrays) -> Floats:
        """[B, M] of the texts and the year."""
        return np.stack([self._metadata(inputs, row) for row in range(len(inputs["year"]))])

    def _metadata(self, inputs: Arrays, row: int) -> Floats:
        text = {
            name: array[row, 0].decode(errors="replace")
            for name, array in inputs.items()
            if array.dtype == np.object_ and name != "image"
        }
        genres = {name.strip().casefold() for name in re.split("[,|]", text["genres"])}
        in_title = YEAR_IN_TITLE.search(text["title"])
        year = int(inputs["year"][row, 0]) or int(in_title[1] if in_title else 0)
        genre_G = np.array([name in genres for name in self._genres], np.float32)
        text_T = self._text(text, row)
        year_2 = np.array([(year - 1990) / 10 if year else 0, not year], np.float32)
        return np.concatenate([genre_G, text_T, year_2])

    def _text(self, text: Mapping[str, str], row: int) -> Floats:
        """[T]."""
        if self._read_sentence:
            return _unit(self._read_sentence(_sentence(text)) @ self._components, 1e-6)
        written = [name for name in TEXTS if text[name].strip("| ")]
        if self._text_model and written:
            raise InvalidArgument(
                f"tensor {written[0]!r}, row {row}: the text of this version is for a sentence-transformers model, "
                f"which 'python -m training onboard' runs and no server; leave {', '.join(TEXTS)} empty"
            )
        names = [_one_word(name) for name in [text["director"], *text["cast"].split("|")]]
        return self._words(" ".join([text["overview"], text["keywords"], *names]))

    def _words(self, document: str) -> Floats:
        """[T]."""
        words = (self._word.get(word) for word in WORD.findall(document.lower()))
        counts = Counter(word for word in words if word is not None)
        rows = np.fromiter(counts, np.int64, len(counts))
        frequency = np.array([1 + math.log(count) for count in counts.values()], np.float32)
        weight = frequency * self._idf[rows]
        return _unit(_unit(weight, 1e-12) @ self._components[rows], 1e-6)


def _sentence(text: Mapping[str, str]) -> str:
    """What a text model reads of an item; empty where nothing is written."""
    lists = {name: ", ".join(text[name].split("|")) for name in ("keywords", "cast")}
    parts = text["overview"], lists["keywords"], text["director"], lists["cast"]
    return ". ".join(filter(None, map(str.strip, parts)))


def _check_lengths(name: str, texts: list[bytes]) -> None:
    # The longest is enough: where it is within the limit, all are.
    row, length = max(enumerate(map(len, texts)), key=lambda pair: pair[1])
    if length > MAX_TEXT_BYTES:
        raise InvalidArgument(f"tensor {name!r}, row {row} has {length} bytes; the limit is {MAX_TEXT_BYTES}")


def _unit(vector: Floats, min_length: float) -> Floats:
    """The vector divided by its length, or by `min_length` where it is shorter."""
    return vector / max(float(np.linalg.norm(vector)), min_length)


def _one_word(name: str) -> str:
    """ "Mel Gibson" and "Mel Brooks" share no word."""
    return name.strip().replace(" ", "_").replace("-", "_")
