"""What the console serves besides calls: pages, posters, the OpenAPI document, each with headers that protect."""

import asyncio
import gzip
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from fusion_gateway.console.app import HEADERS, PAGES, STATIC
from fusion_gateway.console.openapi import PROTO, comments, document
from fusion_gateway.console.posters import WIDTHS
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.console.running import console

NOWHERE = "127.0.0.1:1"


async def test_pages_come_whole_and_allow_no_foreign_script() -> None:
    async with console(NOWHERE) as page:
        for path in [*PAGES, "/static/app.js", "/about.json", "/posters/none.jpg"]:
            reply = await page.fetch(path)
            assert reply.status == (404 if "posters" in path else 200)
            assert {name: reply.headers[name] for name in HEADERS} == HEADERS
    html = (STATIC / "page.html").read_text()
    assert "//" not in html.replace("<!doctype", "")  # nothing from elsewhere
    assert "style=" not in html
    assert html.count("<script") == html.count("<script ") == html.count("</script>")


async def test_text_is_compressed_for_who_takes_that() -> None:
    async with console(NOWHERE) as page:
        plain = await page.fetch("/static/style.css")
        packed = await page.fetch("/static/style.css", accept_encoding="gzip")
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 3


async def test_other_names_of_the_loopback_are_refused() -> None:
    """A page of another site could have its own name point here."""
    async with console(NOWHERE) as page:
        assert (await page.fetch("/", host="evil.example")).status == 400


@pytest.fixture
def posters(tmp_path: Path) -> Path:
    folder = tmp_path / "posters"
    folder.mkdir()
    Image.new("RGB", (600, 900), "navy").save(folder / "1.jpg")
    Image.new("RGBA", (300, 300)).save(folder / "2.png")
    (folder / "3.jpg").write_bytes(b"\xff\xd8 no picture")
    Image.new("RGB", (10, 10)).save(tmp_path / "secret.jpg")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    return folder


async def test_posters_are_cut_to_size(posters: Path) -> None:
    async with console(NOWHERE, f"--posters={posters}") as page:
        for width in WIDTHS:
            reply = await page.fetch(f"/posters/1.jpg?w={width}")
            assert reply.headers["content-type"] == "image/jpeg"
            assert Image.open(BytesIO(reply.body)).size == (width, round(1.5 * width))
        assert Image.open(BytesIO((await page.fetch("/posters/2.png?w=1000000")).body)).width == 185


async def test_what_is_no_poster_is_not_served(posters: Path) -> None:
    async with console(NOWHERE, f"--posters={posters}") as page:
        for name in (
            "none.jpg",
            "3.jpg",
            "../secret.jpg",
            "..%2Fsecret.jpg",
            "link.jpg",
            "loop.jpg",
            "%00",
            "x" * 3000,
            "",
        ):
            assert (await page.fetch(f"/posters/{name}")).status == 404, name


async def test_posters_of_a_url(posters: Path) -> None:
    async with (
        console(NOWHERE, f"--posters={posters}") as elsewhere,
        console(NOWHERE, f"--posters={elsewhere.url}/posters/") as page,
    ):
        assert (await page.fetch("/posters/1.jpg")).status == 200
        assert (await page.fetch("/posters/none.jpg")).status == 404


@pytest.mark.parametrize(
    "said", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort", b""], ids=repr
)
async def test_a_source_of_posters_that_answers_nonsense_has_none(said: bytes) -> None:
    def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with console(NOWHERE, f"--posters=http://127.0.0.1:{port}") as page:
            assert (await page.fetch("/posters/1.jpg")).status == 404


async def test_the_openapi_document_tells_what_the_proto_tells(world: World) -> None:
    async with console(world.gateway.grpc_address) as page:
        api = (await page.fetch("/openapi.json")).json
        status = (await page.call("GetStatus", {})).json
    assert api == document(PROTO.read_text())
    k = api["components"]["schemas"]["RecommendRequest"]["properties"]["k"]
    assert (k["type"], k["format"]) == ("integer", "int32")
    assert k["description"].startswith("How many items to return: 1 to 500. Default 10.")
    similar = api["components"]["schemas"]["SimilarItemsRequest"]["properties"]
    assert similar["title"]["description"] == "Fuzzy, any case."
    assert set(status) <= set(api["components"]["schemas"]["GetStatusResponse"]["properties"])


def test_every_comment_of_the_proto_is_found() -> None:
    source = PROTO.read_text()
    blocks = sum(
        line.strip().startswith("//") and not after.strip().startswith("//")
        for line, after in zip(source.splitlines(), source.splitlines()[1:], strict=False)
    )
    assert len(comments(source)) == blocks
