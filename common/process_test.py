"""What a process tells its parent: exit codes, the ready file, messages."""

import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

SERVER = sys.argv.pop(1)
# Starts a process as its child, and ends when that is ready: READY_FILE PROGRAM ARGUMENT...
PARENT = """
import os, subprocess, sys, time
subprocess.Popen([*sys.argv[2:], f"--die_with_parent={os.getpid()}"])
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
"""


class ProcessTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.config = self.directory / "config.textproto"
        self.config.write_text('environment { name: "Pendulum-v1" } sac {}\n')

    def run_server(self, *arguments):
        return subprocess.run([SERVER, *arguments], capture_output=True, text=True, check=False, timeout=60)

    def test_help_explains_every_flag_and_is_no_error(self):
        result = self.run_server("--help")
        self.assertEqual(result.returncode, 0)
        self.assertIn("test: a process for tests", result.stdout)
        for flag in ["--config", "--set", "--metrics_listen", "--ready_file", "--then"]:
            self.assertIn(flag, result.stdout)

    def test_a_process_without_a_grpc_service_offers_no_address_for_one(self):
        self.assertNotIn("--listen", self.run_server("--help").stdout)

    def test_mistakes_of_the_user_are_exit_code_2(self):
        config = f"--config={self.config}"
        for arguments, message in [
            ([], "expected --config=FILE"),
            (["--config=/nowhere/config.textproto"], "/nowhere/config.textproto"),
            ([config, "--redy_file=x"], "did you mean --ready_file?"),
            ([config, "run"], 'expected flags only, got "run"'),
            ([config, "--die_with_parent=mother"], "mother"),
            ([config, "--set=lerner.threads=1"], "learner"),
            ([config, "--set", "learner.threads=many"], "learner.threads"),
            ([config, "--then=refused"], "another run"),
            ([config, "--set=seed=5", "--then=seedless"], "--set seed=5: seed: expected another one"),
        ]:
            with self.subTest(arguments):
                result = self.run_server(*arguments)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(message, result.stderr)

    def test_other_ends_have_their_codes(self):
        for then, code in [("done", 0), ("unavailable", 1), ("throw", 1)]:
            with self.subTest(then):
                result = self.run_server(f"--config={self.config}", f"--then={then}")
                self.assertEqual(result.returncode, code, result.stderr)

    def test_the_ready_file_holds_the_ports_that_were_chosen(self):
        ready = self.directory / "ready.json"
        result = self.run_server(f"--config={self.config}", f"--ready_file={ready}")
        self.assertEqual(result.returncode, 0, result.stderr)
        addresses = json.loads(ready.read_text())
        self.assertEqual(sorted(addresses), ["grpc", "health", "metrics"])
        self.assertEqual(addresses["grpc"], "127.0.0.1:4711")
        for name in ["health", "metrics"]:
            host, port = addresses[name].rsplit(":", 1)
            self.assertEqual(host, "127.0.0.1")
            self.assertGreater(int(port), 0)

    def test_a_process_whose_parent_is_gone_already_ends(self):
        # Its parent is this test, not process 1.
        result = self.run_server(f"--config={self.config}", "--then=wait", "--die_with_parent=1")
        self.assertEqual(result.returncode, 130, result.stderr)

    def test_a_process_that_hangs_outlives_its_parent_for_a_while(self):
        ready = self.directory / "ready.json"
        arguments = [f"--config={self.config}", f"--ready_file={ready}", "--then=hang"]
        parent = [sys.executable, "-c", PARENT, str(ready), SERVER, *arguments]
        # Returns when both are gone: they share the pipe.
        result = subprocess.run(parent, stderr=subprocess.PIPE, text=True, timeout=240)
        self.assertIn("the parent process has ended: finishing", result.stderr)
        self.assertIn("did not finish within 1 s of the end of the parent process", result.stderr)

    def test_a_signal_ends_a_process_that_serves(self):
        ready = self.directory / "ready.json"
        arguments = [f"--config={self.config}", f"--ready_file={ready}", "--then=wait"]
        with subprocess.Popen([SERVER, *arguments], stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr:
                if "ready: serving on" in line:
                    process.terminate()
            self.assertEqual(process.wait(timeout=60), 130)

    def test_a_process_that_hangs_says_where_and_ends(self):
        result = self.run_server(f"--config={self.config}", "--then=hang", "--set=hang_seconds=1")
        self.assertEqual(result.returncode, -signal.SIGABRT, result.stderr)
        self.assertIn("no sign of life for 1 s", result.stderr)
        self.assertIn("headrace::RunProcess", result.stderr)

    def test_one_that_only_waits_is_alive(self):
        result = self.run_server(f"--config={self.config}", "--then=wait_a_while", "--set=hang_seconds=2")
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("nobody has told me to", result.stderr)

    def test_a_process_that_stays_ends_when_it_is_told_to(self):
        arguments = [f"--config={self.config}", "--stay"]
        with subprocess.Popen([SERVER, *arguments], stderr=subprocess.PIPE, text=True) as process:
            for line in process.stderr:
                if "staying until told to end" in line:
                    process.terminate()
            self.assertEqual(process.wait(timeout=60), 0)

    def test_half_a_set_of_keys_is_refused(self):
        result = self.run_server(f"--config={self.config}", "--token_file=/nowhere")
        self.assertEqual(result.returncode, 2)
        self.assertIn("--certificates and --token_file belong together", result.stderr)


if __name__ == "__main__":
    unittest.main()
