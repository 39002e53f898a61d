"""Scenarios of the policies file: a name for a policy, filters and rules, for the lists of one page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from google.protobuf import json_format
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, StringConstraints, field_validator, model_validator

from fusion_gateway.catalog.attribute_file import MAX_NAME_BYTES
from fusion_gateway.catalog.attributes import BUILT_IN
from fusion_gateway.catalog.catalog import Catalog, Filters
from fusion_gateway.catalog.expression import Combination, Expression
from fusion_gateway.expressions import ROOT, parse_expression
from fusion_gateway.fusion import LOCAL, Count, Number
from fusion_gateway.ingest.checks import MAX_ID_BYTES
from fusion_gateway.parsing import MAX_RESULTS, parse_filters
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import InvalidArgument

MAX_PINS, MAX_BOOSTS, MAX_LIMITS = 100, 20, 10
"""Of a scenario: each costs every request."""
MAX_AMOUNT = 1e6
MAX_HALF_LIFE_DAYS = 36_500
FRESHNESS = "freshness"
"""The name of its contribution."""
Attribute = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_BYTES)]


def _filters(document: Any) -> Filters:
    message = _message(pb.Filters(), document)
    try:
        return parse_filters(message, BUILT_IN)
    except InvalidArgument as error:
        raise ValueError(str(error).removeprefix("filters.")) from None


def _condition(document: Any) -> Expression:
    message = _message(pb.Expression(), document)
    try:
        return parse_expression(message, BUILT_IN)
    except InvalidArgument as error:
        raise ValueError(str(error).removeprefix(ROOT).removeprefix(".").removeprefix(": ")) from None


def _message(empty: Any, document: Any) -> Any:
    try:
        return json_format.ParseDict(document, empty)
    except (json_format.ParseError, AttributeError, TypeError) as error:
        raise ValueError(f"is no {empty.DESCRIPTOR.name}: {error}") from None


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Pin(_Part):
    """Puts an item at a rank of every list, as long as it may be recommended to the user at all."""

    item: Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_BYTES)]
    rank: Count = Field(ge=1, le=MAX_RESULTS)


class Boost(_Part):
    """Adds `amount` to the fused score of the items of which `where` holds; a negative one buries them."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    amount: Number = Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT)
    where: Annotated[Any, PlainValidator(_condition)]
    """An Expression, as the JSON of a request has it."""

    @field_validator("amount")
    @classmethod
    def _changes_something(cls, amount: float) -> float:
        if amount == 0:
            raise ValueError("must not be 0")
        return amount


class AtMost(_Part):
    """So many items of a list may have the same value of an attribute, of which an item may have several values."""

    attribute: Attribute
    count: Count = Field(ge=1, le=MAX_RESULTS)


class Freshness(_Part):
    """Adds `amount` to the fused score of what is new, and half of it to what is `half_life_days` old."""

    half_life_days: Number = Field(gt=0, le=MAX_HALF_LIFE_DAYS)
    amount: Number = Field(gt=0, le=MAX_AMOUNT)
    attribute: Attribute = "year"
    """Since when the item is there: a number in unix seconds, or its year, which begins on January 1."""


class Scenario(_Part):
    """What a list is like, beside what the request says."""

    policy: str = ""
    """Empty: the user's own."""
    filters: Annotated[Filters, PlainValidator(_filters)] = Filters()
    """As the JSON of a request has them; items pass those of the request as well."""
    pin: Sequence[Pin] = Field(default=(), max_length=MAX_PINS)
    boost: Sequence[Boost] = Field(default=(), max_length=MAX_BOOSTS)
    at_most: Sequence[AtMost] = Field(default=(), max_length=MAX_LIMITS)
    freshness: Freshness | None = None
    new_share: Number = Field(default=0.0, ge=0, le=1)
    """Of the ranks, at least so many have items that nobody has watched, as far as there are some."""

    @model_validator(mode="after")
    def _names_are_there_once(self) -> Self:
        once: Mapping[str, Sequence[object]] = {
            "pin: item": [pin.item for pin in self.pin],
            "pin: rank": [pin.rank for pin in self.pin],
            "boost: name": [boost.name for boost in self.boost],
            "at_most: attribute": [limit.attribute for limit in self.at_most],
        }
        for what, values in once.items():
            if repeated := [value for value in values if values.count(value) > 1]:
                raise ValueError(f"{what} {repeated[0]!r} is there more than once")
        for boost in self.boost:
            if boost.name in (*LOCAL, FRESHNESS):
                raise ValueError(f"boost: name {boost.name!r} is that of another contribution; choose another")
        return self

    @property
    def orders(self) -> bool:
        """Whether lists have rules beside the score."""
        return bool(self.pin or self.at_most or self.new_share)

    @property
    def steers(self) -> bool:
        """Whether it does more than to name a policy and filters."""
        return bool(self.orders or self.boost or self.freshness)

    def unknown_names(self, where: str, catalog: Catalog) -> Iterator[pb.UnknownName]:
        """Genres and attributes that no item has; `where` is the scenario's field."""
        for field in ("genres_any", "genres_none"):
            names = [name for name in getattr(self.filters, field) if not catalog.knows_genre(name)]
            yield from (pb.UnknownName(field=f"{where}.filters.{field}", name=name) for name in names)
        named = [(f"{where}.at_most", limit.attribute) for limit in self.at_most]
        if self.freshness:
            named.append((f"{where}.freshness", self.freshness.attribute))
        if self.filters.expression:
            named += [(f"{where}.filters.expression", name) for name in _attributes(self.filters.expression)]
        for boost in self.boost:
            named += [(f"{where}.boost.{boost.name}", name) for name in _attributes(boost.where)]
        known = catalog.attributes.columns
        yield from (pb.UnknownName(field=field, name=name) for field, name in named if name not in known)


def _attributes(expression: Expression) -> Iterator[str]:
    """The name of each test's."""
    if not isinstance(expression, Combination):
        yield expression.attribute
        return
    for part in expression.parts:
        yield from _attributes(part)


NO_SCENARIO = Scenario()
