"""Items as editors see them: what is published, what was said since, and what comes of both."""

from fusion_gateway.catalog.catalog import Catalog
from fusion_gateway.catalog.facts import Facts
from fusion_gateway.items.documents import document_of, facts_over, fields_of
from fusion_gateway.items.store import StoredItem
from fusion_gateway.items.view import seen_between
from protos.marquee.v1 import items_pb2 as pb
from protos.marquee.v1.recommender_pb2 import Item


def item_of(stored: StoredItem, published: Catalog, now: float) -> pb.CatalogItem:
    """At unix seconds; whether it has a poster is for the caller to say."""
    row, fields = published.row_of(stored.id), fields_of(stored.document)
    facts = facts_over(fields, Facts() if row is None else published.facts(row))
    starts, ends = seen_between(stored, fields)
    return pb.CatalogItem(
        item=_shown(stored.id, facts),
        state=state_of(stored, published),
        visible=row is not None and starts <= now < ends,
        document=document_of(stored.id, stored.document) if stored.document else None,
        version=stored.version,
        hidden=stored.hidden,
        hidden_reason=stored.hidden_reason,
        hidden_until=stored.hidden_until,
        refused_reason=stored.refused,
        update_time=stored.updated or None,
    )


def change_of(stored: StoredItem, published: Catalog) -> pb.ItemChange:
    return pb.ItemChange(id=stored.id, version=stored.version, state=state_of(stored, published))


def state_of(stored: StoredItem, published: Catalog) -> pb.ItemState.ValueType:
    if stored.deleted:
        return pb.ITEM_STATE_DELETED
    if published.row_of(stored.id) is not None:
        return pb.ITEM_STATE_ONBOARDED
    if stored.refused:
        return pb.ITEM_STATE_REFUSED
    return pb.ITEM_STATE_PENDING if stored.document else pb.ITEM_STATE_UNKNOWN


def _shown(item_id: str, facts: Facts) -> Item:
    return Item(
        id=item_id,
        title=facts.title,
        year=facts.year,
        genres=facts.genres,
        director=facts.director,
        poster_url=facts.poster,
    )
