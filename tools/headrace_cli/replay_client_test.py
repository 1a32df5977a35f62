"""The Python client against a real shard: what was inserted is what is sampled, and what is wrong is said."""

import re
import subprocess
import sys
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import numpy as np

from headrace_cli import replay_client
from headrace_cli.replay_channel import ReplayError
from headrace_cli.replay_messages import message, peer
from headrace_cli.replay_writer import CHUNK_ROWS, Items
from headrace_cli.testing.replay_shard import start_shard

PAGE = Path("docs/replay_client.md")

# Every type of column.proto, as scalars and arrays.
COLUMNS = [
    ("observation", "f4", (3,)),
    ("reward", "f8"),
    ("image", "u1", (2, 2)),
    ("action", "i4"),
    ("row", "i8"),
    ("bits", "u2", (2,)),
    ("bytes", "V1", (5,)),
]
ALL = {column[0]: range(2) for column in COLUMNS}


def episode(first: int, rows: int) -> dict[str, Any]:
    """Columns whose values all tell which row it is, `first` being the first."""
    row = np.arange(first, first + rows)
    return {
        "observation": np.stack([row + 0.25, row + 0.5, -row], axis=1).astype("f4"),
        "reward": row / 7,
        "image": np.stack([row % 256, row // 256, row % 3, row % 5], axis=1).astype("u1").reshape(rows, 2, 2),
        "action": (-row).astype("i4"),
        "row": row << 40,
        "bits": np.stack([row, row + 1], axis=1).astype("u2"),
        "bytes": np.frombuffer(b"".join(b"%05d" % one for one in row), dtype="V1").reshape(rows, 5),
    }


class ReplayClientTest(unittest.TestCase):
    def setUp(self) -> None:
        self.address = start_shard(self).addresses["grpc"]
        self.shard = replay_client.connect(self.address, timeout_seconds=30)
        self.addCleanup(self.shard.close)

    def small_table(self, **fields: Any) -> replay_client.ReplayTable:
        return self.shard.create_table("small", [("x", "f4", 2), ("n", "i4")], max_bytes=1 << 20, **fields)

    def state(self, table: replay_client.ReplayTable) -> Any:
        (state,) = (one.state for one in self.shard.info().tables if one.spec.name == table.name)
        return state


def small_episode(rows: int, first: int = 0) -> dict[str, Any]:
    n = np.arange(first, first + rows, dtype="i4")
    return {"x": np.stack([n, n + 0.5], axis=1).astype("f4"), "n": n}


class CompressionTest(ReplayClientTest):
    def test_compressed_rows_come_out_as_they_went_in(self) -> None:
        columns = [("n", "i8"), ("frame", "u1", (32, 32)), ("reward", "f4")]
        table = self.shard.create_table(
            "frames", columns, max_bytes=4 << 20, max_item_rows=4, context_rows=2, compressed=("frame",)
        )
        rows = 200
        frames = np.zeros((rows, 32, 32), dtype="u1")
        frames[:, 3, :] = np.arange(rows, dtype="u1")[:, None]
        noise = np.random.default_rng(1).integers(0, 256, size=(rows, 32, 32), dtype="u1")
        frames[::5] = noise[::5]  # these cannot be made smaller
        numbers = np.arange(rows)
        table.writer().insert({"n": numbers, "frame": frames, "reward": np.zeros(rows, dtype="f4")})
        batch = table.sample({"n": range(2), "frame": range(2)}, batch_size=500, stacks={"frame": 3})
        for item, (n, stacks) in enumerate(zip(batch.columns["n"], batch.columns["frame"], strict=True)):
            for row, stack in zip(n, stacks, strict=True):
                for back in range(3):
                    expected = frames[row - back] if row >= back else np.zeros((32, 32), dtype="u1")
                    np.testing.assert_array_equal(stack[2 - back], expected, f"item {item}, row {row} - {back}")
        self.assertLess(self.state(table).stored_bytes, frames.nbytes / 2)

    def test_what_cannot_be_compressed_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "no column picture to be compressed; columns: n, x"):
            self.shard.create_table("t", [("n", "i8"), ("x", "f4")], max_bytes=1 << 20, compressed=("picture",))
        with self.assertRaisesRegex(ReplayError, "floating-point numbers, got x FLOAT32"):
            self.shard.create_table("t", [("n", "i8"), ("x", "f4")], max_bytes=1 << 20, compressed=("x",))


class RoundTripTest(ReplayClientTest):
    def test_every_sampled_transition_is_one_that_was_inserted(self) -> None:
        table = self.shard.create_table("t", COLUMNS, max_bytes=4 << 20)
        writer = table.writer()
        lengths = (2 * CHUNK_ROWS + 30, CHUNK_ROWS)
        firsts = (0, 1000)
        everything = {}
        for first, rows, end in zip(firsts, lengths, ("TERMINATED", "TRUNCATED"), strict=True):
            columns = episode(first, rows)
            self.assertEqual(writer.insert(columns, end=end), rows - 1)
            everything |= {first + t: {name: column[t] for name, column in columns.items()} for t in range(rows)}
        batch = table.sample(ALL, 2000)
        for name, column in batch.columns.items():
            self.assertEqual(column.dtype, table.columns[name].base)
            self.assertEqual(column.shape, (2000, 2, *table.columns[name].shape))
        drawn = batch.columns["row"][:, 0] >> 40
        # Of each episode every row but the last begins an item.
        possible = {first + t for first, rows in zip(firsts, lengths, strict=True) for t in range(rows - 1)}
        self.assertLessEqual(set(drawn), possible)
        self.assertGreater(len(set(drawn)), len(possible) / 2)
        for i, t in enumerate(drawn):
            for name, column in batch.columns.items():
                np.testing.assert_array_equal(column[i, 0], everything[t][name])
                np.testing.assert_array_equal(column[i, 1], everything[t + 1][name])
        np.testing.assert_array_equal(batch.rows, 2)
        np.testing.assert_allclose(batch.probabilities, 1 / len(possible), rtol=1e-6)
        state = self.state(table)
        self.assertEqual((state.items, state.inserted_steps, state.sampled_items), (len(possible), len(possible), 2000))

    def test_a_batch_of_several_messages_is_put_together(self) -> None:
        table = self.shard.create_table("large", [("x", "f4", 1 << 15), ("n", "i8")], max_bytes=48 << 20)
        n = np.arange(100)
        table.writer().insert({"x": np.repeat(n.astype("f4")[:, None], 1 << 15, axis=1), "n": n})
        batch = table.sample({"n": range(1), "x": range(1, 2)}, 50)  # 128 KiB an item, 1 MiB a message
        np.testing.assert_array_equal(batch.columns["x"], np.repeat(batch.columns["n"][..., None] + 1, 1 << 15, axis=2))

    def test_a_slice_takes_every_kth_row_and_shorter_items_are_padded(self) -> None:
        table = self.small_table(max_item_rows=4)
        writer = table.writer()
        self.assertEqual(writer.insert(small_episode(11), item_rows=4, stride=3), 3)
        batch = table.sample({"n": range(0, 4, 3)}, 100)
        self.assertEqual({tuple(n) for n in batch.columns["n"]}, {(0, 3), (3, 6), (6, 9)})
        writer.insert(small_episode(2, first=100), item_rows=2)
        batch = table.sample({"n": range(4)}, 200, pad=True)
        short = batch.columns["n"][:, 0] == 100
        np.testing.assert_array_equal(batch.rows, np.where(short, 2, 4))
        self.assertEqual({tuple(n) for n in batch.columns["n"][short]}, {(100, 101, 101, 101)})
        with self.assertRaisesRegex(ReplayError, "INVALID_ARGUMENT: expected slices within items of 2 rows, got row 3"):
            table.sample({"n": range(4)}, 200)

    def test_stacks_are_made_of_the_rows_of_one_episode(self) -> None:
        table = self.small_table(max_item_rows=4, context_rows=2)
        writer = table.writer()
        for first in (10, 20):
            writer.insert(small_episode(5, first=first), item_rows=2)
        batch = table.sample({"n": range(2), "x": range(1)}, 200, stacks={"n": 3})
        self.assertEqual(batch.columns["n"].shape, (200, 2, 3))
        self.assertEqual(batch.columns["x"].shape, (200, 1, 2))
        stacks = {tuple(stack) for stack in batch.columns["n"].reshape(-1, 3)}
        expected = {
            tuple(first + t - back if back <= t else 0 for back in (2, 1, 0)) for first in (10, 20) for t in range(5)
        }
        self.assertEqual(stacks, expected)
        with self.assertRaisesRegex(ReplayError, "INVALID_ARGUMENT: column .n.: expected stacks of up to 3 rows"):
            table.sample({"n": range(1)}, 1, stacks={"n": 4})

    def test_the_same_random_key_draws_the_same_items(self) -> None:
        table = self.small_table()
        table.writer().insert(small_episode(100))
        once, again, otherwise = (table.sample({"n": range(1)}, 50, random_key=key) for key in (7, 7, 8))
        np.testing.assert_array_equal(once.keys, again.keys)
        np.testing.assert_array_equal(once.columns["n"], again.columns["n"])
        self.assertNotEqual(list(once.keys), list(otherwise.keys))

    def test_without_replacement_no_item_comes_twice(self) -> None:
        table = self.small_table(max_items=10)
        table.writer().insert(small_episode(10))
        batch = table.sample({"n": range(1)}, 9, without_replacement=True)
        self.assertEqual(sorted(batch.columns["n"][:, 0]), list(range(9)))
        with self.assertRaisesRegex(ReplayError, "DEADLINE_EXCEEDED: .* 9 items, too few for a batch of 10 without"):
            table.sample({"n": range(1)}, 10, without_replacement=True, timeout_seconds=0)
        with self.assertRaisesRegex(ReplayError, "INVALID_ARGUMENT: expected batches without .* 10 items .* got 11"):
            table.sample({"n": range(1)}, 11, without_replacement=True)

    def test_a_table_over_another_has_its_own_items_of_the_same_rows(self) -> None:
        table = self.small_table(max_item_rows=4)
        recent = self.shard.create_table(
            "recent",
            [("x", "f4", 2), ("n", "i4")],
            max_bytes=1 << 20,
            max_item_rows=4,
            sampler="FIRST_IN_FIRST_OUT",
            max_times_sampled=1,
            over="small",
        )
        rows = 2 * CHUNK_ROWS + 1
        items = table.writer().insert(small_episode(rows), others={"recent": Items(item_rows=4, stride=3)})
        self.assertEqual(items, rows - 1)
        batch = recent.sample({"n": range(4), "x": range(1)}, 40)
        np.testing.assert_array_equal(batch.columns["n"], np.arange(0, 120, 3)[:, None] + np.arange(4))
        np.testing.assert_array_equal(batch.columns["x"][:, 0, 1], np.arange(0, 120, 3) + 0.5)
        self.assertEqual(self.state(recent).items, (rows - 4) // 3 + 1 - 40)
        self.assertEqual(self.state(table).items, rows - 1)
        with self.assertRaisesRegex(ReplayError, 'INVALID_ARGUMENT: table "recent" is over the rows of table "small"'):
            recent.writer().insert(small_episode(5))
        with self.assertRaisesRegex(ReplayError, 'NOT_FOUND: items for table "old", expected those of small, recent'):
            table.writer().insert(small_episode(5), others={"old": Items()})
        with self.assertRaisesRegex(ReplayError, 'NOT_FOUND: there is no table "big"'):
            self.shard.create_table("small-2", [("n", "i4")], max_bytes=1 << 20, over="big")

    def test_a_table_that_exists_is_found_with_its_columns(self) -> None:
        self.shard.create_table("t", COLUMNS, max_bytes=4 << 20).writer().insert(episode(0, 5))
        table = self.shard.table("t")
        self.assertEqual(table.columns, np.dtype(COLUMNS))
        table.writer().insert(episode(5, 5))
        self.assertEqual(self.state(table).items, 8)


class PriorityTest(ReplayClientTest):
    def test_draws_follow_priorities(self) -> None:
        table = self.small_table(sampler="PROPORTIONAL", priority_exponent=0.5)
        # Weights 1, 2, 3; an item is drawn with probability sqrt(p) / 6.
        table.writer().insert(small_episode(4), priorities=[1, 4, 9])
        batch = table.sample({"n": range(1)}, 3000)
        drawn = batch.columns["n"][:, 0]
        np.testing.assert_allclose(batch.probabilities, (drawn + 1) / 6, rtol=1e-5)
        np.testing.assert_allclose(np.bincount(drawn) / 3000, [1 / 6, 2 / 6, 3 / 6], atol=0.05)  # more than 5 sigma
        # Items 0 and 2 are never drawn again.
        self.assertEqual(table.update_priorities(batch, np.where(drawn == 1, 7, 0)), (3000, 0))
        batch = table.sample({"n": range(1)}, 100)
        np.testing.assert_array_equal(batch.columns["n"], 1)
        np.testing.assert_array_equal(batch.probabilities, 1)
        state = self.state(table)
        self.assertEqual((state.priority_updates, state.unknown_priority_keys, state.max_priority), (3000, 0, 9))

    def test_items_that_are_gone_are_counted(self) -> None:
        table = self.small_table(sampler="PROPORTIONAL", max_items=10)
        writer = table.writer()
        writer.insert(small_episode(11))
        batch = table.sample({"n": range(1)}, 5)
        writer.insert(small_episode(11))
        self.assertEqual(table.update_priorities(batch, np.ones(5)), (0, 5))

    def test_what_is_no_priority_is_refused(self) -> None:
        table = self.small_table(sampler="PROPORTIONAL")
        table.writer().insert(small_episode(10))
        batch = table.sample({"n": range(1)}, 2)
        for wrong in (-1.0, np.nan, np.inf):
            refusal = f"INVALID_ARGUMENT: .*expected finite priorities of 0 or more, got {wrong:g}"
            with self.assertRaisesRegex(ReplayError, f"{refusal} for key {batch.keys[1]}"):
                table.update_priorities(batch, [1, wrong])
            with self.assertRaisesRegex(ReplayError, refusal):
                table.writer().insert(small_episode(3), priorities=[1, wrong])
        with self.assertRaisesRegex(ValueError, r"expected priorities of shape \(2,\), one for each key, got \(3,\)"):
            table.update_priorities(batch, [1, 2, 3])
        with self.assertRaisesRegex(ValueError, r"expected 2 priorities, one for each item, got \(1,\)"):
            table.writer().insert(small_episode(3), priorities=[1])
        state = self.state(table)
        self.assertEqual((state.items, state.priority_updates), (9, 0))


class RefusalTest(ReplayClientTest):
    def test_arrays_that_do_not_fit_the_table(self) -> None:
        table = self.small_table()
        good = small_episode(5)
        for wrong, refusal in (
            ({"x": good["x"][:4]}, r"column n: expected int32 of shape \(4,\), got int32 of shape \(5,\)"),
            ({"x": good["x"][:, :1]}, r"column x: expected float32 of shape \(5, 2\), got float32 of shape \(5, 1\)"),
            ({"x": good["x"].astype("f8")}, r"column x: expected float32 of shape \(5, 2\), got float64"),
            ({"n": 3}, r"column n: expected int32 of shape \(5,\), got int64 of shape \(\)"),
            ({"y": good["n"]}, "table 'small' has no column 'y'; its columns: x, n"),
        ):
            with self.subTest(refusal), self.assertRaisesRegex(ValueError, refusal):
                table.writer().insert(good | wrong)
        with self.assertRaisesRegex(ValueError, "expected every column of table 'small', got none of n"):
            table.writer().insert({"x": good["x"]})
        with self.assertRaisesRegex(ValueError, "expected an end of TERMINATED, TRUNCATED, INTERRUPTED, got NOT_ENDED"):
            table.writer().insert(good, end="NOT_ENDED")
        for item_rows, stride in ((0, 1), (6, 1), (2, 0)):
            with self.assertRaisesRegex(ValueError, f"items of 1 to 5 rows.* got {item_rows} and {stride}"):
                table.writer().insert(good, item_rows=item_rows, stride=stride)
        self.assertEqual(self.shard.info().writers, [], "nothing was sent")

    def test_numbers_that_are_not_finite(self) -> None:
        table = self.small_table()
        writer = table.writer()
        columns = small_episode(10)
        columns["x"][3, 1] = np.nan
        for episode_of_a_refused_writer in (columns, small_episode(10)):
            with self.assertRaisesRegex(ReplayError, "INVALID_ARGUMENT: .*finite.* in column x, row 3 of the chunk"):
                writer.insert(episode_of_a_refused_writer)
        self.assertEqual(self.state(table).items, 0)
        table.writer().insert(small_episode(10))
        self.assertEqual(self.state(table).items, 9)

    def test_items_longer_than_the_tables(self) -> None:
        with self.assertRaisesRegex(ReplayError, "INVALID_ARGUMENT: .*expected 1 to 2 rows"):
            self.small_table().writer().insert(small_episode(10), item_rows=3)

    def test_samples_that_cannot_be(self) -> None:
        table = self.small_table(min_items=100)
        table.writer().insert(small_episode(4))
        with self.assertRaisesRegex(ValueError, "table 'small' has no column 'y'; its columns: x, n"):
            table.sample({"y": range(1)}, 5)
        with self.assertRaisesRegex(ValueError, "expected a batch_size of 1 or more, got 0"):
            table.sample({"n": range(1)}, 0)
        with self.assertRaisesRegex(ReplayError, "INVALID_ARGUMENT: expected 1 to 1024 slices, got 0"):
            table.sample({}, 5)
        with self.assertRaisesRegex(ReplayError, 'INVALID_ARGUMENT: column "n": expected rows within items of 2 rows'):
            table.sample({"n": range(3)}, 5)
        with self.assertRaisesRegex(ReplayError, "INVALID_ARGUMENT: expected batches of up to"):
            table.sample({"n": range(1)}, 1 << 30)
        with self.assertRaisesRegex(ReplayError, r'DEADLINE_EXCEEDED: table "small" has 3 items, .*\(min_items 100\)'):
            table.sample({"n": range(1)}, 5, timeout_seconds=0)

    def test_tables_that_are_not_there(self) -> None:
        table = self.small_table()
        with self.assertRaisesRegex(ReplayError, "^there is no table 'big' on shard 0 at .*; its tables: small$"):
            self.shard.table("big")
        spec = message("TableSpec")(name="big", signature=table.spec.signature)
        big = replay_client.ReplayTable(self.shard.channel, spec)
        for request in (lambda: big.writer().insert(small_episode(3)), lambda: big.sample({"n": range(1)}, 1)):
            with self.assertRaisesRegex(ReplayError, 'NOT_FOUND: there is no table "big"'):
                request()

    def test_tables_that_cannot_be(self) -> None:
        self.small_table()
        with self.assertRaisesRegex(ReplayError, 'FAILED_PRECONDITION: table "small" exists with another.*max_items'):
            self.small_table(max_items=5)
        with self.assertRaisesRegex(ReplayError, 'FAILED_PRECONDITION: table "big" wants'):
            self.shard.create_table("big", COLUMNS, max_bytes=1 << 40)
        with self.assertRaisesRegex(ValueError, "column b: expected one of the types float32, .*, got complex128"):
            self.shard.create_table("t", [("a", "f4"), ("b", "c16")], max_bytes=1 << 20)
        with self.assertRaisesRegex(ValueError, "expected a structured dtype, one field for each column, got float32"):
            self.shard.create_table("t", "f4", max_bytes=1 << 20)


class ConnectionTest(ReplayClientTest):
    def test_the_time_is_for_what_does_not_get_on(self) -> None:
        table = self.small_table()
        writer = table.writer()
        send_all, calls = writer._send_pending, []

        def send_one_in_time() -> None:
            calls.append(len(writer._pending))
            later = [writer._pending.pop() for _ in range(len(writer._pending) - 1)]
            send_all()
            writer._pending.extend(reversed(later))
            if later:
                raise ReplayError(grpc.StatusCode.DEADLINE_EXCEEDED, "late")

        with mock.patch.object(writer, "_send_pending", send_one_in_time):
            self.assertEqual(writer.insert(small_episode(3 * CHUNK_ROWS)), 3 * CHUNK_ROWS - 1)
        self.assertEqual(calls, [3, 2, 1])
        self.assertEqual(self.state(table).inserted_items, 3 * CHUNK_ROWS - 1)

    def test_what_waits_for_the_insert_limit_is_inserted_once(self) -> None:
        table = self.small_table(initial_insert_limit=0)
        writer = table.writer()
        steps = 3 * CHUNK_ROWS
        with self.assertRaises(ReplayError) as late:
            self.impatiently(lambda: writer.insert(small_episode(steps + 1)))
        self.assertEqual(late.exception.code, grpc.StatusCode.DEADLINE_EXCEEDED)
        self.assertIn("4 of its chunks, which flush() sends again; a table that has reached", str(late.exception))
        self.assertEqual(self.state(table).items, 0)
        self.grant(table, CHUNK_ROWS)
        with self.assertRaisesRegex(ReplayError, "flush"):
            self.impatiently(writer.flush)
        self.grant(table, 2 * steps)
        writer.flush()
        state = self.state(table)
        self.assertEqual((state.inserted_steps, state.inserted_items, state.lost_chunks), (steps, steps, 0))
        self.assertEqual(writer.insert(small_episode(2)), 1)

    def impatiently(self, action: Callable[[], object]) -> None:
        with mock.patch.object(self.shard.channel, "timeout_seconds", 0.5):
            action()

    def grant(self, table: replay_client.ReplayTable, insert_limit: int) -> None:
        """As a learner does."""
        with self.shard.channel.stream("Coordinate") as stream:
            stream.send(message("CoordinateRequest")(peer=peer(), table=table.name, insert_limit=insert_limit))
            while stream.receive().insert_limit != insert_limit:
                pass

    def test_the_example_of_the_documentation(self) -> None:
        program, output = re.search(
            r"```python\n(.*?)```.*?```\n\$ [^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
        ).groups()
        command = [sys.executable, "-c", program, self.address]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertEqual((result.stderr, result.stdout), ("", output))


if __name__ == "__main__":
    unittest.main()
