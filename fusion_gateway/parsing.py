"""From what a caller sent to what the gateway works with. Everything that is wrong with a request is found here."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fusion_gateway.catalog.attributes import BUILT_IN, Kind
from fusion_gateway.catalog.catalog import Filters
from fusion_gateway.catalog.rating_scale import RatingScale
from fusion_gateway.events.event_types import STANDARD, EventTypes
from fusion_gateway.events.stored_event import (
    MAX_EVENT_ID_BYTES,
    MAX_RECOMMENDATION_ID_BYTES,
    VIEW,
    StoredEvent,
)
from fusion_gateway.expressions import parse_expression
from fusion_gateway.fusion.popularity import FACETS, group_of
from fusion_gateway.ingest.checks import MAX_ID_BYTES
from fusion_gateway.ingest.times import MAX_TIME
from fusion_gateway.loop.ids import with_plausible_time
from fusion_gateway.ordering import ListConstraints
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.errors import InvalidArgument

MAX_EVENTS = 1000
MAX_RESULTS = 500
MAX_MATCHES = 100
MAX_ITEMS = 1000
MAX_USERS = 1000
MAX_GENRES = 100
MAX_FILTER_IDS = 10_000
MAX_WEIGHT = 1000.0
MAX_AGE = 130
MAX_SERVED_SECONDS = 365 * 86_400
MAX_IMAGE_BYTES = 3 << 20
"""Of an image file: with the rest of its message it stays below the limit of those."""

N = TypeVar("N", int, float)
D = TypeVar("D", int, float, None)


@dataclass(frozen=True)
class Query:
    """A checked RecommendRequest with its defaults filled in."""

    user_id: str
    history: Sequence[StoredEvent]
    """Given inline, oldest first; empty: use the stored one."""
    exclude_seen: bool
    filters: Filters
    liked_genres: Sequence[str]
    groups: Mapping[str, str]
    """Demographic facts of the profile: what was said of the user, by the name of the group."""
    policy: str
    weights: Mapping[str, float]
    constraints: ListConstraints
    explain: bool
    now: int
    """Unix seconds."""
    after: str = ""
    """Id of the page before."""
    exclude_served_seconds: int = 0
    scenario: str = ""


def parse_query(
    request: pb.RecommendRequest,
    scale: RatingScale | None = None,
    types: EventTypes = STANDARD,
    kinds: Mapping[str, Kind] = BUILT_IN,
    now: float | None = None,
) -> Query:
    """Raises InvalidArgument that names the field, what is wrong with it, and the limit; without a `scale` ratings have
    none. `kinds`: of the catalog's attributes. `now`: unix seconds; None: by the clock.
    """
    now = int(time.time() if now is None else now)
    check_length("user_id", request.user_id, minimum=0)
    check_length("policy", request.policy, minimum=0)
    check_length("scenario", request.scenario, minimum=0)
    _check_count("history", request.history, MAX_EVENTS)
    if request.profile.HasField("age"):
        _check_range("profile.age", request.profile.age, 0, MAX_AGE)
    check_length("profile.gender", request.profile.gender, minimum=0)
    check_length("profile.occupation", request.profile.occupation, minimum=0)
    check_length("profile.zip", request.profile.zip, minimum=0)
    check_texts("profile.liked_genres", request.profile.liked_genres, MAX_GENRES)
    check_length("after", request.after, 0, MAX_RECOMMENDATION_ID_BYTES)
    _check_range("exclude_served_seconds", request.exclude_served_seconds, 0, MAX_SERVED_SECONDS)
    if request.exclude_served_seconds and not request.user_id:
        raise InvalidArgument("exclude_served_seconds: requires a user_id, whose answers it is about")
    return Query(
        user_id=request.user_id,
        history=list(_history(request.history, now, scale, types)),
        exclude_seen=request.exclude_seen if request.HasField("exclude_seen") else True,
        filters=parse_filters(request.filters, kinds),
        liked_genres=tuple(request.profile.liked_genres),
        groups=_groups(request.profile),
        policy=request.policy,
        weights=parse_weights(request.weights),
        constraints=_constraints(request),
        explain=request.explain,
        now=now,
        after=request.after,
        exclude_served_seconds=request.exclude_served_seconds,
        scenario=request.scenario,
    )


def _constraints(request: pb.RecommendRequest) -> ListConstraints:
    return ListConstraints(
        k=_optional(request, "k", 10, 1, MAX_RESULTS),
        diversity=_optional(request, "diversity", 0.0, 0.0, 1.0),
        max_per_genre=_optional(request, "max_per_genre", None, 1, MAX_RESULTS),
        exploration=_optional(request, "exploration", 0.0, 0.0, 1.0),
        seed=request.seed % (1 << 64) if request.HasField("seed") else None,
    )


def _groups(profile: pb.Profile) -> dict[str, str]:
    said = {"age": profile.age if profile.HasField("age") else "", "gender": profile.gender.strip()}
    said["occupation"], said["zip"] = profile.occupation.strip(), profile.zip.strip()
    return {group_of(facet, said[facet]): f"{facet} {said[facet]}" for facet in FACETS if said[facet] != ""}


def parse_events(
    request: pb.RecordEventsRequest, scale: RatingScale | None = None, types: EventTypes = STANDARD
) -> Iterator[StoredEvent]:
    """The events to store, one after the other, for many take a while. Raises InvalidArgument."""
    now = int(time.time())
    if not request.events:
        raise InvalidArgument(f"events: at least 1 is needed, at most {MAX_EVENTS}")
    _check_count("events", request.events, MAX_EVENTS)
    for index, event in enumerate(request.events):
        try:
            check_length("user_id", event.user_id)
            check_length("event_id", event.event_id, minimum=0, maximum=MAX_EVENT_ID_BYTES)
            yield with_plausible_time(_event(event, now, scale, types), now)
        except InvalidArgument as error:
            raise InvalidArgument(f"events[{index}].{error}") from None


def parse_user_id(user_id: str) -> str:
    """Raises InvalidArgument when it is empty or too long."""
    check_length("user_id", user_id)
    return user_id


def parse_users(request: pb.ListUsersRequest) -> tuple[str, str]:
    """Prefix and page token. Raises InvalidArgument when one is too long."""
    check_length("prefix", request.prefix, minimum=0)
    return request.prefix, parse_page_token(request.page_token)


def parse_page_token(token: str) -> str:
    """Raises InvalidArgument when it is too long."""
    check_length("page_token", token, minimum=0)
    return token


def parse_item_ids(item_ids: Sequence[str]) -> Sequence[str]:
    """Raises InvalidArgument when there are none, too many, or one of a wrong length."""
    if not item_ids:
        raise InvalidArgument(f"item_ids: at least 1 is needed, at most {MAX_ITEMS}")
    check_texts("item_ids", item_ids, MAX_ITEMS)
    return item_ids


def parse_title(title: str) -> str:
    """Raises InvalidArgument when it is empty or too long."""
    if not 1 <= len(title) <= MAX_ID_BYTES:
        raise InvalidArgument(f"title: must have 1 to {MAX_ID_BYTES} characters, not {len(title)}")
    check_text("title", title)
    return title


def parse_image(image: bytes) -> bytes:
    """Raises InvalidArgument when it is empty or too large; whether it is an image is for whoever decodes it."""
    if not 1 <= len(image) <= MAX_IMAGE_BYTES:
        raise InvalidArgument(
            f"image: must have 1 to {MAX_IMAGE_BYTES} bytes, not {len(image)}; send a smaller picture"
        )
    return image


def parse_results(request: Any, field: str = "k", default: int = 10, maximum: int = MAX_RESULTS) -> int:
    """Number of results requested. Raises InvalidArgument."""
    return _optional(request, field, default, 1, maximum)


def parse_weights(weights: Mapping[str, float]) -> dict[str, float]:
    """Raises InvalidArgument for a weight outside 0 to MAX_WEIGHT."""
    for name, weight in weights.items():
        _check_range(f"weights.{name}", weight, 0.0, MAX_WEIGHT)
    return dict(weights)


def _history(
    events: Sequence[pb.Event], now: int, scale: RatingScale | None, types: EventTypes
) -> Iterator[StoredEvent]:
    """Those without a time are taken for the last ones, in their order."""
    for index, event in enumerate(events):
        try:
            yield _event(event, now - len(events) + index, scale, types)
        except InvalidArgument as error:
            raise InvalidArgument(f"history[{index}].{error}") from None


def _event(event: pb.Event, default_time: int, scale: RatingScale | None, types: EventTypes) -> StoredEvent:
    check_length("item_id", event.item_id)
    rating = event.rating if event.HasField("rating") else None
    if rating is not None and not math.isfinite(rating):
        raise InvalidArgument(f"rating: must be a finite number, not {rating}; leave it out when there is none")
    if rating is not None and scale and rating not in scale:
        raise InvalidArgument(
            f"rating: {rating:g} is not on the data's scale, {scale}; leave it out when there is none"
        )
    moment = _optional(event, "time", default_time, 0, MAX_TIME)
    kind = event.type or VIEW
    if kind not in types:
        raise InvalidArgument(f"type: there is no {kind[:MAX_ID_BYTES]!r}; there are {', '.join(types.names)}")
    check_length("recommendation_id", event.recommendation_id, 0, MAX_RECOMMENDATION_ID_BYTES)
    value = event.value if event.HasField("value") else None
    if value is not None and not math.isfinite(value):
        raise InvalidArgument(f"value: must be a finite number, not {value}; leave it out when there is none")
    return StoredEvent(
        user_id=event.user_id,
        item_id=event.item_id,
        rating=rating,
        time=moment,
        event_id=event.event_id,
        type=kind,
        recommendation_id=event.recommendation_id,
        value=value,
    )


def parse_filters(filters: pb.Filters, kinds: Mapping[str, Kind]) -> Filters:
    """`kinds`: of the attributes that there are. Raises InvalidArgument."""
    check_texts("filters.genres_any", filters.genres_any, MAX_GENRES)
    check_texts("filters.genres_none", filters.genres_none, MAX_GENRES)
    check_texts("filters.item_ids_in", filters.item_ids_in, MAX_FILTER_IDS)
    check_texts("filters.item_ids_out", filters.item_ids_out, MAX_FILTER_IDS)
    year_min = filters.year_min if filters.HasField("year_min") else None
    year_max = filters.year_max if filters.HasField("year_max") else None
    if year_min is not None and year_max is not None and year_min > year_max:
        raise InvalidArgument(f"filters.year_min: {year_min} is after filters.year_max, {year_max}")
    return Filters(
        genres_any=tuple(filters.genres_any),
        genres_none=tuple(filters.genres_none),
        year_min=year_min,
        year_max=year_max,
        ids_in=tuple(filters.item_ids_in),
        ids_out=tuple(filters.item_ids_out),
        expression=parse_expression(filters.expression, kinds) if filters.HasField("expression") else None,
    )


def _optional(message: Any, field: str, default: D, minimum: N, maximum: N) -> N | D:
    if not message.HasField(field):
        return default
    value: N = getattr(message, field)
    _check_range(field, value, minimum, maximum)
    return value


def _check_range(name: str, value: float, minimum: float, maximum: float) -> None:
    if not minimum <= value <= maximum:
        raise InvalidArgument(f"{name}: must be {minimum} to {maximum}, not {value}")


def _check_count(name: str, values: Sequence[object], maximum: int) -> None:
    if len(values) > maximum:
        raise InvalidArgument(f"{name}: {len(values)} are too many; at most {maximum}")


def check_texts(name: str, texts: Sequence[str], maximum: int) -> None:
    """At most so many, each with the length of an id. Raises InvalidArgument."""
    _check_count(name, texts, maximum)
    for index, text in enumerate(texts):
        check_length(f"{name}[{index}]", text)


def check_length(name: str, text: str, minimum: int = 1, maximum: int = MAX_ID_BYTES) -> None:
    """In bytes. Raises InvalidArgument."""
    if not minimum <= (size := len(text.encode())) <= maximum:
        raise InvalidArgument(f"{name}: must have {minimum} to {maximum} bytes, not {size}")
    check_text(name, text)


def check_text(name: str, text: str) -> None:
    """Raises InvalidArgument."""
    if "\0" in text:  # which PostgreSQL does not store
        raise InvalidArgument(f"{name}: must not hold NUL, the character 0")
