import os
import tracemalloc
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from training.data import posters
from training.data.posters import decode_posters, poster_tensor, read_poster
from training.errors import DataError


def save(
    path: Path,
    color: tuple[int, ...] = (200, 40, 10),
    mode: str = "RGB",
    size: tuple[int, int] = (30, 40),
) -> Path:
    Image.new(mode, size, color).save(path)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_an_image_becomes_channels_height_width(tmp_path: Path, suffix: str) -> None:
    pixels = read_poster(save(tmp_path / f"a.{suffix}"), (12, 8))
    assert pixels.shape == (3, 12, 8)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.mean((1, 2)) - [200, 40, 10]).max() < 6


def test_other_color_modes_become_rgb(tmp_path: Path) -> None:
    with_alpha = save(tmp_path / "a.png", (9, 9, 9, 128), "RGBA")
    assert read_poster(with_alpha, (4, 4)).shape == (3, 4, 4)
    assert read_poster(save(tmp_path / "b.png", (77,), "L"), (4, 4)).max() == 77
    for_print = save(tmp_path / "c.jpg", (0, 0, 0, 0), "CMYK")
    assert read_poster(for_print, (4, 4)).shape == (3, 4, 4)


def test_what_is_no_poster_is_named_and_counts_as_absent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = save(tmp_path / "whole.jpg", size=(300, 400)).read_bytes()
    bad = {"cut.jpg": image[: len(image) // 2], "text.jpg": b"hello", "empty.png": b"", "gif.jpg": gif()}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        assert list(decode_posters([tmp_path / name], (4, 4))) == [None]
        assert name in capsys.readouterr().err
    os.mkfifo(tmp_path / "pipe.jpg")
    nothing: list[Path | None] = [tmp_path / "nowhere.jpg", tmp_path / "pipe.jpg", tmp_path / "a\0b.jpg", tmp_path]
    assert list(decode_posters(nothing, (4, 4))) == [None] * 4


def gif() -> bytes:
    content = BytesIO()
    Image.new("RGB", (4, 4)).save(content, "GIF")
    return content.getvalue()


def test_files_and_images_beyond_the_bounds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", size=(50, 60))
    monkeypatch.setattr(posters, "MAX_PIXELS", 2_000)
    with pytest.raises(DataError, match="50 x 60 pixels are more than 2000"):
        read_poster(path, (4, 4))
    monkeypatch.setattr(posters, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="bytes are more than 10"):
        read_poster(path, (4, 4))


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = save(tmp_path / "bomb.png", (0,), "1", (12_000, 12_000))
    with pytest.raises(DataError, match="bomb.png: unreadable poster"):
        read_poster(path, (4, 4))


def test_tensor_is_cached_until_a_poster_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    red, broken = save(tmp_path / "1.png", (255, 0, 0)), tmp_path / "3.png"
    broken.write_bytes(b"no image")
    items = pl.DataFrame({"number": [1, 2, 3], "poster": [str(red), "", str(broken)]})
    cache = tmp_path / "cache"
    pixels, present = poster_tensor(items, (6, 4), cache)
    assert pixels[:].shape == (len(pixels), 3, 6, 4) == (3, 3, 6, 4)
    assert present.tolist() == [True, False, False]
    assert pixels[0][:, 0, 0].tolist() == [255, 0, 0]
    assert not pixels[1:].any()
    said = " ".join(capsys.readouterr().err.split())
    assert "3.png" in said
    assert "1 posters read, 1 refused, 1 items without one" in said
    again, _ = poster_tensor(items, (6, 4), cache)
    assert np.array_equal(pixels[:], again[:])
    assert "3.png" not in capsys.readouterr().err
    save(red, (0, 0, 255), size=(31, 40))
    posters, *_ = poster_tensor(items, (6, 4), cache)
    assert posters[0][:, 0, 0].tolist() == [0, 0, 255]
    assert poster_tensor(items, (5, 4), cache)[0][:].shape == (3, 3, 5, 4)


@pytest.mark.parametrize("file", [0, 1], ids=["pixels", "flags"])
def test_a_broken_cache_file_is_made_again(tmp_path: Path, file: int) -> None:
    items = pl.DataFrame({"number": [1], "poster": [str(save(tmp_path / "1.png"))]})
    pixels = poster_tensor(items, (6, 4), tmp_path / "cache")[0][:]
    broken = sorted((tmp_path / "cache").iterdir())[file]
    whole = broken.read_bytes()
    for content in (b"", b"PK", whole[:100], whole[:-1], None):
        broken.write_bytes(content) if content is not None else broken.unlink()
        again, present = poster_tensor(items, (6, 4), tmp_path / "cache")
        assert np.array_equal(again[:], pixels)
        assert present.tolist() == [True]
        assert broken.read_bytes() == whole


def test_a_few_posters_are_in_memory_at_a_time(tmp_path: Path) -> None:
    poster = str(save(tmp_path / "1.png"))
    items = pl.DataFrame({"number": range(64), "poster": [poster] * 64})
    tracemalloc.start()
    pixels, _ = poster_tensor(items, (256, 192), tmp_path / "cache")
    assert all(pixels[first : first + 4].any() for first in range(0, 64, 4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * pixels[0].nbytes / 4
