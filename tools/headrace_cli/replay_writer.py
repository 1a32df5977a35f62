"""Inserts episodes into a table of a replay shard; see replay_client.py.

An episode travels as chunks, each a message of its own: a header that says where its rows and items belong, and the
payload, which is the rows' columns one after the other in the order of the signature, each C-contiguous, or as cells
where the column is compressed.
"""

import secrets
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import numpy as np
from numpy.typing import ArrayLike, NDArray

from headrace_cli.replay_cells import deflate
from headrace_cli.replay_channel import ReplayChannel, ReplayError
from headrace_cli.replay_messages import column_of, columns_of, message, peer

Arrays = list[NDArray[Any]]

# A chunk has no more rows and, unless a single row has more, no more bytes.
CHUNK_ROWS = 64
CHUNK_BYTES = 4 << 20

_ENDS = ("TERMINATED", "TRUNCATED", "INTERRUPTED")
_LANE = 0  # a writer writes one episode after the other
# With these a shard refuses what a writer has, however often it comes; the actors' writers end with them, too.
_FINAL = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
)


@dataclass(frozen=True)
class Items:
    """Which items an episode becomes in another table, over the one that is written to; see `ReplayWriter.insert`."""

    item_rows: int = 2
    stride: int = 1
    priorities: ArrayLike | None = None


class ReplayWriter:
    """Inserts episodes, each exactly once, whatever becomes of the connection. Not thread-safe."""

    def __init__(self, channel: ReplayChannel, spec: Any) -> None:
        """spec: the table's TableSpec."""
        self._channel = channel
        self._spec = spec
        self._columns = columns_of(spec.signature)
        self._writer = secrets.randbits(64)
        self._next_sequence = 1
        self._next_row = 0
        self._pending: deque[tuple[int, bytes]] = deque()  # chunks that are not acknowledged, oldest first
        self._refused: ReplayError | None = None

    def insert(
        self,
        columns: Mapping[str, ArrayLike],
        *,
        end: str = "TERMINATED",
        item_rows: int = 2,
        stride: int = 1,
        priorities: ArrayLike | None = None,
        others: Mapping[str, Items] | None = None,
    ) -> int:
        """Inserts a whole episode and waits until the shard has it. Returns the number of its items in this table.

        columns: of each column of the table an array [rows, shape of the column...] of the column's type.
        end: TERMINATED, TRUNCATED or INTERRUPTED.
        item_rows, stride: item k is the rows from k * stride to k * stride + item_rows - 1, for all k that fit.
        priorities: [items]; not given: the highest that any item of the table has had.
        others: which items of the same rows the tables over this one get, by their names.
        ValueError: the arrays do not fit the table or each other. ReplayError: INVALID_ARGUMENT (numbers that are not
        finite, items longer than the table's, negative priorities) and whatever else will not change: the writer is of
        no more use; otherwise, as after DEADLINE_EXCEEDED, `flush` goes on where this has stopped.
        """
        if self._refused is not None:
            raise self._refused
        if end not in _ENDS:
            raise ValueError(f"expected an end of {', '.join(_ENDS)}, got {end}")
        arrays = self._arrays(columns)
        rows = len(arrays[0])
        items = {"": _EpisodeItems(rows, Items(item_rows, stride, priorities))}
        items |= {name: _EpisodeItems(rows, wanted) for name, wanted in (others or {}).items()}
        for header, begin, until in self._chunks(items, end):
            payload = []
            for array, column in zip(arrays, self._spec.signature.columns, strict=True):
                values = array[begin:until]
                cells = [deflate(row.tobytes()) for row in values] if column.compression else []
                header.cell_bytes.extend(len(cell) for cell in cells)
                payload.extend(cells or [values.tobytes()])
            self._pending.append((header.sequence, _insert_request(header, b"".join(payload))))
        self._next_sequence = self._pending[-1][0] + 1
        self._next_row += rows
        self.flush()
        return items[""].count

    def flush(self) -> None:
        """Sends what is not acknowledged, and waits until it is; for after an error. ReplayError: see `insert`."""
        if self._refused is not None:
            raise self._refused
        while self._pending:
            before = len(self._pending)
            try:
                self._send_pending()
            except ReplayError as error:
                # The time is for what does not get on.
                if error.code != grpc.StatusCode.DEADLINE_EXCEEDED or len(self._pending) == before:
                    self._fail(error)

    def _fail(self, error: ReplayError) -> NoReturn:
        if error.code in _FINAL:
            self._refused = error
            raise error
        text = f"{error}; not acknowledged: {len(self._pending)} of its chunks, which flush() sends again"
        if error.code == grpc.StatusCode.DEADLINE_EXCEEDED:
            text += "; a table that has reached its insert limit takes none"
        raise ReplayError(error.code, text) from error

    def _arrays(self, columns: Mapping[str, ArrayLike]) -> Arrays:
        """In the order of the signature. ValueError: they do not fit."""
        for name in columns:
            column_of(self._spec, name)
        missing = [name for name in self._columns.names if name not in columns]
        if missing:
            raise ValueError(f"expected every column of table {self._spec.name!r}, got none of {', '.join(missing)}")
        arrays = [np.asarray(columns[name]) for name in self._columns.names]
        rows = arrays[0].shape[0] if arrays[0].ndim else 0
        for name, array in zip(self._columns.names, arrays, strict=True):
            column = self._columns[name]
            shape = (rows, *column.shape)
            if array.dtype != column.base or array.shape != shape:
                raise ValueError(
                    f"column {name}: expected {column.base} of shape {shape}, got {array.dtype} of shape {array.shape}"
                )
        return arrays

    def _chunks(self, items: "dict[str, _EpisodeItems]", end: str) -> Iterator[tuple[Any, int, int]]:
        """The headers of an episode's chunks, and of each from which row of the episode until which row it goes.

        items: of each table by its name, and under "" of the one that is written to.
        """
        episode_rows = items[""].episode_rows
        most = max(1, min(CHUNK_ROWS, CHUNK_BYTES // self._columns.itemsize))
        for number, begin in enumerate(range(0, episode_rows, most)):
            until = min(begin + most, episode_rows)
            header = message("ChunkHeader")(sequence=self._next_sequence + number)
            header.segments.add(
                lane=_LANE,
                first_row=self._next_row + begin,
                rows=until - begin,
                episode_start=begin == 0,
                end=end if until == episode_rows else "NOT_ENDED",
            )
            for table, of_table in items.items():
                # Those that end in it: all their rows have arrived then.
                first, last = of_table.within(begin), of_table.within(until)
                if last > first:
                    header.items.add(
                        lane=_LANE,
                        first_row=self._next_row + first * of_table.stride,
                        rows=of_table.rows,
                        count=last - first,
                        stride=of_table.stride,
                        priorities=of_table.priorities[first:last],
                        table=table,
                    )
            yield header, begin, until

    def _send_pending(self) -> None:
        opening = message("InsertOpen")(
            peer=peer(),
            writer=self._writer,
            table=self._spec.name,
            signature=self._spec.signature,
            first_sequence=self._pending[0][0],
        )
        with self._channel.stream("Insert") as stream:
            stream.send(message("InsertRequest")(open=opening))
            self._forget(stream.receive().acknowledged)
            # One at a time, so that the table exceeds its insert limit by no more than a chunk.
            while self._pending:
                stream.send_bytes(self._pending[0][1])
                self._forget(stream.receive().acknowledged)

    def _forget(self, acknowledged: int) -> None:
        while self._pending and self._pending[0][0] <= acknowledged:
            self._pending.popleft()


class _EpisodeItems:
    """The items of an episode, in order: each has `rows` rows and begins `stride` rows after the one before."""

    def __init__(self, episode_rows: int, wanted: Items) -> None:
        """ValueError: there are none, or not as many priorities."""
        rows, stride, priorities = wanted.item_rows, wanted.stride, wanted.priorities
        if not 1 <= rows <= episode_rows or stride < 1:
            expected = f"items of 1 to {episode_rows} rows, as the episode has, and a stride of 1 or more"
            raise ValueError(f"expected {expected}, got {rows} and {stride}")
        self.episode_rows = episode_rows
        self.rows = rows
        self.stride = stride
        self.count = self.within(episode_rows)
        self.priorities = np.asarray([] if priorities is None else priorities, dtype=np.float32)
        if priorities is not None and self.priorities.shape != (self.count,):
            raise ValueError(f"expected {self.count} priorities, one for each item, got {self.priorities.shape}")

    def within(self, rows: int) -> int:
        """How many lie within the first `rows` rows of the episode."""
        return max(0, (rows - self.rows) // self.stride + 1)


def _insert_request(header: Any, payload: bytes) -> bytes:
    """A shard wants the payload last, which protobuf does not promise of a message's fields; but two messages one after
    the other are one message with the fields of both."""
    request = message("InsertRequest")
    return request(chunk=header).SerializeToString() + request(data=payload).SerializeToString()
