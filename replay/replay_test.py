"""A shard that starts again, as whoever watches it sees it."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

import grpc

REPLAY = sys.argv.pop(1)
DEADLINE_SECONDS = 240.0
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse.status


def wait_until(condition, what):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_SECONDS:.0f} s: {what}")
        time.sleep(0.01)


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def answers(address):
    host, port = address.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return False
    return True


def health_of(address):
    with grpc.insecure_channel(address) as channel:
        return channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=DEADLINE_SECONDS)


class ReplayTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.config = self.directory / "config.textproto"
        self.config.write_text('environment { name: "Pendulum-v1" } sac {}\n', encoding="utf-8")

    # A large checkpoint takes minutes to read, and a process whose metrics do not answer for one is called down. This one
    # cannot be opened before somebody writes into it.
    def test_one_that_restores_can_be_watched_and_serves_nobody_yet(self):
        checkpoint = self.directory / "update-000000000001.replay"
        os.mkfifo(checkpoint)
        ready = self.directory / "ready.json"
        listen, metrics, health = free_address(), free_address(), free_address()
        command = [REPLAY, f"--config={self.config}", f"--checkpoint_dir={self.directory}", f"--ready_file={ready}"]
        command += [f"--listen={listen}", f"--metrics_listen={metrics}", f"--health_listen={health}"]
        with subprocess.Popen(command) as process, contextlib.ExitStack() as cleanup:
            cleanup.callback(process.kill)
            wait_until(lambda: process.poll() is not None or answers(metrics), "the metrics can be read")
            with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=DEADLINE_SECONDS) as page:
                self.assertIn('role="replay"', page.read().decode())
            wait_until(lambda: answers(health), "its health can be asked for")
            self.assertEqual(health_of(health), NOT_SERVING)
            self.assertFalse(answers(listen))
            self.assertFalse(ready.exists())

            def restores():
                try:
                    self.writer = os.open(checkpoint, os.O_WRONLY | os.O_NONBLOCK)
                except OSError:  # nobody reads yet
                    return False
                return True

            wait_until(restores, "the checkpoint is opened")
            checkpoint.unlink()
            os.close(self.writer)
            wait_until(lambda: process.poll() is not None or ready.exists(), "it is ready")
            self.assertEqual(health_of(health), SERVING)
            self.assertTrue(answers(listen))
            process.terminate()
            self.assertEqual(process.wait(timeout=DEADLINE_SECONDS), 130)

    # Each would have written over the other's journal.
    def test_a_second_one_in_the_same_directory_is_refused(self):
        command = [REPLAY, f"--config={self.config}", f"--checkpoint_dir={self.directory}"]
        ready = self.directory / "ready.json"
        with subprocess.Popen([*command, f"--ready_file={ready}"]) as first, contextlib.ExitStack() as cleanup:
            cleanup.callback(first.kill)
            wait_until(lambda: first.poll() is not None or ready.exists(), "it is ready")
            second = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
            self.assertNotEqual(second.returncode, 0)
            self.assertIn("another process has locked", second.stderr)
            self.assertIsNone(first.poll())


if __name__ == "__main__":
    unittest.main()
