"""Messages, enums and services are those of protocol.txt; changes keep older peers, configurations and files working.

A compatible change (a new message, field, enum value or service; another default) fails this test until
`bazel run //tests/golden:protocol_test -- --update` has written it to protocol.txt, where reviewers see it.

An incompatible one is refused even then. A field keeps its number, name (text formats hold names), type and place in a
oneof; it goes only when its number and name are reserved, so that nothing else ever takes them. Enum values and methods
stay. Whoever needs more than that makes a new message or a new package, headrace.v2, and keeps reading the old one.
"""

import difflib
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet

# What a description says: of each message, enum and service by its title line, its entries by number or name.
Description = dict[str, dict[str, str]]

_TITLES = ("message ", "enum ", "service ", "extensions ")
_TYPES = {value: name.removeprefix("TYPE_").lower() for name, value in FieldDescriptorProto.Type.items()}
_LABELS = {value: name.removeprefix("LABEL_").lower() for name, value in FieldDescriptorProto.Label.items()}
_DEFAULT = re.compile(r" = .*$")
_RESERVED = "reserved"


def describe_field(field: FieldDescriptorProto, message: DescriptorProto | None) -> str:
    type_name = field.type_name.lstrip(".") or _TYPES[field.type]
    text = f"{field.name} {_LABELS[field.label]} {type_name}"
    if field.proto3_optional:
        text += " (presence)"
    elif message is not None and field.HasField("oneof_index"):
        text += f" (oneof {message.oneof_decl[field.oneof_index].name})"
    return text + (f" = {field.default_value}" if field.HasField("default_value") else "")


def describe_reserved(item: DescriptorProto | EnumDescriptorProto, is_enum: bool) -> dict[str, str]:
    # The end of a message's range is exclusive, that of an enum's inclusive.
    numbers = [
        str(number) for span in item.reserved_range for number in range(span.start, span.end + (1 if is_enum else 0))
    ]
    words = [*numbers, *sorted(item.reserved_name)]
    return {_RESERVED: " ".join(words)} if words else {}


def describe_message(message: DescriptorProto, scope: str, into: Description) -> None:
    name = f"{scope}.{message.name}"
    into[f"message {name}"] = describe_reserved(message, is_enum=False) | {
        str(field.number): describe_field(field, message) for field in sorted(message.field, key=lambda f: f.number)
    }
    for nested in message.nested_type:
        describe_message(nested, name, into)
    for enum in message.enum_type:
        describe_enum(enum, name, into)


def describe_enum(enum: EnumDescriptorProto, scope: str, into: Description) -> None:
    into[f"enum {scope}.{enum.name}"] = describe_reserved(enum, is_enum=True) | {
        str(value.number): value.name for value in enum.value
    }


def describe(files: Iterable[Path]) -> Description:
    description: Description = {}
    for path in files:
        for file in FileDescriptorSet.FromString(path.read_bytes()).file:
            for message in file.message_type:
                describe_message(message, file.package, description)
            for enum in file.enum_type:
                describe_enum(enum, file.package, description)
            for extension in file.extension:
                scope = description.setdefault(f"extensions {extension.extendee.lstrip('.')}", {})
                scope[str(extension.number)] = describe_field(extension, None)
            for service in file.service:
                description[f"service {file.package}.{service.name}"] = {
                    method.name: f"{'stream ' * method.client_streaming}{method.input_type.lstrip('.')} -> "
                    f"{'stream ' * method.server_streaming}{method.output_type.lstrip('.')}"
                    for method in service.method
                }
    return dict(sorted(description.items()))


def to_text(description: Description) -> str:
    blocks = [
        "\n".join([title, *(f"  {key}: {value}" for key, value in entries.items())])
        for title, entries in description.items()
    ]
    return "\n\n".join(blocks) + "\n"


def from_text(text: str) -> Description:
    description: Description = {}
    for line in text.splitlines():
        if line.startswith(_TITLES):
            description[line] = entries = {}
        elif line:
            key, _, value = line.strip().partition(": ")
            entries[key] = value
    return description


def incompatibilities(old: Description, new: Description) -> list[str]:
    """In words; empty: everything that speaks `old` can go on."""
    found = []
    for title, entries in old.items():
        if title not in new:
            found.append(f"{title} is gone")
            continue
        reserved = new[title].get(_RESERVED, "").split()
        for key, value in entries.items():
            now = new[title].get(key)
            name = value.split(" ")[0]
            if key == _RESERVED:
                missing = set(value.split()) - set(reserved)
                found += [f"{title}: {word} is no longer reserved" for word in sorted(missing)]
            elif now is None and not {key, name} <= set(reserved):
                found.append(f"{title}: {key} ({value}) is gone; reserve its number and its name")
            elif now is not None and _DEFAULT.sub("", now) != _DEFAULT.sub("", value):
                found.append(f"{title}: {key} was `{value}`, and is `{now}`")
    return found


def check_incompatibilities_are_found() -> None:
    """The rules themselves, on changes that were made by hand."""
    old = from_text(
        "enum e\n  0: A\n\nmessage m\n  1: a optional int32 = 3\n  2: b repeated m2\n\nservice s\n  Do: x -> y\n"
    )
    compatible = (
        "enum e\n  0: A\n  1: B\n\nmessage m\n  reserved: 2 b\n  1: a optional int32 = 4\n  3: c optional bool\n\n"
        "message n\n  1: a optional int32\n\nservice s\n  Do: x -> y\n  Undo: x -> y\n"
    )
    assert incompatibilities(old, from_text(compatible)) == [], incompatibilities(old, from_text(compatible))
    assert from_text(to_text(old)) == old
    for change in (
        ("1: a optional int32", "1: a optional int64"),
        ("1: a optional int32", "1: z optional int32"),
        ("1: a optional int32", "4: a optional int32"),
        ("  2: b repeated m2\n", ""),
        ("  2: b repeated m2\n", "  reserved: 2\n"),
        ("0: A", "0: B"),
        ("x -> y", "x -> stream y"),
        ("service s\n  Do: x -> y\n", ""),
    ):
        assert len(incompatibilities(old, from_text(to_text(old).replace(*change)))) == 1, change


def main(arguments: list[str]) -> int:
    check_incompatibilities_are_found()
    update = "--update" in arguments
    committed, *sets = (Path(argument) for argument in arguments if argument != "--update")
    old, new = from_text(committed.read_text(encoding="utf-8")), describe(sets)
    broken = incompatibilities(old, new)
    if broken:
        print("incompatible with what is out there:", *broken, "", __doc__, sep="\n")
        return 1
    if to_text(old) == to_text(new):
        return 0
    if update:
        (Path(os.environ["BUILD_WORKSPACE_DIRECTORY"]) / committed).write_text(to_text(new), encoding="utf-8")
        return 0
    lines = (to_text(description).splitlines() for description in (old, new))
    print(*difflib.unified_diff(*lines, "committed", "now", lineterm=""), "", __doc__, sep="\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
