"""An OpenAPI document of the gateway's calls, made from the proto with its comments."""

import re
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

import protos
from fusion_gateway.console.connect import HTTP_STATUS, SERVICE

PROTO = Path(protos.__file__).parent / "marquee/v1/recommender.proto"
TYPES: dict[int, dict[str, Any]] = {
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    # Protobuf's JSON writes these as text, and reads both.
    FieldDescriptor.CPPTYPE_INT64: {"type": "string", "format": "int64"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
}
NAMED = re.compile(r"(message|enum|service|rpc|oneof)\s+(\w+)|.*?(\w+)\s*=\s*\d+;")
"""What a comment can stand above: a block or a call, or a field or a value with its number."""
Json = dict[str, Any]


def document(source: str) -> Json:
    """`source`: the text of the proto, for the comments, which descriptors have lost."""
    said = comments(source)
    schemas: dict[str, Json] = {"Error": _error()}
    for message in _messages():
        schemas[message.name] = _schema(message, said)
    for enum in SERVICE.file.enum_types_by_name.values():
        schemas[enum.name] = _enum(enum, said)
    return {
        "openapi": "3.1.0",
        "info": {"title": SERVICE.full_name, "version": "v1", "description": said.get("", "")},
        "paths": {
            f"/{SERVICE.full_name}/{method.name}": {"post": _operation(method, said)} for method in SERVICE.methods
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def comments(source: str) -> dict[str, str]:
    """Name, such as RecommendRequest.k, to the comment above it; "" to the file's own."""
    found: dict[str, str] = {}
    waiting: list[str] = []
    scopes: list[str] = []
    for line in map(str.strip, source.splitlines()):
        if line.startswith("//"):
            waiting.append(line.removeprefix("//").removeprefix(" "))
            continue
        if line.startswith("package "):
            found[""] = "\n".join(waiting)
        elif named := NAMED.match(line):
            kind, name = named[1], named[2] or named[3]
            found[".".join(filter(None, [*scopes, name]))] = " ".join(waiting)
            if line.endswith("{"):
                scopes.append("" if kind == "oneof" else name)  # its fields are the message's own
        elif line == "}":
            scopes.pop()
        waiting = []
    return {name: text for name, text in found.items() if text}


def _messages() -> list[Descriptor]:
    """All that the calls take and give, each once."""
    found: dict[str, Descriptor] = {}
    waiting = [message for method in SERVICE.methods for message in (method.input_type, method.output_type)]
    while waiting:
        message = waiting.pop(0)
        if message.name not in found:
            found[message.name] = message
            waiting += [field.message_type for field in message.fields if field.message_type]
    return [message for message in found.values() if not message.GetOptions().map_entry]


def _operation(method: Any, said: dict[str, str]) -> Json:
    timeout = {
        "name": "Connect-Timeout-Ms",
        "in": "header",
        "schema": {"type": "integer", "minimum": 0},
        "description": "Deadline of the call. Default: the gateway's own.",
    }
    return {
        "operationId": method.name,
        "description": said.get(f"{SERVICE.name}.{method.name}", ""),
        "parameters": [timeout],
        "requestBody": {"required": True, "content": _content(method.input_type.name)},
        "responses": {
            "200": {"description": said.get(method.output_type.name, ""), "content": _content(method.output_type.name)},
            "default": {"description": "The status follows from the code.", "content": _content("Error")},
        },
    }


def _content(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _schema(message: Descriptor, said: dict[str, str]) -> Json:
    properties = {}
    for field in message.fields:
        description = said.get(f"{message.name}.{field.name}", "")
        properties[field.json_name] = {**_field(field), **({"description": description} if description else {})}
    return {"type": "object", "description": said.get(message.name, ""), "properties": properties}


def _field(field: FieldDescriptor) -> Json:
    if field.message_type and field.message_type.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _field(field.message_type.fields_by_name["value"])}
    named = field.message_type or field.enum_type
    one = {"$ref": f"#/components/schemas/{named.name}"} if named else dict(TYPES[field.cpp_type])
    return {"type": "array", "items": one} if field.is_repeated else one


def _enum(enum: EnumDescriptor, said: dict[str, str]) -> Json:
    lines = [f"{value.name}: {said.get(f'{enum.name}.{value.name}', '')}" for value in enum.values]
    description = "\n".join([said.get(enum.name, ""), *lines])
    return {"type": "string", "enum": [value.name for value in enum.values], "description": description}


def _error() -> Json:
    codes = {"type": "string", "enum": sorted(HTTP_STATUS)}
    return {"type": "object", "properties": {"code": codes, "message": {"type": "string"}}}
