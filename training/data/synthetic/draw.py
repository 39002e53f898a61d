"""Posters of the invented movies: the background tells the style, the metrics and their colors the genres."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from PIL.Image import Image as Poster

from training.data.synthetic.world import GENRES, STYLES

WIDTH, HEIGHT = 96, 144
Color = tuple[int, int, int]
Drawing = ImageDraw.ImageDraw
Shape = Callable[[Drawing, float, float, float, Color], None]

PALETTES: dict[str, tuple[Color, Color, str]] = {
    "noir": ((8, 8, 14), (70, 72, 84), "blinds"),
    "neon": ((40, 0, 70), (230, 20, 150), "grid"),
    "pastel": ((250, 214, 226), (206, 232, 250), "dots"),
    "sepia": ((92, 62, 34), (206, 170, 120), "grain"),
    "primary": ((250, 210, 20), (220, 40, 30), "wedge"),
    "frost": ((206, 226, 240), (120, 160, 196), "grain"),
    "forest": ((14, 50, 26), (104, 150, 70), "blinds"),
    "gold": ((250, 180, 60), (150, 70, 20), "dots"),
}
"""Top and bottom color, texture."""
COLORS: dict[str, Color] = {
    "Action": (235, 90, 20),
    "Adventure": (30, 140, 90),
    "Animation": (250, 120, 200),
    "Comedy": (255, 230, 60),
    "Crime": (190, 195, 205),
    "Documentary": (150, 150, 140),
    "Drama": (60, 90, 160),
    "Fantasy": (150, 80, 210),
    "Horror": (150, 0, 0),
    "Romance": (230, 40, 90),
    "Sci-Fi": (40, 200, 220),
    "War": (90, 100, 50),
}


def draw_poster(genres: list[int], style: int, rng: np.random.Generator) -> Poster:
    """RGB, 96 x 144: the main genre's figure large, the others small below, lines for the title at the foot."""
    palette, framed = STYLES[style]
    top, bottom, texture = PALETTES[palette]
    poster = _gradient(_shade(top, rng), _shade(bottom, rng))
    _texture(poster, texture, bottom, rng)
    drawing = ImageDraw.Draw(poster)
    x, y = WIDTH / 2 + rng.normal(0, 6), HEIGHT * 0.38 + rng.normal(0, 6)
    _figure(drawing, genres[0], x, y, rng.uniform(24, 31), rng)
    for position, genre in enumerate(genres[1:]):
        _figure(drawing, genre, WIDTH * (0.28 + 0.44 * position) + rng.normal(0, 3), HEIGHT * 0.71, 11, rng)
    ink = (245, 245, 245) if sum(bottom) < 380 else (20, 20, 20)
    for line in range(2):
        half = rng.uniform(14, 36)
        drawing.rectangle((WIDTH / 2 - half, 119 + 7 * line, WIDTH / 2 + half, 122 + 7 * line), fill=ink)
    if framed:
        drawing.rectangle((0, 0, WIDTH - 1, HEIGHT - 1), outline=ink, width=8)
    return poster.filter(ImageFilter.GaussianBlur(0.4))


def _gradient(top: Color, bottom: Color) -> Poster:
    share = np.linspace(0, 1, HEIGHT)[:, None, None]
    rows = (1 - share) * np.array(top) + share * np.array(bottom)
    return Image.fromarray(np.broadcast_to(rows, (HEIGHT, WIDTH, 3)).astype(np.uint8))


def _shade(color: Color, rng: np.random.Generator) -> Color:
    shifted = np.array(color) + rng.normal(0, 10, 3)
    red, green, blue = np.clip(shifted, 0, 255).astype(int).tolist()
    return red, green, blue


def _texture(poster: Poster, texture: str, color: Color, rng: np.random.Generator) -> None:
    drawing = ImageDraw.Draw(poster)
    offset = int(rng.integers(12))
    if texture == "blinds":
        for y in range(offset, HEIGHT, 12):
            drawing.line((0, y, WIDTH, y - 14), fill=color, width=2)
    elif texture == "grid":
        for step in range(offset, HEIGHT, 12):
            drawing.line((step, 0, step, HEIGHT), fill=color)
            drawing.line((0, step, WIDTH, step), fill=color)
    elif texture == "dots":
        for x in range(offset, WIDTH, 12):
            for y in range(offset, HEIGHT, 12):
                drawing.ellipse((x - 2, y - 2, x + 2, y + 2), fill=color)
    elif texture == "wedge":
        foot = (0, HEIGHT * rng.uniform(0.5, 0.9))
        drawing.polygon([(0, 0), (WIDTH, 0), foot], fill=(30, 70, 190))
    else:
        noise = rng.normal(0, 14, (HEIGHT, WIDTH, 1))
        poster.paste(Image.fromarray(np.clip(np.asarray(poster) + noise, 0, 255).astype(np.uint8)))


def _figure(drawing: Drawing, genre: int, x: float, y: float, size: float, rng: np.random.Generator) -> None:
    name = GENRES[genre]
    SHAPES[name](drawing, x, y, size, _shade(COLORS[name], rng))


def _star(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    angles = np.arange(20) * np.pi / 10
    radius = np.where(np.arange(20) % 2, 0.5, 1.0) * size
    across, down = x + radius * np.cos(angles), y + radius * np.sin(angles)
    drawing.polygon(list(zip(across, down, strict=True)), fill=color)


def _mountains(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    foot = y + size
    high, low = (x - size / 3, y - size), (x + size / 2, y - size / 3)
    drawing.polygon([(x - size, foot), high, (x + size / 3, foot)], fill=color)
    drawing.polygon([(x - size / 4, foot), low, (x + size, foot)], fill=color)


def _bubbles(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    for dx, dy, radius in ((-0.5, 0.3, 0.5), (0.5, 0.4, 0.4), (0.1, -0.5, 0.45)):
        drawing.circle((x + dx * size, y + dy * size), radius * size, fill=color)


def _smile(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    drawing.circle((x, y), size, fill=color)
    half = size / 2
    mouth = (x - half, y - half, x + half, y + half)
    drawing.arc(mouth, 20, 160, fill=(0, 0, 0), width=3)


def _crosshair(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    drawing.circle((x, y), size * 0.8, outline=color, width=max(2, int(size / 5)))
    drawing.line((x - size, y, x + size, y), fill=color, width=3)
    drawing.line((x, y - size, x, y + size), fill=color, width=3)


def _frames(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    for row in (-0.8, -0.2, 0.4):
        drawing.rectangle((x - size, y + row * size, x + size, y + (row + 0.4) * size), fill=color)


def _masks(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    drawing.ellipse((x - size, y - size, x, y + size * 0.5), fill=color)
    drawing.ellipse((x, y - size * 0.5, x + size, y + size), outline=color, width=4)


def _moon(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    angles = np.radians(np.linspace(50, 310, 24))
    outer = [(x + size * np.cos(a), y + size * np.sin(a)) for a in angles]
    across = x + size * (0.36 + 0.76 * np.cos(angles[::-1]))
    down = y + 0.85 * size * np.sin(angles[::-1])
    inner = list(zip(across, down, strict=True))
    drawing.polygon(outer + inner, fill=color)


def _teeth(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    for step in range(4):
        left = x - size + step * size / 2
        tip = (left + size / 4, y + size)
        drawing.polygon([(left, y - size), (left + size / 2, y - size), tip], fill=color)


def _heart(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    drawing.circle((x - size / 2, y - size / 3), size / 2, fill=color)
    drawing.circle((x + size / 2, y - size / 3), size / 2, fill=color)
    half, top = size * 0.95, y - size / 8
    drawing.polygon([(x - half, top), (x + half, top), (x, y + size)], fill=color)


def _planet(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    drawing.circle((x, y), size * 0.65, fill=color)
    height = size / 4
    drawing.ellipse((x - size, y - height, x + size, y + height), outline=(255, 255, 255), width=2)


def _chevrons(drawing: Drawing, x: float, y: float, size: float, color: Color) -> None:
    for row in (-0.7, 0.0, 0.7):
        top, tip = y + (row - 0.3) * size, y + (row + 0.3) * size
        points = [(x - size, top), (x, tip), (x + size, top)]
        drawing.line(points, fill=color, width=max(3, int(size / 4)))


SHAPES: dict[str, Shape] = dict(
    zip(
        GENRES,
        (_star, _mountains, _bubbles, _smile, _crosshair, _frames, _masks, _moon, _teeth, _heart, _planet, _chevrons),
        strict=True,
    )
)
