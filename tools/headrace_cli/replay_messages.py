"""The messages of proto/replay.proto as Python classes, and a signature as numpy has it.

The classes are made at run time from what Bazel's protoc has compiled (//proto:replay.descriptors), so that there is no
generated code that would have to fit the protobuf that is installed.
"""

import functools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from headrace_cli import workspace

SERVICE = "headrace.v1.Replay"
PROTOCOL_VERSION = 2  # of handshake.proto; a shard refuses others
NO_INSERT_LIMIT = 2**64 - 1

# By their names in column.proto. Numpy has no BFLOAT16: its bits stand for it.
_NUMPY_TYPES = {
    "FLOAT32": np.dtype("<f4"),
    "FLOAT64": np.dtype("<f8"),
    "UINT8": np.dtype("u1"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "BFLOAT16": np.dtype("<u2"),
    "OPAQUE": np.dtype("V1"),
}
_DATA_TYPES = {numpy_type: name for name, numpy_type in _NUMPY_TYPES.items()}


@functools.cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(workspace.binary(workspace.REPLAY_DESCRIPTORS).read_bytes()).file:
        pool.Add(file)
    return pool


@functools.cache
def message(name: str) -> Callable[..., Any]:
    """The class of a message: message("InfoRequest")(). UsageError: the descriptors are not built."""
    return GetMessageClass(_pool().FindMessageTypeByName(f"headrace.v1.{name}"))


@functools.cache
def answer_of(method: str) -> Any:
    """The class of what a method of the service answers with."""
    return GetMessageClass(_pool().FindServiceByName(SERVICE).methods_by_name[method].output_type)


def peer(name: str = "Python client") -> Any:
    """Of no run: it takes part in that of the shard."""
    return message("Peer")(protocol_version=PROTOCOL_VERSION, name=name)


def signature_of(columns: np.dtype, compressed: Collection[str] = ()) -> Any:
    """Of a structured dtype, with these of its columns compressed. ValueError: it is none, numbers of that type cannot
    be stored, or there is no such column."""
    if not columns.names:
        raise ValueError(f"expected a structured dtype, one field for each column, got {columns}")
    signature = message("Signature")()
    for name in columns.names:
        column = columns[name]
        data_type = _DATA_TYPES.get(column.base)
        if data_type is None:
            known = ", ".join(str(numpy_type) for numpy_type in _DATA_TYPES)
            raise ValueError(f"column {name}: expected one of the types {known}, got {column.base}")
        compression = "LZ4" if name in compressed else "UNCOMPRESSED"
        signature.columns.add(name=name, data_type=data_type, shape=column.shape, compression=compression)
    unknown = set(compressed) - set(columns.names)
    if unknown:
        raise ValueError(f"no column {', '.join(sorted(unknown))} to be compressed; columns: {', '.join(columns.names)}")
    return signature


def columns_of(signature: Any) -> np.dtype:
    """The structured dtype that signature_of makes this signature of."""
    types = message("Column").DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    return np.dtype(
        [(one.name, _NUMPY_TYPES[types[one.data_type].name], tuple(one.shape)) for one in signature.columns]
    )


def column_of(spec: Any, name: str) -> np.dtype:
    """Type and shape of a column of a table, with its TableSpec. ValueError: there is none of this name."""
    columns = columns_of(spec.signature)
    if name not in columns.names:
        raise ValueError(f"table {spec.name!r} has no column {name!r}; its columns: {', '.join(columns.names)}")
    return columns[name]
