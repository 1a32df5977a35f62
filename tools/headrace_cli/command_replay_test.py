"""tools/headrace replay: what is shown of real shards, and what is said where there is none."""

import contextlib
import http.server
import io
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import numpy as np
from rich.console import Console

from headrace_cli import command_replay, replay_client
from headrace_cli.main import main
from headrace_cli.replay_channel import ReplayError
from headrace_cli.replay_messages import NO_INSERT_LIMIT, message
from headrace_cli.run_directory import RunDirectory, write_json
from headrace_cli.replay_view import Answer, panels, plain_lines
from headrace_cli.testing.replay_shard import start_shard
from headrace_cli.testing.waiting import DEADLINE_SECONDS, wait_until

NOBODY = "127.0.0.1:1"


def replay(*arguments: str) -> tuple[int, str, str]:
    """The command's exit code, output and errors."""
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main(["replay", *arguments])
    return code, output.getvalue(), errors.getvalue()


def answer(seconds: float, incarnation: int = 3, **fields: Any) -> Answer:
    spec = message("TableSpec")(
        name="experience", sampler="PROPORTIONAL", remover="FIRST_IN_FIRST_OUT", max_items=50000, max_bytes=64 << 20
    )
    spec.priority_exponent = 0.6
    state = message("TableState")(incarnation=incarnation, **fields)
    table = message("TableInfo")(spec=spec, state=state)
    info = message("InfoResponse")(shard=2, incarnation=incarnation, run_id="run-7", restored_from="update-5")
    info.budget_bytes = 128 << 20
    info.tables.append(table)
    return Answer("replay-2:6000", seconds, info)


class ViewTest(unittest.TestCase):
    BEFORE = answer(10, inserted_steps=1000, inserted_items=900, sampled_items=5000, priority_updates=100)
    NOW = answer(
        12,
        items=40000,
        stored_bytes=3 << 20,
        inserted_steps=3000,
        inserted_items=2700,
        sampled_items=9000,
        sampled_steps=24000,
        removed_items=7,
        writers=4,
        blocked_writers=1,
        insert_limit=3100,
        max_priority=12.5,
        priority_updates=4100,
        unknown_priority_keys=6,
        lost_chunks=8,
        lost_items=9,
        oldest_seconds=75.4,
        oldest_rows=2100,
    )

    def test_all_figures_are_in_one_line(self) -> None:
        self.assertEqual(
            plain_lines(self.BEFORE, self.NOW),
            [
                "shard 2 at replay-2:6000 | incarnation 3 | budget 128 MiB | run run-7 | restored from update-5 | "
                "table experience | sampler proportional, exponent 0.6 | remover first in first out | "
                "items 40,000 of 50,000 | oldest item 1 min 15 s and 2,100 rows ago | in memory 3 MiB of 64 MiB | inserted steps 3,000 (1,000/s) | "
                "inserted items 2,700 (900/s) | sampled items 9,000 (2,000/s) | removed items 7 (3.5/s) | "
                "samples per insert 8 | writers 4, 1 blocked | insert limit 3,100 steps, 100 left | "
                "highest priority 12.5 | priority updates 4,100 (2,000/s) | unknown priority keys 6 (3/s) | "
                "lost 8 chunks, 9 items"
            ],
        )

    def test_a_panel_has_the_same_figures_and_cuts_none(self) -> None:
        (line,) = plain_lines(self.BEFORE, self.NOW)
        for width in (60, 80, 120):
            console = Console(file=io.StringIO(), width=width)
            console.print(*panels(self.BEFORE, self.NOW, console))
            drawn = " ".join(console.file.getvalue().split())
            for figure in line.split(" | ")[1:]:
                for word in figure.split():
                    self.assertIn(f" {word} ", f" {drawn} ")

    def test_over_a_restart_there_are_no_rates(self) -> None:
        (line,) = plain_lines(self.BEFORE, answer(12, incarnation=4, inserted_steps=500))
        self.assertIn(" | inserted steps 500 | inserted items 0 | ", line)

    def test_a_table_that_was_not_there_before_has_no_rates(self) -> None:
        before = Answer(self.NOW.address, 10, message("InfoResponse")(incarnation=3))
        self.assertIn(" | inserted steps 3,000 | ", plain_lines(before, self.NOW)[0])
        self.assertEqual(
            plain_lines(before, before), ["shard 0 at replay-2:6000 | incarnation 3 | budget 0 B | tables none yet"]
        )

    def test_a_table_over_another_names_it(self) -> None:
        now = answer(12)
        now.info.tables[0].spec.over = "steps"
        self.assertIn(" | table experience over steps | ", plain_lines(self.BEFORE, now)[0])

    def test_no_insert_limit_is_no_number(self) -> None:
        (line,) = plain_lines(self.BEFORE, answer(12, insert_limit=NO_INSERT_LIMIT))
        self.assertIn(" | insert limit none | ", line)


class CommandTest(unittest.TestCase):
    def setUp(self) -> None:
        patch = mock.patch.object(command_replay, "wait", lambda: None)
        patch.start()
        self.addCleanup(patch.stop)

    def test_every_shard_is_shown(self) -> None:
        addresses = [start_shard(self).addresses["grpc"] for _ in range(2)]
        with replay_client.connect(addresses[0]) as shard:
            table = shard.create_table("t", [("x", "f4")], max_bytes=1 << 20)
            table.writer().insert({"x": np.zeros(12, dtype="f4")})
            table.sample({"x": range(2)}, 22)
        code, output, errors = replay(*addresses)
        self.assertEqual((code, errors), (0, ""))
        first, second = output.splitlines()
        self.assertIn(f"shard 0 at {addresses[0]} | ", first)
        self.assertIn(" | table t | sampler uniform | remover first in first out | items 11 | oldest item ", first)
        self.assertIn(" | inserted steps 11 (0/s) | inserted items 11 (0/s) | sampled items 22 (0/s) | ", first)
        self.assertIn(" | samples per insert 2 | writers 0, 0 blocked | insert limit none | ", first)
        self.assertRegex(second, f"^shard 0 at {addresses[1]} .* budget 64 MiB | tables none yet$")

    def test_one_of_two_that_does_not_answer_is_named_and_the_other_shown(self) -> None:
        address = start_shard(self).addresses["grpc"]
        code, output, errors = replay(NOBODY, address)
        self.assertEqual((code, len(output.splitlines())), (1, 1))
        self.assertIn(f"shard 0 at {address}", output)
        self.assertIn(f"headrace replay: no replay shard answers at {NOBODY}: ", errors)

    def test_the_shards_of_a_run_are_found_by_its_directory(self) -> None:
        shard = start_shard(self)
        address = shard.addresses["grpc"]
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        run = RunDirectory(Path(directory.name))
        run.config.touch()
        processes = [
            {"name": name, "running": True, "attempts": 1, "addresses": {"grpc": where}, "log": str(shard.log)}
            for name, where in (("learner", NOBODY), ("replay-0", address))
        ]
        for process in processes:
            process["pid"] = shard.pid
        write_json(run.processes, {"processes": processes})
        code, output, errors = replay(directory.name)
        self.assertEqual((code, errors), (0, ""))
        self.assertIn(f"shard 0 at {address}", output)
        with subprocess.Popen(["true"]) as gone:  # its launcher was killed, and could not say that it has ended
            processes[1]["pid"] = gone.pid
        write_json(run.processes, {"processes": processes})
        code, _, errors = replay(directory.name)
        self.assertEqual(code, 2)
        self.assertIn(f"{directory.name}: none of its replay shards is running", errors)

    def test_a_watch_goes_on_while_a_shard_is_gone_and_until_it_is_interrupted(self) -> None:
        shard = start_shard(self)
        address = shard.addresses["grpc"]

        def return_with_a_table() -> None:
            shard.start({}, 0)
            wait_until(shard.check_ready)
            with replay_client.connect(address) as connection:
                connection.create_table("t", [("x", "f4")], max_bytes=1 << 20)

        def pauses() -> Iterator[None]:
            yield
            shard.kill()
            yield
            return_with_a_table()
            # How soon the connection is there again is gRPC's to say; rates are of two answers of one life.
            deadline = time.monotonic() + DEADLINE_SECONDS
            while "inserted steps 0 (0/s)" not in sys.stdout.getvalue() and time.monotonic() < deadline:
                yield
            raise KeyboardInterrupt

        pause = pauses()
        with mock.patch.object(command_replay, "wait", lambda: next(pause)):
            code, output, errors = replay(address, "--watch")
        self.assertEqual((code, errors), (0, ""))
        first, gone, *_, back = output.splitlines()
        self.assertRegex(first, f"^shard 0 at {address} .* tables none yet$")
        self.assertIn(f"no replay shard answers at {address}: ", gone)
        self.assertRegex(back, f"^shard 0 at {address} .* table t .* inserted steps 0 .0/s. ")

    def test_what_is_no_replay_shard(self) -> None:
        other = grpc.server(ThreadPoolExecutor(max_workers=1))
        address = f"127.0.0.1:{other.add_insecure_port('127.0.0.1:0')}"
        other.start()
        self.addCleanup(other.stop, None)
        code, _, errors = replay(address)
        expected = f"headrace replay: what serves at {address} is no replay shard: it has no Info\n"
        self.assertEqual((code, errors), (1, expected))

    def test_a_port_that_speaks_http(self) -> None:
        server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        address = f"127.0.0.1:{server.server_port}"
        code, _, errors = replay(address)
        self.assertEqual(code, 1)
        self.assertIn(f"no replay shard answers at {address}: ", errors)

    def test_a_port_that_says_nothing(self) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            with mock.patch.object(command_replay, "TIMEOUT_SECONDS", 0.2):
                code, _, errors = replay(address)
        self.assertEqual(code, 1)
        self.assertEqual(errors, f"headrace replay: no answer to Info from {address} within 0.2 s\n")

    def test_what_is_no_address(self) -> None:
        for wrong in ("localhost", "127.0.0.1:", ":6000x", "", "runs/none"):
            code, _, errors = replay(wrong)
            expected = "expected the address of a replay shard as HOST:PORT, or the directory of a run, got "
            self.assertEqual((code, errors), (2, f"headrace replay: {expected}{wrong!r}\n"))

    def test_nobody_there_for_a_program(self) -> None:
        with self.assertRaisesRegex(ReplayError, f"no replay shard answers at {NOBODY}: ") as nobody:
            replay_client.connect(NOBODY)
        self.assertEqual(nobody.exception.code, grpc.StatusCode.UNAVAILABLE)


if __name__ == "__main__":
    unittest.main()
