"""Runs on several machines, started by the scripts of this directory. ssh, rsync and Slurm are stood in for by scripts
that do on this machine what they would do on others."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

DEADLINE_SECONDS = 240.0
STAND_INS = {
    # ssh HOST COMMAND
    "ssh": 'shift; exec bash -c "$*"',
    # rsync --archive FROM HOST:TO
    "rsync": 'mkdir -p "${3#*:}" && cp -a "$2." "${3#*:}"',
    # scontrol show hostnames LIST
    "scontrol": "tr , '\\n' <<<\"$3\"",
    # srun --OPTION... --output=FILE ... COMMAND
    "srun": 'while [[ "$1" == --* ]]; do [[ "$1" != --output=* ]] || out="${1#*=}"; shift; done; exec "$@" >>"$out" 2>&1',
}
CONFIG = """
seed: 1
environment { name: "Pendulum-v1" }
replay { shards: 2 capacity: 100000 budget_bytes: 67108864 min_steps: 500 }
learner { threads: 1 }
evaluation { interval_steps: 1000 episodes: 1 }
stop { env_steps: %d }
sac { hidden: 32 hidden: 32 batch_size: 16 random_steps: 500 }
"""


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_SECONDS:.0f} s: {what}")
        time.sleep(0.05)


class MachinesTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = Path(temporary.name)
        programs = self.root / "programs"
        programs.mkdir()
        for name, text in STAND_INS.items():
            (programs / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
            (programs / name).chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "HEADRACE_BINARIES": str(Path(os.environ["HEADRACE_BINARIES"]).absolute()),
        }

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_text(text, encoding="utf-8")
        return path

    def call(self, *command: str) -> tuple[int, str]:
        result = subprocess.run(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return result.returncode, result.stdout

    def log(self, directory: Path, name: str) -> str:
        try:
            return (directory / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def test_a_run_by_ssh_survives_a_death_and_is_stopped_with_a_checkpoint(self) -> None:
        directory = self.root / "machine"
        keys = self.root / "keys"
        command = "import sys; from headrace_cli.main import main; sys.exit(main(sys.argv[1:]))"
        self.assertEqual(self.call(sys.executable, "-c", command, "certificates", str(keys))[0], 0)
        cluster = self.write(
            "cluster",
            f"config {self.write('run.textproto', CONFIG % 10_000_000)}\ncertificates {keys}\ndirectory {directory}\n"
            "learner localhost\nreplay localhost\nreplay 127.0.0.1  # another name of this machine\n"
            "actor localhost 2\nevaluator localhost\n",
        )

        def ssh(verb: str) -> str:
            code, output = self.call("deploy/machines/ssh", verb, str(cluster))
            self.assertEqual(code, 0, output)
            return output

        self.addCleanup(self.call, "deploy/machines/ssh", "stop", str(cluster))
        output = ssh("start")
        for name in ("replay-0", "replay-1", "learner", "actor-0", "actor-1", "evaluator"):
            self.assertIn(f"starting {name} on", output)
        wait_until(lambda: "evaluation at" in self.log(directory, "learner"), "an evaluation")
        self.assertEqual(ssh("status").count(" runs: "), 6)
        keeper = (directory / "pids" / "actor-1").read_text(encoding="ascii").strip()
        child = Path(f"/proc/{keeper}/task/{keeper}/children").read_text(encoding="ascii").split()[0]
        os.kill(int(child), signal.SIGKILL)
        wait_until(lambda: "is started again" in self.log(directory, "actor-1"), "the actor is started again")
        wait_until(lambda: self.log(directory, "actor-1").count("leased index") == 2, "the actor is back")
        ssh("stop")
        wait_until(lambda: ssh("status").count(" ended: ") == 6, "all have ended")
        self.assertRegex(self.log(directory, "learner"), r"checkpoint update-\d+")

    def test_what_is_wrong_with_a_cluster_file_is_said(self) -> None:
        for text, message in [
            ("lerner node1\n", "not known: lerner node1"),
            ("config a\ncertificates b\ndirectory c\n", 'expected one line "learner ..."'),
            ("config a\ncertificates b\ndirectory c\nlearner d\n", 'expected a line "replay HOST"'),
        ]:
            with self.subTest(text):
                code, output = self.call("deploy/machines/ssh", "status", str(self.write("cluster", text)))
                self.assertEqual(code, 2)
                self.assertIn(message, output)
        code, output = self.call("deploy/machines/ssh", "start", "/nowhere")
        self.assertEqual(code, 2)
        self.assertIn("there is no file /nowhere", output)

    def test_a_slurm_job_trains_to_its_end(self) -> None:
        run = self.root / "run"
        config = self.write("run.textproto", CONFIG % 3000)
        self.environment |= {
            "SLURM_SUBMIT_DIR": os.getcwd(),
            "SLURM_JOB_NODELIST": "localhost,127.0.0.1",
            "HEADRACE_PORT": "17500",
        }
        code, output = self.call("deploy/machines/slurm", str(config), str(run), "2")
        self.assertEqual(code, 0, output + self.log(run, "learner"))
        self.assertIn("leased index", self.log(run, "actor-127.0.0.1-1"))
        self.assertRegex(self.log(run, "learner"), r"checkpoint update-\d+")
        self.assertTrue((run / "evaluations.csv").exists())

    def test_keep_ends_when_nothing_can_be_mended(self) -> None:
        for code in (0, 2, 130):
            self.assertEqual(self.call("deploy/machines/keep", "bash", "-c", f"exit {code}")[0], code)
        marks = self.root / "marks"
        code, output = self.call("deploy/machines/keep", "bash", "-c", f"echo x >>{marks}; (( $(wc -l <{marks}) == 3 ))")
        self.assertEqual(code, 0)
        self.assertEqual(len(re.findall("started again", output)), 2)

    def test_keep_pauses_longer_each_time_and_gives_up(self) -> None:
        code, output = self.call("deploy/machines/keep", "bash", "-c", "exit 7")
        self.assertEqual(code, 7)
        self.assertEqual(
            output.splitlines(),
            [
                "keep: died (code 7) and is started again in 1 s",
                "keep: died (code 7) and is started again in 2 s",
                "keep: died 3 times within 60 s (last: code 7) and is given up",
            ],
        )


if __name__ == "__main__":
    unittest.main()
