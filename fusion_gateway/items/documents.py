"""What an editor says of an item: checked, as it is stored, and over what is published."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf import json_format

from fusion_gateway.catalog.attribute_file import MAX_NAME_BYTES, MAX_TEXT_CHARACTERS, MAX_TEXTS
from fusion_gateway.catalog.attributes import BUILT_IN, Kind, Value
from fusion_gateway.catalog.catalog import MAX_CAST, MAX_CHARACTERS, MAX_GENRE_CHARACTERS, MAX_GENRES, Catalog
from fusion_gateway.catalog.facts import Facts
from fusion_gateway.ingest.checks import MAX_ID_BYTES
from fusion_gateway.ingest.columns import RECBOLE_TYPE
from fusion_gateway.ingest.times import MAX_TIME
from fusion_gateway.parsing import check_text
from protos.marquee.v1 import items_pb2 as pb
from servers.runtime.errors import InvalidArgument
from servers.runtime.images import check_images
from servers.runtime.quoting import quoted

MAX_ITEMS = 1000
"""Of a call."""
MAX_DOCUMENT_BYTES = 64 << 10
"""Of an item without its poster."""
MAX_POSTER_BYTES = 3 << 20
MAX_YEAR = 9999
MAX_NAMES, MAX_NAME_CHARACTERS = 100, 256
"""Of keywords, and of an actor or a keyword."""
MAX_ATTRIBUTES = 100
"""Of an item."""
TEXTS = {
    "title": MAX_CHARACTERS["title"],
    "director": MAX_CHARACTERS["director"],
    "overview": 10_000,
    "poster_url": MAX_CHARACTERS["poster"],
}
"""Maximum number of characters of fields that are texts."""
LISTS = {
    "genres": (MAX_GENRES, MAX_GENRE_CHARACTERS),
    "cast": (MAX_CAST, MAX_NAME_CHARACTERS),
    "keywords": (MAX_NAMES, MAX_NAME_CHARACTERS),
}
"""Maximum number of texts of a field, and of characters of each."""
CLEARABLE = ("year", "genres", "director", "cast", "keywords", "overview", "poster_url")
SHOWN = {name: {"poster": "poster_url"}.get(name, name) for name in Facts._fields}
"""Field of a document that says each of the facts."""
NOTHING = Facts()


class Upsert(NamedTuple):
    """A document that has been checked."""

    id: str
    document: str
    """JSON."""
    poster: bytes | None
    kinds: Mapping[str, Kind]
    """Of its attributes, by their names."""


def parse_upserts(request: pb.UpsertItemsRequest, published: Catalog) -> list[Upsert]:
    """Blocking: posters are decoded. Raises InvalidArgument that names the field, what is wrong, and the limit."""
    if not 1 <= len(request.items) <= MAX_ITEMS:
        raise InvalidArgument(f"items: must be 1 to {MAX_ITEMS}, not {len(request.items)}")
    seen: set[str] = set()
    for index, item in enumerate(request.items):
        where = f"items[{index}]"
        _check_document(item, where)
        if item.id in seen:
            raise InvalidArgument(f"{where}.id: {quoted(item.id)} is in the call already; send each id once")
        seen.add(item.id)
        if not item.HasField("title") and published.row_of(item.id) is None:
            raise InvalidArgument(f"{where}.title: is needed, for no item {quoted(item.id)} is published")
    posters = {f"items[{index}].poster": item.poster for index, item in enumerate(request.items) if item.poster}
    check_images(posters, "items: poster")
    return [_upsert(item) for item in request.items]


def _upsert(item: pb.ItemDocument) -> Upsert:
    stored = pb.ItemDocument()
    stored.CopyFrom(item)
    stored.ClearField("id")
    stored.ClearField("poster")
    document = json_format.MessageToDict(stored, preserving_proto_field_name=True)
    kinds = {name: kind for name, value in item.attributes.items() if (kind := value.WhichOneof("value"))}
    return Upsert(item.id, json.dumps(document, ensure_ascii=False), item.poster or None, kinds)


def document_of(item_id: str, stored: str) -> pb.ItemDocument:
    """As it was upserted, without the poster."""
    document = pb.ItemDocument(id=item_id)
    # Fields of a newer gateway that uses the same database are skipped.
    json_format.Parse(stored, document, ignore_unknown_fields=True)
    return document


def check_stored(document: pb.ItemDocument, poster: bytes) -> None:
    """Once more before it is published: limits may be others than when it was stored. Raises InvalidArgument."""
    _check_document(document, "item")
    if poster:
        check_images({"item.poster": poster}, "item.poster")


def _check_document(item: pb.ItemDocument, where: str) -> None:
    if not 1 <= (size := len(item.id.encode())) <= MAX_ID_BYTES:
        raise InvalidArgument(f"{where}.id: must have 1 to {MAX_ID_BYTES} bytes, not {size}")
    if (size := len(item.poster)) > MAX_POSTER_BYTES:
        raise InvalidArgument(f"{where}.poster: has {size} bytes; at most {MAX_POSTER_BYTES}")
    if (size := item.ByteSize() - len(item.poster)) > MAX_DOCUMENT_BYTES:
        raise InvalidArgument(f"{where}: has {size} bytes; at most {MAX_DOCUMENT_BYTES}, without its poster")
    if item.HasField("poster") and not item.poster:
        raise InvalidArgument(f"{where}.poster: is empty; leave it out where there is none")
    check_text(f"{where}.id", item.id)
    for field, maximum in TEXTS.items():
        if item.HasField(field):  # type: ignore[arg-type]
            _check_text(f"{where}.{field}", getattr(item, field), maximum)
    for field, (count, characters) in LISTS.items():
        _check_texts(f"{where}.{field}", getattr(item, field), count, characters)
    if item.HasField("year") and not 1 <= item.year <= MAX_YEAR:
        raise InvalidArgument(f"{where}.year: must be 1 to {MAX_YEAR}, not {item.year}")
    _check_availability(item, where)
    _check_attributes(item, where)
    _check_clear(item, where)


def _check_availability(item: pb.ItemDocument, where: str) -> None:
    for field, moment in (("available_from", item.available_from), ("available_until", item.available_until)):
        if not 0 <= moment <= MAX_TIME:
            raise InvalidArgument(f"{where}.{field}: must be 0 to {MAX_TIME}, not {moment}")
    if item.HasField("available_until") and item.available_until < item.available_from:
        raise InvalidArgument(
            f"{where}.available_until: {item.available_until} is before available_from, {item.available_from}"
        )


def _check_attributes(item: pb.ItemDocument, where: str) -> None:
    if (count := len(item.attributes)) > MAX_ATTRIBUTES:
        raise InvalidArgument(f"{where}.attributes: {count} are too many; at most {MAX_ATTRIBUTES} of an item")
    for name, value in sorted(item.attributes.items()):
        named = f"{where}.attributes[{quoted(name)}]"
        if not 1 <= (size := len(name.encode())) <= MAX_NAME_BYTES:
            raise InvalidArgument(f"{named}: the name must have 1 to {MAX_NAME_BYTES} bytes, not {size}")
        check_text(named, name)
        if name != name.strip() or RECBOLE_TYPE.search(name):
            raise InvalidArgument(f"{named}: the name must not begin or end with a blank, or end with a type of a file")
        if name in BUILT_IN:
            raise InvalidArgument(f"{named}: is a field of the item; set that, or choose another name")
        match value.WhichOneof("value"):
            case "text":
                _check_text(named, value.text, MAX_TEXT_CHARACTERS, minimum=0)
            case "number":
                if not math.isfinite(value.number):
                    raise InvalidArgument(f"{named}: must be a finite number, not {value.number}")
            case "texts":
                _check_texts(named, value.texts.values, MAX_TEXTS, MAX_TEXT_CHARACTERS)
            case _:
                raise InvalidArgument(f"{named}: needs one of text, number and texts")


def _check_clear(item: pb.ItemDocument, where: str) -> None:
    given = {field.name for field, _ in item.ListFields()}
    for field in item.clear:
        if field not in CLEARABLE:
            names = ", ".join(CLEARABLE)
            raise InvalidArgument(f"{where}.clear: {quoted(field)} is not one of {names}")
        if field in given:
            raise InvalidArgument(f"{where}.clear: {field} is given a value, too; leave one of them out")


def _check_texts(name: str, texts: Sequence[str], maximum: int, characters: int) -> None:
    if len(texts) > maximum:
        raise InvalidArgument(f"{name}: {len(texts)} are too many; at most {maximum}")
    for index, text in enumerate(texts):
        _check_text(f"{name}[{index}]", text, characters)


def _check_text(name: str, text: str, maximum: int, minimum: int = 1) -> None:
    if len(text) > maximum:
        raise InvalidArgument(f"{name}: has {len(text)} characters; at most {maximum}")
    if len(text.strip()) < minimum:
        raise InvalidArgument(f"{name}: is blank; leave it out, or name it in clear")
    check_text(name, text)


def fields_of(stored: str) -> dict[str, Any]:
    """The stored document as JSON has it; empty where nothing was upserted."""
    fields: dict[str, Any] = json.loads(stored) if stored else {}
    return fields


def attributes_of(stored: str) -> Collection[str]:
    """Names of the attributes of a stored document."""
    names: Mapping[str, Any] = fields_of(stored).get("attributes", {})
    return names.keys()


def facts_over(fields: Mapping[str, Any], published: Facts) -> Facts:
    """What a stored document shows of an item of which this is published."""
    cleared = fields.get("clear", ())
    shown = {name: fields[field] for name, field in SHOWN.items() if field in fields}
    empty = {name: getattr(NOTHING, name) for name, field in SHOWN.items() if field in cleared}
    return published._replace(**shown, **empty)


def values_over(fields: Mapping[str, Any], shown: Facts, published: Facts) -> dict[str, Value | None]:
    """Of the attributes that a stored document changes, the built-in ones among them."""
    said = {name: _value(value) for name, value in fields.get("attributes", {}).items()}
    other = [name for name in Facts._fields if name in BUILT_IN and getattr(shown, name) != getattr(published, name)]
    return {**said, **{name: _built_in(getattr(shown, name)) for name in other}}


def _value(stored: Mapping[str, Any]) -> Value:
    if "texts" in stored:
        return tuple(stored["texts"].get("values", ()))
    return str(stored["text"]) if "text" in stored else float(stored["number"])


def _built_in(fact: str | int | Sequence[str]) -> Value | None:
    """None for what stands for no value."""
    if not fact:
        return None
    return fact if isinstance(fact, str) else float(fact) if isinstance(fact, int) else tuple(fact)
