"""How much a message would cost to parse, from its bytes alone: each of its fields becomes an object.

The wire format: https://protobuf.dev/programming-guides/encoding/
"""

import mmap
from collections.abc import Mapping
from functools import cache

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

MIN_FIELD_BYTES = 2
"""A tag and a length or a value."""
MAX_VARINT_BYTES = 10
VARINT, FIXED64, WITH_LENGTH, GROUP, GROUP_END, FIXED32 = 0, 1, 2, 3, 4, 5
FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
Buffer = bytes | mmap.mmap


def has_more_fields(content: bytes, kind: Descriptor, limit: int) -> bool:
    """Whether a message has more than `limit` fields, those of its parts included; looks no further than that.

    A packed list is one field. Raises DecodeError for what is no such message, though not for all of it.
    """
    if len(content) <= MIN_FIELD_BYTES * limit:
        return False
    try:
        return _count(content, kind, limit) > limit
    except IndexError:
        raise DecodeError("the message ends within a field") from None


def _count(content: bytes, kind: Descriptor, limit: int) -> int:
    """At most limit + 1. Calls only where a number has several bytes: there may be a hundred thousand fields."""
    at, end, parts, group, count = 0, len(content), _parts(kind), 0, 0
    outer: list[tuple[int, Mapping[int, Descriptor], int]] = []
    while count <= limit:
        if at >= end:
            if group:
                raise DecodeError("a group has no end")
            if not outer:
                break
            end, parts, group = outer.pop()
            continue
        count += 1
        tag, at = content[at], at + 1
        if tag > 127:
            tag, at = varint(content, at - 1)
        wire_type = tag & 7
        if wire_type == WITH_LENGTH:
            size, at = content[at], at + 1
            if size > 127:
                size, at = varint(content, at - 1)
            part = parts.get(tag >> 3)
            if part is None or not size:
                at += size
            else:
                outer.append((end, parts, group))
                end, parts, group = at + size, _parts(part), 0
        elif wire_type == VARINT:
            _, at = varint(content, at)
        elif wire_type in FIXED_BYTES:
            at += FIXED_BYTES[wire_type]
        elif wire_type == GROUP:  # no message of ours has one, so that it is unknown, and all in it
            outer.append((end, parts, group))
            parts, group = {}, tag >> 3
        elif wire_type == GROUP_END and group == tag >> 3:
            end, parts, group = outer.pop()
            count -= 1
        else:
            raise DecodeError("a field has no type that there is, or ends no group")
    return count


@cache
def _parts(kind: Descriptor) -> Mapping[int, Descriptor]:
    """The types of those fields that are messages, by number."""
    return {field.number: field.message_type for field in kind.fields if field.message_type}


def varint(content: Buffer, at: int) -> tuple[int, int]:
    """The number that begins there, and where it ends."""
    value = 0
    for index in range(MAX_VARINT_BYTES):
        byte = content[at + index]
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, at + index + 1
    raise DecodeError("a number has more than ten bytes")
