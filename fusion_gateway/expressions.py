"""Expressions of filters, from what a caller sent to what the catalog evaluates."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fusion_gateway.catalog.attribute_file import MAX_NAME_BYTES, MAX_TEXT_CHARACTERS
from fusion_gateway.catalog.attributes import Kind
from fusion_gateway.catalog.expression import Combination, Expression, NumberTest, Quantifier, TextTest
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import InvalidArgument

MAX_DEPTH = 8
MAX_CONDITIONS = 100
MAX_VALUES = 1000
ROOT = "filters.expression"
CONDITIONS = tuple(field.name for field in pb.Expression.DESCRIPTOR.fields)
QUANTIFIERS: Mapping[str, Quantifier] = {"all": "all", "any": "any", "none": "none"}
SPOKEN: Mapping[Kind, str] = {"text": "a text", "texts": "a list of texts", "number": "a number"}
TESTS: Mapping[Kind, tuple[str, ...]] = {
    "text": ("equals.text", "one_of"),
    "texts": ("contains", "one_of"),
    "number": ("equals.number", "range"),
}
"""What an attribute of each kind can be tested by."""


def parse_expression(message: pb.Expression, kinds: Mapping[str, Kind]) -> Expression:
    """`kinds`: of the attributes that there are, by name.

    Raises InvalidArgument that names the path, the attribute and the limit.
    """
    _check_size(message)
    return _parse(message, ROOT, kinds)


def leaves_of(message: pb.Expression, path: str = ROOT) -> Iterator[tuple[str, Any]]:
    """Every test, with its path, such as filters.expression.all.of[0].equals."""
    name = message.WhichOneof("condition")
    if name in QUANTIFIERS:
        for where, part in _parts(message, path):
            yield from leaves_of(part, where)
    elif name:
        yield f"{path}.{name}", getattr(message, name)


def _parts(message: pb.Expression, path: str) -> list[tuple[str, pb.Expression]]:
    """Path and expression of what a condition combines; none of a test."""
    name = message.WhichOneof("condition")
    return [(f"{path}.{name}.of[{index}]", part) for index, part in enumerate(_of(message))]


def _of(message: pb.Expression) -> Sequence[pb.Expression]:
    """What a condition combines; none of a test."""
    name = message.WhichOneof("condition")
    return getattr(message, name).of if name and name in QUANTIFIERS else ()


def _check_size(message: pb.Expression) -> None:
    """One level after the other, so that nothing deep is ever entered."""
    level, conditions = [(ROOT, message)], 1
    for _ in range(MAX_DEPTH):
        # Counted before anything is made of each: a hundred thousand of them are a small message.
        conditions += sum(len(_of(each)) for _, each in level)
        if conditions > MAX_CONDITIONS:
            raise InvalidArgument(f"{ROOT}: more than {MAX_CONDITIONS} conditions; use one_of for several texts")
        level = [part for path, each in level for part in _parts(each, path)]
    if level:
        raise InvalidArgument(f"{ROOT}: more than {MAX_DEPTH} levels, at {level[0][0]}")
    values = sum(len(test.texts) for _, test in leaves_of(message) if isinstance(test, pb.OneOfTest))
    if values > MAX_VALUES:
        raise InvalidArgument(f"{ROOT}: {values} texts are too many; at most {MAX_VALUES}")


def _parse(message: pb.Expression, path: str, kinds: Mapping[str, Kind]) -> Expression:
    name = message.WhichOneof("condition")
    if name is None:
        raise InvalidArgument(f"{path}: one of {', '.join(CONDITIONS)} is needed")
    if name not in QUANTIFIERS:
        return _test(getattr(message, name), f"{path}.{name}", kinds)
    parts = tuple(_parse(part, where, kinds) for where, part in _parts(message, path))
    if not parts:
        raise InvalidArgument(f"{path}.{name}.of: at least 1 is needed")
    return Combination(QUANTIFIERS[name], parts)


def _test(test: Any, path: str, kinds: Mapping[str, Kind]) -> Expression:
    name = test.attribute
    if not 1 <= (size := len(name.encode())) <= MAX_NAME_BYTES:
        raise InvalidArgument(f"{path}.attribute: must have 1 to {MAX_NAME_BYTES} bytes, not {size}")
    if isinstance(test, pb.RangeTest):
        _check_kind(name, path, kinds, "number")
        return NumberTest(name, *_bounds(test, path))
    if isinstance(test, pb.EqualsTest) and test.WhichOneof("value") == "number":
        _check_kind(name, path, kinds, "number")
        _check_finite(f"{path}.number", name, test.number)
        return NumberTest(name, test.number, test.number)
    return _text_test(test, path, kinds)


def _text_test(test: pb.EqualsTest | pb.OneOfTest | pb.ContainsTest, path: str, kinds: Mapping[str, Kind]) -> TextTest:
    if isinstance(test, pb.OneOfTest):
        _check_kind(test.attribute, path, kinds, "text", "texts")
        texts, field = tuple(test.texts), "texts"
    else:
        _check_kind(test.attribute, path, kinds, "texts" if isinstance(test, pb.ContainsTest) else "text")
        texts, field = (test.text,), "text"
    if not texts:
        raise InvalidArgument(f"{path}.texts: at least 1 is needed for {test.attribute!r}")
    for text in texts:
        if not 1 <= (size := len(text)) <= MAX_TEXT_CHARACTERS:
            limit = f"must have 1 to {MAX_TEXT_CHARACTERS} characters"
            raise InvalidArgument(f"{path}.{field}: a text for {test.attribute!r} {limit}, not {size}")
    return TextTest(test.attribute, texts)


def _bounds(test: pb.RangeTest, path: str) -> tuple[float, float]:
    given = [bound for bound in ("min", "max") if test.HasField(bound)]
    for bound in given:
        _check_finite(f"{path}.{bound}", test.attribute, getattr(test, bound))
    if not given:
        raise InvalidArgument(f"{path}: min, max or both are needed for {test.attribute!r}")
    low = test.min if "min" in given else -math.inf
    high = test.max if "max" in given else math.inf
    if low > high:
        raise InvalidArgument(f"{path}: min {low:g} is above max {high:g} for {test.attribute!r}")
    return low, high


def _check_finite(path: str, name: str, value: float) -> None:
    if not math.isfinite(value):
        raise InvalidArgument(f"{path}: must be a finite number for {name!r}, not {value}")


def _check_kind(name: str, path: str, kinds: Mapping[str, Kind], *fitting: Kind) -> None:
    """An attribute that no item has fits every test."""
    kind = kinds.get(name, fitting[0])
    if kind not in fitting:
        hint = f"use {' or '.join(TESTS[kind])}"
        raise InvalidArgument(f"{path}: {name!r} is {SPOKEN[kind]}; {hint}")
