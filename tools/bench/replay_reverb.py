"""DeepMind's Reverb, given the same work as replay_items.cc gives to a replay shard; what is measured stands there.

    .venv-reverb/bin/python tools/bench/replay_reverb.py [--json] [--seconds 2] [--items 100000] [--megabytes 1000]

Server and client are two processes: the server has the last core of this machine to itself, the client all others.
Reverb is used as it is fastest:

- Chunks are as long as what is written at a time, for sequences as what two of them share, so that a sample carries
  nothing that its item does not have.
- Written twice: as its documentation does, by TrajectoryWriter with 40 items in flight, and, as "C++ writer", by what
  lies beneath that class, with as much in flight as serves it best. Python's share of TrajectoryWriter costs the server
  too: it is woken for a few items at a time.
- Sampled by TrajectoryDataset in batches, and by the bare sampler beneath it, with several numbers of samples in flight
  and of workers; each figure is the best of all these.
- Priorities go out from 8 threads, because a call returns only when it is answered.

Output: a table, or with --json one object a line: name, value, unit, and beside for what is measured in a second way.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    # TensorFlow and Reverb write to the file descriptor itself, and much; what Python has to say of errors stays.
    sys.stderr = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import reverb
import tensorflow as tf

TABLE = "t"
ROWS = 256  # different ones, given over and over
SIDE = 84
CHANNELS = 4
DOCUMENTED_IN_FLIGHT = 40
CPP_WRITER = "C++ writer"
PRIORITY_CALLS_IN_FLIGHT = 8

Step = dict[str, np.ndarray]


@dataclass(frozen=True)
class Work:
    name: str
    steps: list[Step]
    steps_at_a_time: int = 1
    rows: int = 1  # of an item
    stride: int = 1
    batch_size: int = 256
    in_flight: int = 400  # of the C++ writer, in items
    samplers: tuple[tuple[int, int], ...] = ((16, 2), (64, 2), (512, 1))  # samples in flight and workers

    @property
    def sequences(self) -> bool:
        return self.rows > 1

    @property
    def unit(self) -> str:
        return "sequences" if self.sequences else "items"

    @property
    def chunk_length(self) -> int:
        return max(self.steps_at_a_time, self.stride)

    @property
    def row_bytes(self) -> int:
        return sum(column.nbytes for column in self.steps[0].values())

    def items(self, options: argparse.Namespace) -> int:
        most = options.megabytes * 1_000_000 // (2 if self.sequences else 1)
        return min(options.items, max(most // (self.stride * self.row_bytes), 2 * self.batch_size))


def floats(columns: int, floats_of_each: int) -> list[Step]:
    """Normally distributed values, which no compression makes smaller."""
    values = np.random.default_rng(1).standard_normal((ROWS, columns, floats_of_each), dtype=np.float32)
    return [{f"column{i}": np.ascontiguousarray(row[i]) for i in range(columns)} for row in values]


def noise_frames() -> list[Step]:
    values = np.random.default_rng(1).integers(0, 256, (ROWS, SIDE, SIDE, CHANNELS), dtype=np.uint8)
    return [{"observation": frame} for frame in values]


def game_frames() -> list[Step]:
    """Bands of one grey, six textured squares that move before them, and as channels the last four pictures."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]

    def picture(at: int) -> np.ndarray:
        pixels = 40 + 24 * (y // 21)
        for square in range(6):
            top, left = 12 + 12 * square, (17 * square + (square + 1) * at) % (SIDE - 8)
            place = np.s_[top : top + 8, left : left + 8]
            pixels[place] = (31 * (x[place] - left) + 17 * (y[place] - top) + 53 * square) % 256
        return pixels.astype(np.uint8)

    pictures = [picture(at) for at in range(ROWS + CHANNELS)]
    return [{"observation": np.stack(pictures[at : at + CHANNELS], axis=-1)} for at in range(ROWS)]


def serve(selector: str, items: int) -> None:
    """Prints its port, and ends when standard input does."""
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    sampler = reverb.selectors.Uniform() if selector == "uniform" else reverb.selectors.Prioritized(1.0)
    table = reverb.Table(
        TABLE,
        sampler=sampler,
        remover=reverb.selectors.Fifo(),
        max_size=items,
        rate_limiter=reverb.rate_limiters.MinSize(1),
    )
    server = reverb.Server([table])
    print(server.port, flush=True)
    sys.stdin.read()
    os._exit(0)


class Server:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.address = f"localhost:{int(process.stdout.readline())}"
        self._process = process

    def cpu_seconds(self) -> float:
        """Processor time of all its threads so far."""
        # What clock_getcpuclockid(3) makes of a process id; Python has no name for it.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def resident_bytes(self) -> int:
        pages = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")


@contextmanager
def server_of(selector: str, items: int, cores: set[int]) -> Iterator[Server]:
    command = [sys.executable, __file__, "--serve", selector, "--items", str(items)]
    # A server makes a directory for checkpoints that it leaves behind.
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": directory},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        try:
            yield Server(process)
        finally:
            process.kill()
            process.wait()


class Writer:
    """TrajectoryWriter, or what lies beneath it."""

    def __init__(self, server: Server, work: Work, cpp: bool) -> None:
        keep = max(work.rows, work.chunk_length)
        self._work = work
        self._writer = reverb.Client(server.address).trajectory_writer(num_keep_alive_refs=keep)
        for name in work.steps[0]:
            self._writer.configure((name,), num_keep_alive_refs=keep, max_chunk_length=work.chunk_length)
        self._in_flight = work.in_flight if cpp else DOCUMENTED_IN_FLIGHT
        self._append = self._append_to_cpp if cpp else self._writer.append
        self._create_item = self._create_item_in_cpp if cpp else self._create_documented_item
        self._references: list[list[object]] = [[] for _ in work.steps[0]]
        self._items = 0
        self._steps = 0

    def insert(self, items: int) -> None:
        work = self._work
        self._items += items
        until = work.rows + (self._items - 1) * work.stride
        while self._steps < until:
            for _ in range(min(work.steps_at_a_time, until - self._steps)):
                self._append(work.steps[self._steps % ROWS])
                self._steps += 1
                if self._steps >= work.rows and (self._steps - work.rows) % work.stride == 0:
                    self._create_item()
            self._writer.flush(block_until_num_items=self._in_flight)

    def drain(self) -> None:
        self._writer.flush()

    def _create_documented_item(self) -> None:
        history = self._writer.history
        trajectory = {name: history[name][-self._work.rows :] for name in history}
        self._writer.create_item(TABLE, priority=1.0, trajectory=trajectory)

    def _append_to_cpp(self, step: Step) -> None:
        if self._steps == 0:
            # The first step makes the columns, and Python's layer gives them the length of their chunks.
            self._writer.append(step)
            history = self._writer.history
            new = [list(history[name][-1:])[0] for name in step]
        else:
            new = self._writer._writer.Append(list(step.values()))
        for references, reference in zip(self._references, new, strict=True):
            references.append(reference)
            del references[: -self._work.rows]

    def _create_item_in_cpp(self) -> None:
        squeezed = [False] * len(self._references)
        self._writer._writer.CreateItem(TABLE, 1.0, [list(column) for column in self._references], squeezed)


class Reporter:
    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, name: str, value: float, unit: str, beside: str = "") -> None:
        if self._as_json:
            line = {"name": f"replay/{name}", "value": value, "unit": unit} | ({"beside": beside} if beside else {})
            print(json.dumps(line), flush=True)
        else:
            print(f"replay/{name:60} {value:14.4g} {unit} {beside}", flush=True)


class Meter:
    """How much was done in how much time, from its construction on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._begin, self._cpu = time.monotonic(), server.cpu_seconds()

    def runs(self, seconds: float) -> bool:
        return time.monotonic() - self._begin < seconds

    def rates(self, count: int) -> tuple[float, float]:
        """In a second of the server's processor time, and in one of the clock."""
        return count / (self._server.cpu_seconds() - self._cpu), count / (time.monotonic() - self._begin)


class Benchmark:
    def __init__(self, options: argparse.Namespace, cores: set[int]) -> None:
        self._options = options
        self._cores = cores
        self._report = Reporter(options.json)

    def insert(self, work: Work, variant: str, sample: bool) -> None:
        """Into a table of its own, and then out of it."""
        name = f"{work.name}/{variant}" if variant else work.name
        items = work.items(self._options)
        for beside in ("", CPP_WRITER):
            with server_of("uniform", items, self._cores) as server:
                empty = server.resident_bytes()
                writer = Writer(server, work, cpp=bool(beside))
                for phase in ("first_fill", "steady"):
                    meter, count = Meter(server), 0
                    while count < items if phase == "first_fill" else meter.runs(self._options.seconds):
                        writer.insert(16)
                        count += 16
                    writer.drain()
                    item_bytes = work.stride * work.row_bytes if work.sequences else 0
                    self._report_rates(f"insert/{name}/{phase}", *meter.rates(count), work.unit, beside, item_bytes)
                    grown = server.resident_bytes() - empty
                    stored = items * work.stride * work.row_bytes
                    if not beside:
                        self._report(f"memory/{name}/{phase}", grown / stored, "bytes/byte")
                if sample and not beside:
                    self._sample(server, work, "uniform")

    def prioritised(self, work: Work) -> None:
        with server_of("prioritised", work.items(self._options), self._cores) as server:
            writer = Writer(server, work, cpp=True)
            writer.insert(work.items(self._options))
            writer.drain()
            self._priorities(server, work)
            self._sample(server, work, "prioritised")

    def _sample(self, server: Server, work: Work, how: str) -> None:
        rates = []
        for in_flight, workers in work.samplers:
            dataset = reverb.TrajectoryDataset(
                server.address,
                TABLE,
                dtypes={name: tf.as_dtype(column.dtype) for name, column in work.steps[0].items()},
                shapes={name: tf.TensorShape((work.rows, *column.shape)) for name, column in work.steps[0].items()},
                max_in_flight_samples_per_worker=in_flight,
                num_workers_per_iterator=workers,
            )
            batches = iter(dataset.batch(work.batch_size, drop_remainder=True).prefetch(8))
            rates.append(self._rates_of_batches(server, work, lambda batches=batches: next(batches)))
            del batches
        most = max(in_flight for in_flight, _ in work.samplers)
        sampler = reverb.Client(server.address)._client.NewSampler(TABLE, 1 << 40, most)

        def next_batch() -> None:
            for _ in range(work.batch_size):
                sampler.GetNextTrajectory()

        rates.append(self._rates_of_batches(server, work, next_batch))
        best_cpu, best_wall = (max(column) for column in zip(*rates, strict=True))
        item_bytes = work.rows * work.row_bytes if work.sequences else 0
        self._report_rates(f"sample/{work.name}/{how}", best_cpu, best_wall, work.unit, item_bytes=item_bytes)

    def _rates_of_batches(self, server: Server, work: Work, next_batch: Callable[[], object]) -> tuple[float, float]:
        for _ in range(2):
            next_batch()
        meter, count = Meter(server), 0
        while meter.runs(self._options.seconds / 2):
            next_batch()
            count += work.batch_size
        return meter.rates(count)

    def _priorities(self, server: Server, work: Work) -> None:
        client = reverb.Client(server.address)
        random = np.random.default_rng(1)
        updates = []
        for _ in range(PRIORITY_CALLS_IN_FLIGHT):
            samples = client.sample(TABLE, work.batch_size, emit_timesteps=False)
            updates.append({sample.info.key: 1 - random.random() for sample in samples})
        counts = [0] * len(updates)
        meter = Meter(server)

        def call(thread: int) -> None:
            while meter.runs(self._options.seconds):
                client.mutate_priorities(TABLE, updates=updates[thread])
                counts[thread] += len(updates[thread])

        threads = [threading.Thread(target=call, args=(thread,)) for thread in range(len(updates))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        name = f"priorities/{work.name}/calls_of_{work.batch_size}"
        self._report_rates(name, *meter.rates(sum(counts)), "updates")

    def _report_rates(
        self, name: str, per_cpu: float, per_second: float, unit: str, beside: str = "", item_bytes: int = 0
    ) -> None:
        """With item_bytes also in bytes."""
        self._report(f"{name}/server_cpu", per_cpu, f"{unit}/CPU s", beside)
        self._report(f"{name}/wall", per_second, f"{unit}/s", beside)
        if item_bytes:
            self._report(f"{name}/wall_bytes", per_second * item_bytes / 1e6, "MB/s", beside)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=2, help="of each figure but those of the first fill")
    parser.add_argument("--items", type=int, default=100_000, help="that a table holds")
    parser.add_argument("--megabytes", type=int, default=1000, help="of payload that a table holds at most")
    parser.add_argument("--only", default="", help="only what has this in its name, such as 400_bytes/")
    parser.add_argument("--serve", help="for the process that is measured: uniform or prioritised")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.items)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(cores)[:-1] or cores)
    benchmark = Benchmark(options, cores)
    for count, in_flight in ((100, 400), (1000, 400), (10000, 100)):
        work = Work(f"{4 * count}_bytes", floats(1, count), in_flight=in_flight)
        if options.only in f"{work.name}/":
            benchmark.insert(work, "1_at_a_time", sample=True)
            benchmark.prioritised(work)
    if options.only in "400_bytes/16_at_a_time":
        benchmark.insert(Work("400_bytes", floats(1, 100), steps_at_a_time=16), "16_at_a_time", sample=False)
    work = Work("400_bytes_in_5_columns", floats(5, 20))
    if options.only in f"{work.name}/":
        benchmark.insert(work, "1_at_a_time", sample=False)
    for name, frames in (("80_noise_frames", noise_frames), ("80_game_frames", game_frames)):
        if options.only in f"{name}/":
            work = Work(
                name,
                frames(),
                rows=80,
                stride=40,
                batch_size=8,
                in_flight=4,
                samplers=((8, 2), (16, 1), (32, 1)),
            )
            benchmark.insert(work, "", sample=True)
    sys.stdout.flush()
    os._exit(0)  # TensorFlow's threads may not end


if __name__ == "__main__":
    main()
