"""A client of replay shards: creates tables, inserts episodes, samples batches, sets priorities.

    with replay_client.connect("127.0.0.1:6001") as shard:
        table = shard.create_table("t", [("observation", "f4", 3), ("reward", "f4")], max_bytes=1 << 20)
        table.writer().insert({"observation": observations, "reward": rewards})
        batch = table.sample({"observation": range(2), "reward": range(1)}, batch_size=32)
        table.update_priorities(batch, priorities)

For tests, for looking into a shard, for loading data: one request at a time, each on a stream of its own. What is
stored is an episode's rows. Row t has o_t and what was done there; an episode of T steps has T + 1 rows, the last one
with the final observation alone, its other columns being of no meaning. An item, which is what is sampled, is a range
of rows of one episode.

Two kinds of errors: ValueError, for what does not fit the table, before anything is sent; ReplayError, with a `code` of
gRPC, for what the shard refuses and for a shard that does not answer.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from headrace_cli.replay_cells import inflate_frame
from headrace_cli.replay_channel import ReplayChannel, ReplayError
from headrace_cli.replay_messages import NO_INSERT_LIMIT, column_of, columns_of, message, peer, signature_of
from headrace_cli.replay_writer import ReplayWriter

# What an answer that the shard itself sends in time may need to arrive.
_GRACE_SECONDS = 5.0


def connect(address: str, timeout_seconds: float = 10.0, certificates: Path | str | None = None) -> "ReplayShard":
    """The shard that serves at HOST:PORT. ReplayError: there is none.

    timeout_seconds: for each request.
    certificates: a directory as `tools/headrace certificates` makes it, where the shard asks for certificate and token.
    """
    shard = ReplayShard(address, timeout_seconds, certificates)
    try:
        shard.info()
    except ReplayError:
        shard.close()
        raise
    return shard


class ReplayShard:
    """One shard; a context manager that closes the connection."""

    def __init__(self, address: str, timeout_seconds: float = 10.0, certificates: Path | str | None = None) -> None:
        """Connects when it is first used. UsageError: the address is not HOST:PORT, or a file is missing."""
        self.channel = ReplayChannel(address, timeout_seconds, certificates)

    def __enter__(self) -> "ReplayShard":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.channel.close()

    def info(self) -> Any:
        """The InfoResponse: `shard`, `incarnation`, `tables` with `spec` and `state`, and the other fields."""
        return self.channel.call("Info", message("InfoRequest")())

    def create_table(
        self,
        name: str,
        columns: DTypeLike,
        *,
        max_bytes: int,
        sampler: str = "UNIFORM",
        remover: str = "FIRST_IN_FIRST_OUT",
        max_item_rows: int = 2,
        initial_insert_limit: int = NO_INSERT_LIMIT,
        compressed: Collection[str] = (),
        **fields: Any,
    ) -> "ReplayTable":
        """Creates a table, or confirms that it exists with this specification.

        columns: of one row, as a structured dtype: [("observation", "f4", (3,)), ("reward", "f4")]. Types are float32,
          float64, uint8, int32, int64; uint16 for the bits of BFLOAT16, V1 for OPAQUE bytes.
        compressed: columns whose rows are each compressed, from the writer to the reader; such as images, and none of
          floating-point numbers.
        fields: further ones of TableSpec, as in min_items=1000, or over="t" for a table over the rows of that one.
        ReplayError: FAILED_PRECONDITION, INVALID_ARGUMENT or, where `over` is not there, NOT_FOUND, see
        proto/replay.proto.
        """
        spec = message("TableSpec")(
            name=name,
            signature=signature_of(np.dtype(columns), compressed),
            sampler=sampler,
            remover=remover,
            max_bytes=max_bytes,
            max_item_rows=max_item_rows,
            initial_insert_limit=initial_insert_limit,
            **fields,
        )
        self.channel.call("CreateTable", message("CreateTableRequest")(peer=peer(), spec=spec))
        return ReplayTable(self.channel, spec)

    def table(self, name: str) -> "ReplayTable":
        """A table that exists. ReplayError: NOT_FOUND."""
        info = self.info()
        specs = {table.spec.name: table.spec for table in info.tables}
        if name not in specs:
            known = ", ".join(specs) or "none"
            text = f"there is no table {name!r} on shard {info.shard} at {self.channel.address}; its tables: {known}"
            raise ReplayError(grpc.StatusCode.NOT_FOUND, text)
        return ReplayTable(self.channel, specs[name])


@dataclass(frozen=True)
class Batch:
    """`batch` items that were drawn independently of each other, or, without replacement, each of those that are left."""

    columns: dict[str, NDArray[Any]]  # [batch, rows asked for, shape of the column...]; with stacks, see `sample`
    keys: NDArray[np.uint64]  # [batch]; an item's name in this incarnation of the shard
    probabilities: NDArray[np.float32]  # [batch]; of each item, with which a batch's first draw gives it
    rows: NDArray[np.uint32]  # [batch]; rows that each item really has of those asked for, see `pad`
    state: Any  # the table's TableState when they were drawn


class ReplayTable:
    """One table of a shard. Thread-safe."""

    def __init__(self, channel: ReplayChannel, spec: Any) -> None:
        self._channel = channel
        self.spec = spec
        self.columns = columns_of(spec.signature)

    @property
    def name(self) -> str:
        return self.spec.name

    def writer(self) -> "ReplayWriter":
        """A new writer; nothing is inserted twice by one and the same. A table over another has none: that one's
        writers give it items, see `others` of ReplayWriter.insert."""
        return ReplayWriter(self._channel, self.spec)

    def sample(
        self,
        rows: Mapping[str, range],
        batch_size: int,
        *,
        stacks: Mapping[str, int] | None = None,
        pad: bool = False,
        without_replacement: bool = False,
        random_key: int | None = None,
        timeout_seconds: float | None = None,
    ) -> Batch:
        """Draws a batch.

        rows: of each column which rows of an item: {"observation": range(2), "action": range(1)}.
        stacks: of a column, in place of each row the last so many rows of its episode up to it, oldest first, zeros for
          those before its start: the column then is [batch, rows, stack, shape...]. At most the table's context_rows + 1.
        pad: of items that are shorter, the last row is repeated; otherwise they are refused.
        without_replacement: no item comes twice.
        random_key: the same key on the same table draws the same items; not given: any.
        timeout_seconds: how long to wait for items, at most; not given: that of the connection.
        ReplayError: INVALID_ARGUMENT; DEADLINE_EXCEEDED: there are too few items; UNAVAILABLE: too much that was sent before
          has not been read yet.
        """
        stacks = stacks or {}
        if unknown := sorted(stacks.keys() - rows.keys()):
            raise ValueError(f"expected stacks of columns that are sampled, got {', '.join(unknown)}")
        columns = {name: column_of(self.spec, name) for name in rows}
        if batch_size < 1:
            raise ValueError(f"expected a batch_size of 1 or more, got {batch_size}")
        wait = self._channel.timeout_seconds if timeout_seconds is None else timeout_seconds
        opening = message("SampleOpen")(peer=peer(), table=self.name, pad=pad, without_replacement=without_replacement)
        for name, part in rows.items():
            opening.slices.add(
                column=name, first_row=part.start, rows=len(part), stride=part.step, stack=stacks.get(name, 1)
            )
        request = message("SampleRequest")(
            request=1,
            batch_size=batch_size,
            random_key=secrets.randbits(64) if random_key is None else random_key,
            timeout_ms=int(wait * 1000),
        )
        with self._channel.stream("Sample", wait + _GRACE_SECONDS) as stream:
            stream.send(message("SampleRequest")(open=opening))
            stream.send(request)
            answers = [stream.receive()]
            while not answers[-1].last:
                answers.append(stream.receive())
        last = answers[-1]
        if last.status_code:
            raise self._channel.refusal("Sample", last.status_code, last.status_message)
        blocks = [
            np.empty((batch_size, len(part), *([stacks[name]] if name in stacks else [])), dtype=columns[name])
            for name, part in rows.items()
        ]
        try:
            for answer in answers:
                _place(answer.frames, blocks)
        except ValueError as error:
            raise ReplayError(grpc.StatusCode.DATA_LOSS, f"{self._channel.address}: {error}") from error
        rows_needed = max(part[-1] for part in rows.values()) + 1
        return Batch(
            columns=dict(zip(rows, blocks, strict=True)),
            keys=np.array(last.keys, dtype=np.uint64),
            # A queue may be empty after this batch.
            probabilities=np.array(
                last.probabilities or [1 / max(last.state.items, 1)] * batch_size, dtype=np.float32
            ),
            rows=np.array(last.rows or [rows_needed] * batch_size, dtype=np.uint32),
            state=last.state,
        )

    def update_priorities(self, batch: Batch, priorities: ArrayLike) -> tuple[int, int]:
        """Sets the priorities, [batch], of a batch's items.

        Returns how many were set, and how many belong to items that are gone. ValueError: not one for each item.
        ReplayError: INVALID_ARGUMENT: one is negative or not finite; none is set.
        """
        values = np.asarray(priorities, dtype=np.float32)
        if values.shape != batch.keys.shape:
            raise ValueError(f"expected priorities of shape {batch.keys.shape}, one for each key, got {values.shape}")
        request = message("UpdatePrioritiesRequest")(
            peer=peer(), table=self.name, incarnation=batch.state.incarnation, keys=batch.keys, priorities=values
        )
        with self._channel.stream("UpdatePriorities") as stream:
            stream.send(request)
            answer = stream.receive()
        return answer.updated, answer.unknown


def _place(frames: Sequence[Any], blocks: list[NDArray[Any]]) -> None:
    """Copies pieces of the payload to where they belong. blocks: one for each slice."""
    for frame in frames:
        block = blocks[frame.slice].reshape(-1).view(np.uint8)
        data = inflate_frame(frame) if frame.cells else frame.data
        block[frame.offset : frame.offset + len(data)] = np.frombuffer(data, dtype=np.uint8)
