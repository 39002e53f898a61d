"""Expressions of filters: what is taken, what is refused, and what comes of them in Recommend."""

from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from fusion_gateway import expressions
from fusion_gateway.catalog.attributes import BUILT_IN
from fusion_gateway.catalog.expression import Combination, NumberTest, TextTest
from fusion_gateway.expressions import parse_expression
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import InvalidArgument
from tests.fusion_gateway.conftest import World

Json = dict[str, Any]
DRAMA: Json = {"contains": {"attribute": "genres", "text": "drama"}}


def expression(json: Json) -> pb.Expression:
    return json_format.ParseDict(json, pb.Expression())


def nested(levels: int) -> Json:
    return DRAMA if levels == 1 else {"none": {"of": [nested(levels - 1)]}}


def of(quantifier: str, *parts: Json) -> Json:
    return {quantifier: {"of": list(parts)}}


def year(**bounds: Any) -> Json:
    return {"range": {"attribute": "year", **bounds}}


def test_every_condition_is_taken() -> None:
    tests: list[Json] = [
        year(min=1990),
        {"equals": {"attribute": "year", "number": 1999}},
        {"equals": {"attribute": "title", "text": "Up"}},
        {"one_of": {"attribute": "director", "texts": ["A", "B"]}},
        {"one_of": {"attribute": "genres", "texts": ["A"]}},
        DRAMA,
    ]
    parsed = parse_expression(expression(of("any", *tests, of("none", year(max=3)))), BUILT_IN)
    assert parsed == Combination(
        "any",
        (
            NumberTest("year", 1990, float("inf")),
            NumberTest("year", 1999, 1999),
            TextTest("title", ("Up",)),
            TextTest("director", ("A", "B")),
            TextTest("genres", ("A",)),
            TextTest("genres", ("drama",)),
            Combination("none", (NumberTest("year", float("-inf"), 3),)),
        ),
    )
    assert parse_expression(expression(nested(8)), BUILT_IN)
    assert parse_expression(expression(of("all", *[DRAMA] * 99)), BUILT_IN)


NAN = "NaN"  # as JSON of protobuf has it
BAD: list[tuple[Json, str]] = [
    ({}, r"filters.expression: one of all, any, none, equals, one_of, contains, range is needed"),
    (of("all", DRAMA, {}), r"filters.expression.all.of\[1\]: one of all, any"),
    (of("any"), r"filters.expression.any.of: at least 1 is needed"),
    (of("all", year(min=5, max=3)), r"filters.expression.all.of\[0\].range: min 5 is above max 3 for 'year'"),
    (year(min=NAN), r"filters.expression.range.min: must be a finite number for 'year', not nan"),
    (year(max="Infinity"), r"filters.expression.range.max: must be a finite number for 'year', not inf"),
    (year(), r"filters.expression.range: min, max or both are needed for 'year'"),
    ({"equals": {"attribute": "year", "number": NAN}}, r"equals.number: must be a finite number for 'year'"),
    ({"equals": {"attribute": "year", "text": "1999"}}, r"equals: 'year' is a number; use equals.number or range"),
    ({"equals": {"attribute": "title", "number": 3}}, r"equals: 'title' is a text; use equals.text or one_of"),
    ({"equals": {"attribute": "genres", "text": "x"}}, r"'genres' is a list of texts; use contains or one_of"),
    ({"contains": {"attribute": "title", "text": "x"}}, r"contains: 'title' is a text; use equals.text or one_of"),
    ({"range": {"attribute": "genres", "min": 1}}, r"range: 'genres' is a list of texts; use contains or one_of"),
    ({"one_of": {"attribute": "year", "texts": ["x"]}}, r"one_of: 'year' is a number; use equals.number or range"),
    ({"equals": {"attribute": "title"}}, r"equals.text: a text for 'title' must have 1 to 1000 characters, not 0"),
    ({"one_of": {"attribute": "id"}}, r"one_of.texts: at least 1 is needed for 'id'"),
    ({"one_of": {"attribute": "id", "texts": [""]}}, r"one_of.texts: a text for 'id' must have 1 to 1000"),
    ({"contains": {"attribute": "genres", "text": "x" * 1001}}, r"contains.text: .* not 1001"),
    ({"contains": {"text": "x"}}, r"contains.attribute: must have 1 to 64 bytes, not 0"),
    ({"contains": {"attribute": "é" * 33, "text": "x"}}, r"contains.attribute: must have 1 to 64 bytes, not 66"),
    (nested(9), r"filters.expression: more than 8 levels, at filters.expression(.none.of\[0\]){8}$"),
    (nested(48), r"filters.expression: more than 8 levels"),
    (of("all", *[DRAMA] * 100), r"filters.expression: more than 100 conditions; use one_of for several texts"),
    ({"one_of": {"attribute": "id", "texts": ["x"] * 1001}}, r"filters.expression: 1001 texts are too many; at most"),
]


@pytest.mark.parametrize(("json", "message"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_named(json: Json, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_expression(expression(json), BUILT_IN)


async def recommended(world: World, json: Json) -> pb.RecommendResponse:
    filters = pb.Filters(expression=expression(json))
    return await world.stub.Recommend(pb.RecommendRequest(history=[pb.Event(item_id="1")], k=10, filters=filters))


async def test_recommend_keeps_to_an_expression(world: World) -> None:
    answer = await recommended(world, of("all", of("none", DRAMA), year(min=1998)))
    assert {ranked.item.title for ranked in answer.items} == {
        "Memento",
        "Inception",
        "The Big Lebowski",
        "Amélie",
        "Up",
    }
    assert not answer.unknown_names


async def test_attributes_that_no_item_has_are_named(world: World) -> None:
    answer = await recommended(world, of("any", DRAMA, of("none", {"equals": {"attribute": "mood", "number": 1}})))
    assert len(answer.items) == 9
    assert [(each.field, each.name) for each in answer.unknown_names] == [
        ("filters.expression.any.of[1].none.of[0].equals.attribute", "mood")
    ]


@pytest.mark.parametrize("levels", [9, 40])
async def test_a_deep_expression_is_refused(world: World, levels: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="filters.expression: more than 8 levels") as caught:
        await recommended(world, nested(levels))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_an_expression_too_deep_to_be_parsed_is_refused(world: World) -> None:
    message = b""
    for _ in range(2000):  # field 1 in field 3, each with its length
        inner = b"\x0a" + _varint(len(message)) + message
        message = b"\x1a" + _varint(len(inner)) + inner
    message = b"\x3a" + _varint(len(message)) + message
    message = b"\x2a" + _varint(len(message)) + message
    call: Any = world.channel.unary_unary("/marquee.v1.Recommender/Recommend")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(message)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def _varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(high) if high else bytes([low])


def test_a_wide_expression_is_counted_before_anything_is_made_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = pb.Expression()
    wide.all.of.extend([pb.Expression()] * 1000)
    monkeypatch.setattr(expressions, "_parts", lambda *_: pytest.fail("made a path of each part"))
    with pytest.raises(InvalidArgument, match="more than 100 conditions"):
        expressions.parse_expression(wide, {})
