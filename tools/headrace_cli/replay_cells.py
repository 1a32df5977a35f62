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
    """The `size` bytes of values that a cell was made of; of an empty one zeros."""
    if not cell:
        return bytes(size)
    return cell if len(cell) == size else lz4.block.decompress(cell, uncompressed_size=size)


def inflate_frame(frame: Any) -> bytes:
    """What belongs at the frame's offset."""
    sizes: NDArray[np.uint32] = np.frombuffer(frame.data, dtype="<u4", count=frame.cells)
    values, begin = [], sizes.nbytes
    for size in sizes.tolist():
        values.append(inflate(frame.data[begin : begin + size], frame.cell_bytes))
        begin += size
    return b"".join(values)
