"""What the gateway reads from the model repository, and reads anew when a newer version is published."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from fusion_gateway.catalog.catalog import open_catalog
from fusion_gateway.catalog.popularity_file import load_popularity
from fusion_gateway.catalog.title_search import TitleIndex
from fusion_gateway.policies import Policies, load_policies
from fusion_gateway.reloading import Reloaded, newest_usable
from fusion_gateway.scorers.popularity import PopularityScorer
from fusion_gateway.settings import GatewaySettings
from servers.runtime.files import stamp_of
from servers.runtime.repository import Repository, Version

V = TypeVar("V")


def titles_of(repository: Repository) -> Reloaded[TitleIndex]:
    """Of the newest catalog."""

    def read(version: Version) -> TitleIndex:
        return TitleIndex(open_catalog(version))

    return _published(repository, "catalog", "catalog", read)


def policies_of(repository: Repository, settings: GatewaySettings) -> Reloaded[Policies]:
    """From the file, or else from the newest published version."""
    path, types = settings.policies, settings.event_types()
    if path:
        return Reloaded("policies", partial(stamp_of, path), partial(load_policies, path, types=types))

    def read(version: Version) -> Policies:
        return load_policies(version.file("policies.yaml"), version.number, types)

    return _published(repository, "policies", "fusion", read)


def popularity_of(repository: Repository) -> Reloaded[PopularityScorer]:
    """That of the newest published version, also where the policies are a file's."""

    def read(version: Version) -> PopularityScorer:
        return PopularityScorer(load_popularity(version), version.number)

    return _published(repository, "popularity", "fusion", read)


def _published(repository: Repository, what: str, model: str, read: Callable[[Version], V]) -> Reloaded[V]:
    """From the newest version of `model` that can be used."""
    stamp = partial(repository.stamps, model)
    return Reloaded(what, stamp, partial(newest_usable, repository, model, read))
