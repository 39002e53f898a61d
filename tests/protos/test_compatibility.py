"""What clients of the last released version send and read is still understood.

`make released` writes the protos' descriptors to released.binpb when a version is tagged.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

ROOT = Path(__file__).parents[2]
FOLDER = Path("protos/marquee/v1")
RELEASED = FOLDER / "released.binpb"
D = TypeVar("D")


def described(root: Path) -> FileDescriptorSet:
    """The protos below `root` as they are now."""
    protos = sorted(str(file.relative_to(root)) for file in (root / FOLDER).glob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--descriptor_set_out=/dev/stdout", *protos]
    return FileDescriptorSet.FromString(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout)


def breaking_changes(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """What of `old` is gone or means something else in `new`; empty where every old client still works."""
    return [
        *compared(messages(old), messages(new), changed_message),
        *compared(enums(old), enums(new), changed_enum),
        *compared(services(old), services(new), changed_service),
    ]


def compared(
    old: Mapping[str, D],
    new: Mapping[str, D],
    changed: Callable[[D, D], Iterator[str]],
) -> Iterator[str]:
    for name, definition in old.items():
        problems = changed(definition, new[name]) if name in new else ["is gone"]
        for problem in problems:
            yield f"{name}: {problem}"


def messages(files: FileDescriptorSet) -> dict[str, DescriptorProto]:
    """By full name, nested ones included."""

    def below(scope: str, level: Iterable[DescriptorProto]) -> Iterator[tuple[str, DescriptorProto]]:
        for message in level:
            name = f"{scope}.{message.name}"
            yield name, message
            yield from below(name, message.nested_type)

    return dict(chain.from_iterable(below(file.package, file.message_type) for file in files.file))


def enums(files: FileDescriptorSet) -> dict[str, EnumDescriptorProto]:
    found = {}
    scopes: list[tuple[str, FileDescriptorProto | DescriptorProto]] = [(file.package, file) for file in files.file]
    for scope, definition in [*scopes, *messages(files).items()]:
        for enum in definition.enum_type:
            found[f"{scope}.{enum.name}"] = enum
    return found


def services(files: FileDescriptorSet) -> dict[str, ServiceDescriptorProto]:
    return {f"{file.package}.{service.name}": service for file in files.file for service in file.service}


def changed_message(old: DescriptorProto, new: DescriptorProto) -> Iterator[str]:
    """Reserved ranges of messages end before `end`."""
    now = {field.number: field for field in new.field}
    reserved = numbers_in(new.reserved_range, 0)
    for field in old.field:
        if field.number in now:
            if meaning(old, field) != meaning(new, now[field.number]):
                yield f"field {field.number}, {field.name}, has another name, type or label"
        elif field.number not in reserved or field.name not in new.reserved_name:
            yield f"field {field.number}, {field.name}, is gone, and its number and name are not reserved"
    was_reserved = numbers_in(old.reserved_range, 0)
    yield from no_longer_reserved(was_reserved - reserved, set(old.reserved_name) - set(new.reserved_name))


def meaning(message: DescriptorProto, field: FieldDescriptorProto) -> tuple[object, ...]:
    """What generated code, the wire and JSON depend on."""
    group = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    return field.name, field.json_name, field.type, field.type_name, field.label, field.proto3_optional, group


def changed_enum(old: EnumDescriptorProto, new: EnumDescriptorProto) -> Iterator[str]:
    """Reserved ranges of enums include `end`."""
    now = {value.number: value.name for value in new.value}
    reserved = numbers_in(new.reserved_range, 1)
    for value in old.value:
        if value.number in now:
            if value.name != now[value.number]:
                yield f"value {value.number} is {now[value.number]}, and was {value.name}"
        elif value.number not in reserved or value.name not in new.reserved_name:
            yield f"value {value.number}, {value.name}, is gone, and its number and name are not reserved"
    was_reserved = numbers_in(old.reserved_range, 1)
    yield from no_longer_reserved(was_reserved - reserved, set(old.reserved_name) - set(new.reserved_name))


def numbers_in(spans: Iterable[Any], beyond_end: int) -> set[int]:
    return set(chain.from_iterable(range(span.start, span.end + beyond_end) for span in spans))


def no_longer_reserved(numbers: set[int], names: set[str]) -> Iterator[str]:
    if numbers or names:
        yield f"{', '.join(map(str, [*sorted(numbers), *sorted(names)]))} must stay reserved"


def changed_service(old: ServiceDescriptorProto, new: ServiceDescriptorProto) -> Iterator[str]:
    now = {method.name: method for method in new.method}
    for method in old.method:
        if method.name not in now:
            yield f"{method.name} is gone"
        elif signature(method) != signature(now[method.name]):
            yield f"{method.name} takes or returns something else"


def signature(method: MethodDescriptorProto) -> list[object]:
    names = ("input_type", "output_type", "client_streaming", "server_streaming")
    return [getattr(method, name) for name in names]


def test_nothing_breaks_clients_of_the_released_version() -> None:
    released = FileDescriptorSet.FromString((ROOT / RELEASED).read_bytes())
    assert breaking_changes(released, described(ROOT)) == []


RELEASE = """syntax = "proto3";
package marquee.v1;
service S { rpc Ask(Request) returns (Reply); rpc Tell(Request) returns (Reply); }
message Request { reserved 9; string title = 1; repeated int32 number = 2; oneof query { string id = 3; } }
message Reply { Kind kind = 1; map<string, int32> versions = 2; message Inner { bool exact = 1; } }
enum Kind { KIND_UNSPECIFIED = 0; KIND_FIRST = 1; }
"""
CHANGES = [
    ("string title = 1", "string title = 4", "Request: field 1, title, is gone"),
    ("string title = 1", "string name = 1", "Request: field 1, title, has another name"),
    ("string title = 1", "bytes title = 1", "Request: field 1, title, has another name, type"),
    ("string title = 1", "optional string title = 1", "Request: field 1, title, has another"),
    ("string title = 1;", "", "Request: field 1, title, is gone"),
    ("string title = 1;", "reserved 1;", "Request: field 1, title, is gone"),
    ("repeated int32", "int32", "Request: field 2, number, has another name, type or label"),
    ("oneof query { string id = 3; }", "string id = 3;", "Request: field 3, id, has another"),
    ("reserved 9;", "", "Request: 9 must stay reserved"),
    ("map<string, int32>", "map<string, int64>", "Reply.VersionsEntry: field 2, value, has another"),
    ("bool exact = 1", "bool exact = 2", "Reply.Inner: field 1, exact, is gone"),
    ("message Inner { bool exact = 1; }", "", "Reply.Inner: is gone"),
    ("KIND_FIRST = 1", "KIND_FIRST = 2", "Kind: value 1, KIND_FIRST, is gone"),
    ("KIND_FIRST", "KIND_ONE", "Kind: value 1 is KIND_ONE, and was KIND_FIRST"),
    ("rpc Tell(Request) returns (Reply);", "", "S: Tell is gone"),
    ("rpc Tell(Request)", "rpc Tell(Reply)", "S: Tell takes or returns something else"),
    ("rpc Tell(Request) returns (", "rpc Tell(Request) returns (stream ", "S: Tell takes or returns"),
]


def release(folder: Path, source: str) -> FileDescriptorSet:
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    (folder / FOLDER / "s.proto").write_text(source)
    return described(folder)


@pytest.mark.parametrize(("old", "new", "problem"), CHANGES)
def test_a_breaking_change_is_noticed(tmp_path: Path, old: str, new: str, problem: str) -> None:
    before, after = release(tmp_path, RELEASE), release(tmp_path, RELEASE.replace(old, new))
    [found] = breaking_changes(before, after)
    assert re.fullmatch(rf"marquee\.v1\.{re.escape(problem)}.*", found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("reserved 9;", "reserved 9; bool more = 10;"),
        ("string title = 1;", 'reserved 1; reserved "title";'),
        ("KIND_FIRST = 1;", "KIND_FIRST = 1; KIND_SECOND = 2;"),
        ("service S {", "service Other { rpc Ask(Request) returns (Reply); } service S {"),
    ],
)
def test_an_addition_and_a_reserved_removal_break_nothing(tmp_path: Path, old: str, new: str) -> None:
    before, after = release(tmp_path, RELEASE), release(tmp_path, RELEASE.replace(old, new))
    assert breaking_changes(before, after) == []
