"""The gateway's calls as JSON over HTTP: answers, errors, deadlines, tokens, and what is refused."""

import asyncio
import socket
import urllib.error
from contextlib import ExitStack
from pathlib import Path

from fusion_gateway.console.connect import (
    HTTP_STATUS,
    MAX_BODIES_BYTES,
    MAX_BODY_BYTES,
    MAX_VALUES,
    SERVICE,
    WRITES,
)
from protos.marquee.v1 import recommender_pb2 as pb
from tests.fusion_gateway.conftest import World
from tests.fusion_gateway.console.running import RECOMMENDER, Console, Reply, console, protected_gateway

JSON = {"content_type": "application/json"}


async def test_an_answer_is_what_grpc_gives(world: World) -> None:
    async with console(world.gateway.grpc_address) as page:
        reply = await page.call("Recommend", {"userId": "someone", "k": 3, "weights": {"rating": 2}})
    expected = await world.stub.Recommend(pb.RecommendRequest(user_id="someone", k=3, weights={"rating": 2}))
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["trailer-x-request-id"]
    assert [each["item"]["id"] for each in reply.json["items"]] == [each.item.id for each in expected.items]
    assert reply.json["modelVersions"]["rating"] == "7"  # 64 bits are text in protobuf's JSON


async def test_every_call_of_the_gateway_is_there(world: World) -> None:
    async with console(world.gateway.grpc_address) as page:
        replies = {method.name: await page.call(method.name, {}) for method in SERVICE.methods}
        unknown = await page.call("Nothing", {})
    answered = {name for name, reply in replies.items() if reply.status == 200}
    assert answered == {"Recommend", "GetStatus", "ListUsers", "GetOutcomes"}
    assert {reply.status for name, reply in replies.items() if name not in answered} == {400}
    assert unknown.status == 404
    assert b"it has Recommend, " in unknown.body


ERRORS: list[tuple[str, object, dict[str, str], str]] = [
    ("Recommend", {"k": 0}, {}, "invalid_argument"),
    ("Recommend", {"k": "many"}, {}, "invalid_argument"),
    ("SimilarItems", {"title": "qqqqqqqqqq"}, {}, "not_found"),
    ("Recommend", {}, {"connect_timeout_ms": "0"}, "deadline_exceeded"),
    ("Recommend", {}, {"connect_timeout_ms": "soon"}, "invalid_argument"),
    ("Recommend", {}, {"connect_protocol_version": "2"}, "invalid_argument"),
    ("Recommend", {}, {"content_encoding": "gzip"}, "unimplemented"),
    ("GetStatus", [], {}, "invalid_argument"),
    ("GetStatus", {}, {"x_request_id": "é"}, "invalid_argument"),
    ("GetStatus", {}, {"authorization": "Bearer a\tb"}, "invalid_argument"),
    ("GetStatus", {}, {"origin": "https://evil.example"}, "permission_denied"),
]


async def test_an_error_has_the_status_of_its_code(world: World) -> None:
    async with console(world.gateway.grpc_address) as page:
        replies = [await page.call(method, request, **headers) for method, request, headers, _ in ERRORS]
    assert [reply.json["code"] for reply in replies] == [code for *_, code in ERRORS]
    assert [reply.status for reply in replies] == [HTTP_STATUS[code] for *_, code in ERRORS]
    assert all(reply.json["message"] for reply in replies)


async def test_a_request_of_very_many_values_is_refused_before_it_is_parsed(world: World) -> None:
    async with console(world.gateway.grpc_address) as page:
        reply = await page.call("RecordEvents", {"events": [{}] * (MAX_VALUES + 2)})
        largest = await page.call("RecordEvents", {"events": [{}] * MAX_VALUES})
    assert reply.json["code"] == "resource_exhausted"
    assert reply.json["message"] == "the request has more than 50,000 values; send less in one call"
    assert largest.json["code"] == "invalid_argument"  # the gateway's word


async def test_calls_are_counted_by_status(world: World) -> None:
    async with console(world.gateway.grpc_address) as page:
        for k in (0, 3, 3):
            await page.call("Recommend", {"userId": "secret-user", "k": k})
        metrics = (await page.fetch("/metrics")).body.decode()
    assert 'marquee_calls_total{code="400",method="Recommend"} 1.0' in metrics
    assert 'marquee_calls_total{code="200",method="Recommend"} 2.0' in metrics
    assert "secret-user" not in metrics


async def test_a_request_that_is_too_large_is_refused(world: World) -> None:
    async with console(world.gateway.grpc_address) as page:
        reply = await page.fetch(f"{RECOMMENDER}/Recommend", b" " * (MAX_BODY_BYTES + 1), **JSON)
    assert reply.json["code"] == "resource_exhausted"


async def test_large_requests_are_bounded_together(world: World) -> None:
    head = f"POST {RECOMMENDER}/Recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    unfinished = f"{head}Content-Length: {1 << 20}\r\n\r\n".encode() + b" " * ((1 << 20) - 1)
    large = b"{}".rjust(MAX_BODY_BYTES)
    async with asyncio.timeout(30), console(world.gateway.grpc_address) as page:
        with ExitStack() as stack:
            for _ in range(MAX_BODIES_BYTES >> 20):
                await asyncio.to_thread(_send_and_stay, stack, page.url, unfinished)
            while (refused := await _answer_to(page, large)).status == 200:
                await asyncio.sleep(0.05)  # not all of them have been read
            assert (await page.call("GetStatus", {})).status == 200
        while (answered := await _answer_to(page, large)).status == refused.status:
            await asyncio.sleep(0.05)
    assert (refused.status, refused.json["code"]) == (503, "unavailable")
    assert refused.json["message"] == "too many large requests at once; try again later"
    assert answered.status == 200


async def _answer_to(page: Console, content: bytes) -> Reply:
    """Tries again where the connection was closed, which a refused request may find before the answer."""
    while True:
        try:
            return await page.fetch(f"{RECOMMENDER}/GetStatus", content, **JSON)
        except urllib.error.URLError:
            await asyncio.sleep(0.05)


def _send_and_stay(stack: ExitStack, url: str, content: bytes) -> None:
    host, port = url.removeprefix("http://").split(":")
    stack.enter_context(socket.create_connection((host, int(port)), 10)).sendall(content)


async def test_forms_of_other_sites_cannot_write(world: World) -> None:
    """Browsers send these without asking the console first."""
    body = b'{"events": [{"userId": "victim", "itemId": "1"}]}'
    async with console(world.gateway.grpc_address) as page:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            assert (await page.fetch(f"{RECOMMENDER}/RecordEvents", body, content_type=kind)).status == 415
        assert (await page.call("GetHistory", {"userId": "victim"})).json == {}


async def test_an_origin_that_is_allowed_may_call(world: World) -> None:
    async with console(world.gateway.grpc_address, "--allow-origin=https://shop.example") as page:
        reply = await page.call("GetStatus", {}, origin="https://shop.example")
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == "https://shop.example"


async def test_read_only_refuses_what_writes(world: World) -> None:
    async with console(world.gateway.grpc_address, "--read-only") as page:
        for method in WRITES:
            assert (await page.call(method, {})).json["code"] == "permission_denied"
        assert (await page.call("GetStatus", {})).status == 200


async def test_the_token_of_the_caller_is_passed_on(repository: Path, tmp_path: Path) -> None:
    async with protected_gateway(repository, tmp_path) as address, console(address) as page:
        assert (await page.call("GetStatus", {})).json["code"] == "unauthenticated"
        assert (await page.call("GetStatus", {}, authorization="Bearer secret")).status == 200
        assert (await page.fetch("/health/ready")).status == 200


async def test_a_gateway_that_is_away_is_said_to_be(world: World) -> None:
    async with console(world.gateway.grpc_address) as page:
        await world.gateway.stop()
        assert (await page.call("GetStatus", {})).json["code"] == "unavailable"
        assert (await page.fetch("/health/ready")).status == 503
        assert (await page.fetch("/health/live")).status == 200
