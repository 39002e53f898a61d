"""What can be named in calls: users of the event store; genres, genders and occupations of the published versions."""

from collections.abc import Collection, Iterable
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa

from fusion_gateway.catalog.catalog import Catalog, open_catalog
from fusion_gateway.catalog.popularity_file import load_popularity
from fusion_gateway.events.schema import EVENTS
from fusion_gateway.events.snapshot import existing_columns, read_parts
from fusion_gateway.expressions import leaves_of
from fusion_gateway.fusion.popularity import group_of
from protos.marquee.v1 import recommender_pb2 as pb
from servers.runtime.repository import Repository


class User(NamedTuple):
    """Of whom events are stored."""

    id: str
    events: int
    newest: int
    """Unix seconds."""


async def users_of(url: str, limit: int) -> list[User]:
    """Those of an event store with the most events, at most `limit`. Raises ConfigurationError."""
    return [User._make(row) async for part in read_parts(url, partial(_users, limit)) for row in part]


def _users(limit: int, connection: sa.Connection) -> sa.Select[Any]:
    existing_columns(connection, EVENTS.name)
    user, events = EVENTS.c.user_id, sa.func.count()
    found = sa.select(user, events, sa.func.max(EVENTS.c.time)).group_by(user)
    return found.order_by(events.desc(), user).limit(limit)


def names_in(repository: Repository) -> dict[str, list[str]]:
    """What filters and profiles know, by its kind. Blocking. Raises RepositoryError."""
    catalog = open_catalog(repository.latest("catalog"))
    groups = load_popularity(repository.latest("fusion")).lifts
    return {
        "genre": catalog.genre_names,
        "gender": values_of("gender", groups),
        "occupation": values_of("occupation", groups),
    }


def unknown_names(request: pb.RecommendRequest, catalog: Catalog, groups: Collection[str]) -> list[pb.UnknownName]:
    """What the filters and the profile name that there is not. `groups` are demographic, such as "gender=f"."""
    filters, profile = request.filters, request.profile
    genres = [("filters.genres_any", name) for name in filters.genres_any]
    genres += [("filters.genres_none", name) for name in filters.genres_none]
    genres += [("profile.liked_genres", name) for name in profile.liked_genres]
    facts = {"gender": profile.gender.strip(), "occupation": profile.occupation.strip()}
    unknown = [named for named in genres if not catalog.knows_genre(named[1])]
    unknown += [
        (f"profile.{fact}", name) for fact, name in facts.items() if name and group_of(fact, name) not in groups
    ]
    unknown += [
        (f"{path}.attribute", test.attribute)
        for path, test in leaves_of(filters.expression)
        if test.attribute not in catalog.attributes.columns
    ]
    return [pb.UnknownName(field=field, name=name) for field, name in unknown]


def values_of(facet: str, groups: Iterable[str]) -> list[str]:
    """Of a demographic facet, among groups such as "gender=f"."""
    return sorted(group.removeprefix(f"{facet}=") for group in groups if group.startswith(f"{facet}="))
