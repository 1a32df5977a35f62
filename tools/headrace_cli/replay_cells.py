"""Cells: what single rows hold of a compressed column, see proto/column.proto and Frame in proto/replay.proto."""

from typing import Any

import lz4.block
import numpy as np
from numpy.typing import NDArray


def deflate(values: bytes) -> bytes:
    """The cell of a row's values: smaller, or, where they cannot be made smaller, the values as they are."""
    cell = lz4.block.compress(values, store_size=False)
    return cell if len(cell) < len(values) else values


def inflate(cell: bytes, size: int) -> bytes:
    """The `size` bytes of values that a cell was made of; of an empty one zeros. ValueError: it is no such cell."""
    if not cell or len(cell) == size:
        return cell or bytes(size)
    try:
        values = lz4.block.decompress(cell, uncompressed_size=size)
    except lz4.block.LZ4BlockError as error:
        raise ValueError(f"a cell cannot be inflated: {error}") from error
    if len(values) != size:
        raise ValueError(f"expected a cell of {size} bytes, got one of {len(values)}")
    return values


def inflate_frame(frame: Any) -> bytes:
    """What belongs at the frame's offset. ValueError: its cells are damaged."""
    sizes: NDArray[np.uint32] = np.frombuffer(frame.data, dtype="<u4", count=frame.cells)
    values, begin = [], sizes.nbytes
    for size in sizes.tolist():
        values.append(inflate(frame.data[begin : begin + size], frame.cell_bytes))
        begin += size
    if begin != len(frame.data):
        raise ValueError(f"expected cells of {begin} bytes in all, got {len(frame.data)}")
    return b"".join(values)
