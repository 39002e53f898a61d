"""The protos pass the linter, and their comments say what a client's author cannot guess."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).parents[2]
PROTOS = sorted(str(file.relative_to(ROOT)) for file in ROOT.glob("protos/**/*.proto"))
MESSAGES, FIELDS = 4, 2  # field numbers of FileDescriptorProto.message_type and DescriptorProto.field
TEXT = (FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_BOOL, FieldDescriptorProto.TYPE_MESSAGE)
FLOATS = (FieldDescriptorProto.TYPE_FLOAT, FieldDescriptorProto.TYPE_DOUBLE)


def describe(folder: Path, protos: list[str]) -> list[FileDescriptorProto]:
    """The protos below `folder`, parsed, comments included."""
    arguments = ["-I.", "--include_source_info", "--descriptor_set_out=/dev/stdout", *protos]
    parsed = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", *arguments], cwd=folder, capture_output=True, check=True
    )
    return list(FileDescriptorSet.FromString(parsed.stdout).file)


def unexplained(file: FileDescriptorProto) -> list[str]:
    """Fields that need a comment and have none.

    A comment is needed where a client's author must know a default (`optional`), what the keys are (maps), a scale
    (floats), or a limit (numbers and lists in requests). It counts for every field of that name in the file, and a
    message's own comment counts for the fields it names in backticks.
    """
    comments = {tuple(location.path): location.leading_comments for location in file.source_code_info.location}
    found, explained = [], set()
    for number, message in enumerate(file.message_type):
        for position, field in enumerate(message.field):
            own = comments.get((MESSAGES, number, FIELDS, position), "")
            if own or f"`{field.name}`" in comments.get((MESSAGES, number), ""):
                explained.add(field.name)
            elif needs_comment(message, field, is_request=message.name in sent(file)):
                found.append((message.name, field.name))
    return [f"{message}.{field}" for message, field in found if field not in explained]


def needs_comment(message: DescriptorProto, field: FieldDescriptorProto, is_request: bool) -> bool:
    repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
    is_map = field.type_name.rpartition(".")[2] in {nested.name for nested in message.nested_type}
    has_limit = is_request and (repeated or field.type not in TEXT)
    return field.proto3_optional or is_map or field.type in FLOATS or has_limit


def sent(file: FileDescriptorProto) -> set[str]:
    """Names of the messages a client sends, nested ones included."""
    fields = {message.name: list(message.field) for message in file.message_type}
    requests = [method.input_type for service in file.service for method in service.method]
    waiting, found = [request.rpartition(".")[2] for request in requests], set[str]()
    while waiting:
        if (name := waiting.pop()) in fields and name not in found:
            found.add(name)
            waiting += [field.type_name.rpartition(".")[2] for field in fields[name]]
    return found


def test_protolint_passes() -> None:
    """It also wants a comment on every message, enum, service and RPC."""
    subprocess.run([Path(sys.executable).parent / "protolint", "lint", "protos"], cwd=ROOT, check=True)


@pytest.mark.parametrize("proto", PROTOS)
def test_fields_explain_what_their_names_cannot(proto: str) -> None:
    [file] = describe(ROOT, [proto])
    assert unexplained(file) == []


def test_a_missing_comment_is_noticed(tmp_path: Path) -> None:
    source = """syntax = "proto3";
        service S { rpc Ask(Request) returns (Reply); }
        message Request { optional bool exact = 1; repeated string names = 2; Inner inner = 3; string title = 4; }
        message Inner { int32 size = 1; }
        // Best `first`.
        message Reply {
          int32 count = 1; map<string, int32> versions = 2; float score = 3; float first = 4;
          // Mean.
          float mean = 5;
        }
        message Again { float mean = 1; }"""
    (tmp_path / "s.proto").write_text(source)
    [file] = describe(tmp_path, ["s.proto"])
    assert unexplained(file) == ["Request.exact", "Request.names", "Inner.size", "Reply.versions", "Reply.score"]
