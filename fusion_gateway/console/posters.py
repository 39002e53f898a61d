"""Posters from a folder or a URL: bounded, cut to a few widths, and kept in memory for a while."""

import asyncio
import urllib.parse
import urllib.request
from collections import OrderedDict
from io import BytesIO
from pathlib import Path

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from servers.runtime.files import read_regular

WIDTHS = (92, 185, 342)
MAX_FILE_BYTES = 8 << 20
MAX_PIXELS = 40_000_000
MAX_CACHE_BYTES = 64 << 20
MAX_NAME = 2000
FETCH_SECONDS = 5.0
AT_ONCE = 4
"""Images made at the same time."""
HOUR = 3600


class NoPoster(Exception):
    """There is none, or none that can be shown."""


class Posters:
    """Answers GET /posters/{name}?w=WIDTH with a JPEG, or with 404: the page then draws a card."""

    def __init__(self, location: str) -> None:
        """A folder, a URL, or empty: no posters."""
        self._url = location.rstrip("/") + "/" if location.startswith(("http://", "https://")) else ""
        self._folder = Path(location).resolve() if location and not self._url else None
        self._made: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes = 0
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, request: Request) -> Response:
        name = request.path_params["name"]
        requested = request.query_params.get("w", "")
        width = next((width for width in WIDTHS if str(width) == requested), WIDTHS[1])
        try:
            return Response(await self._image(name, width), media_type="image/jpeg", headers=_cached(HOUR))
        except NoPoster:
            return Response(status_code=404, headers=_cached(60))

    async def _image(self, name: str, width: int) -> bytes:
        key = name, width
        if key not in self._made:
            async with self._turns:
                image = await asyncio.to_thread(self._make, name, width)
            self._keep(key, image)
        self._made.move_to_end(key)
        return self._made[key]

    def _keep(self, key: tuple[str, int], image: bytes) -> None:
        self._bytes += len(image) - len(self._made.get(key, b""))
        self._made[key] = image
        while self._bytes > MAX_CACHE_BYTES and len(self._made) > 1:
            self._bytes -= len(self._made.popitem(last=False)[1])

    def _make(self, name: str, width: int) -> bytes:
        """Raises NoPoster."""
        try:
            with Image.open(BytesIO(self._read(name)), formats=("JPEG", "PNG", "WEBP")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise NoPoster
                image.draft("RGB", (2 * width, 4 * width))
                resized = image.convert("RGB")
            resized.thumbnail((width, 2 * width))
            made = BytesIO()
            resized.save(made, "JPEG", quality=84, optimize=True)
        except Exception as error:  # each format raises kinds of its own, and so does whatever answers at the URL
            raise NoPoster from error
        return made.getvalue()

    def _read(self, name: str) -> bytes:
        """Raises NoPoster and OSError."""
        if len(name) > MAX_NAME or "\0" in name or ".." in name.split("/"):
            raise NoPoster
        if self._folder:
            path = (self._folder / name).resolve()
            if not path.is_relative_to(self._folder):
                raise NoPoster
            return read_regular(path, MAX_FILE_BYTES)
        if self._url:
            with urllib.request.urlopen(self._url + urllib.parse.quote(name), timeout=FETCH_SECONDS) as answer:
                content: bytes = answer.read(MAX_FILE_BYTES + 1)
            if len(content) <= MAX_FILE_BYTES:
                return content
        raise NoPoster


def _cached(seconds: int) -> dict[str, str]:
    return {"Cache-Control": f"private, max-age={seconds}"}
