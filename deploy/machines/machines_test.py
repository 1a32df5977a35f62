"""Runs on several machines, started by the scripts of this directory. ssh, rsync and Slurm are stood in for by scripts
that do on this machine what they would do on others."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 240.0
STAND_INS = {
    # ssh -o OPTION HOST COMMAND
    "ssh": '[[ "$1" != -o ]] || shift 2; shift; exec bash -c "$*"',
    # rsync --archive FROM HOST:TO
    "rsync": 'mkdir -p "${3#*:}" && cp -a --remove-destination "$2." "${3#*:}"',
    # scontrol show hostnames LIST
    "scontrol": "tr , '\\n' <<<\"$3\"",
    # srun --OPTION... --output=FILE ... COMMAND. Told to end, it kills. Here the number of a step is that of its processes'
    # group.
    "srun": """
        while [[ "$1" == --* ]]; do [[ "$1" != --output=* ]] || out="${1#*=}"; shift; done
        setsid bash -c 'export SLURM_STEP_ID=$$; exec "$@"' step "$@" >>"$out" 2>&1 &
        step=$!
        trap 'kill -KILL -- -"$step"' TERM HUP
        while wait "$step"; code=$?; kill -0 "$step" 2>/dev/null; do :; done
        exit "$code"
    """,
    # scancel --signal=TERM JOB.STEP: tells all processes of the step.
    "scancel": '[[ "$1" == --signal=TERM && "$2" == "$SLURM_JOB_ID".* ]] && kill -TERM -- -"${2#*.}"',
    # squeue --noheader --jobs=JOB
    "squeue": 'grep -sx "${2#--jobs=}" "$(dirname "$0")/queue" || true',
}
JOB = "7"
PROCESSES = ("replay-0", "replay-1", "learner", "actor-0", "actor-1", "evaluator")
CONFIG = """
seed: 1
environment { name: "Pendulum-v1" }
replay { shards: 2 capacity: 100000 budget_bytes: 67108864 min_steps: 500 }
learner { threads: 1 }
evaluation { interval_steps: 1000 episodes: 1 }
stop { env_steps: %d }
sac { hidden: 32 hidden: 32 batch_size: 16 random_steps: 500 }
"""
WITHOUT_SHARDS = """
seed: 1
topology: ASYNCHRONOUS_GRADIENTS
environment { name: "CartPole-v1" }
learner { threads: 1 }
evaluation { interval_steps: 1000 episodes: 1 }
stop { env_steps: %d }
actor_critic { correction: NO_CORRECTION unroll_length: 20 network { hidden: 16 } }
"""


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_SECONDS:.0f} s: {what}")
        time.sleep(0.05)


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def pids_of(*arguments: str) -> list[int]:
    """The processes with these arguments, without what keeps them."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            line = (directory / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
        except OSError:
            continue
        if set(arguments) <= set(line) and not any(word.endswith("/keep") for word in line):
            found.append(int(directory.name))
    return found


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
        # The scripts write into the checkout that they are part of.
        self.checkout = self.root / "checkout"
        self.checkout.mkdir()
        for entry in Path.cwd().iterdir():
            (self.checkout / entry.name).symlink_to(entry)
        self.ssh = str(self.checkout / "deploy" / "machines" / "ssh")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_text(text, encoding="utf-8")
        return path

    def call(self, *command: str, directory: Path | None = None) -> tuple[int, str]:
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        result = subprocess.run(command, env=self.environment, cwd=directory, check=False, **output)
        return result.returncode, result.stdout

    def log(self, directory: Path, name: str) -> str:
        try:
            return (directory / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def targets(self, run: str) -> list[dict[str, Any]]:
        """What Prometheus finds of a run by deploy/prometheus/prometheus.yml."""
        try:
            return json.loads((self.checkout / "runs" / ".targets" / f"{run}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []

    def assert_all_can_be_watched(self, run: str) -> None:
        for target in self.targets(run):
            (address,), labels = target["targets"], target["labels"]
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
                page = answer.read().decode()
            (role,) = re.findall(r'^headrace_build_info{[^}]*role="(\w+)"', page, re.MULTILINE)
            self.assertEqual((labels["job"], labels["run"]), (f"headrace_{role}", run))

    def assert_nobody_has_the_authority(self, directory: Path) -> None:
        self.assertEqual(
            sorted(path.name for path in (directory / "keys").iterdir()), ["ca.crt", "tls.crt", "tls.key", "token"]
        )
        self.assertEqual(list(directory.rglob("ca.key")), [])

    def write_cluster(self, directory: Path, config: str, replay: str) -> Path:
        """With paths that are relative to it."""
        command = "import sys; from headrace_cli.main import main; sys.exit(main(sys.argv[1:]))"
        self.assertEqual(self.call(sys.executable, "-c", command, "certificates", str(self.root / "keys"))[0], 0)
        self.write("run.textproto", config)
        return self.write(
            "two_hosts.txt",
            f"config run.textproto\ncertificates keys\ndirectory {directory}\n"
            f"learner localhost\n{replay}actor localhost 2\nevaluator localhost\n",
        )

    def ssh_of(self, cluster: Path) -> Callable[[str], str]:
        def ssh(verb: str) -> str:
            code, output = self.call(self.ssh, verb, f"./{cluster.name}", directory=cluster.parent)
            self.assertEqual(code, 0, output)
            return output

        self.addCleanup(self.call, self.ssh, "stop", str(cluster))
        return ssh

    def test_a_run_by_ssh_survives_a_death_and_is_stopped_with_a_checkpoint(self) -> None:
        directory = self.root / "machine"
        replay = "replay localhost\nreplay 127.0.0.1  # another name of this machine\n"
        cluster = self.write_cluster(directory, CONFIG % 10_000_000, replay)
        ssh = self.ssh_of(cluster)
        output = ssh("start")
        for name in PROCESSES:
            self.assertIn(f"starting {name} on", output)
        wait_until(lambda: "evaluation at" in self.log(directory, "learner"), "an evaluation")
        self.assertEqual(ssh("status").count(" runs: "), len(PROCESSES))
        without = self.write("fewer", cluster.read_text(encoding="utf-8").replace("actor localhost 2", "actor localhost"))
        code, output = self.call(self.ssh, "start", str(without))
        self.assertEqual(code, 2, output)
        self.assertIn(f"these run and are not in {without}: actor-1 on localhost: `stop` first", output)
        self.assertRegex(self.call(self.ssh, "status", str(without))[1], r"actor-1 on localhost runs: .*\(it is not in")
        self.assertEqual({target["labels"]["process"] for target in self.targets("two_hosts")}, set(PROCESSES))
        self.assert_all_can_be_watched("two_hosts")
        self.assert_nobody_has_the_authority(directory)
        wait_until(lambda: "leased index" in self.log(directory, "actor-1"), "the actor acts")
        os.kill(self.child_of(directory, "actor-1"), signal.SIGKILL)
        wait_until(lambda: "is started again" in self.log(directory, "actor-1"), "the actor is started again")
        wait_until(lambda: self.log(directory, "actor-1").count("leased index") == 2, "the actor is back")
        self.assertEqual(ssh("start").count(" runs already"), len(PROCESSES))
        self.write("run.textproto", CONFIG % 20_000_000)
        code, output = self.call(self.ssh, "start", str(cluster))
        self.assertEqual(code, 2, output)
        self.assertIn("replay-0 on localhost runs with other binaries or another configuration", output)
        self.assertIn("env_steps: 10000000", (directory / "run.textproto").read_text(encoding="utf-8"))

        # A learner that takes its time for the last checkpoint keeps its shards.
        learner = self.child_of(directory, "learner")
        os.kill(learner, signal.SIGSTOP)
        self.addCleanup(end, learner)
        code, output = self.call(self.ssh, "stop", str(cluster), "2")
        self.assertEqual(code, 1, output)
        self.assertIn("the learner has had 2 s for its last checkpoint", output)
        code, output = self.call(self.ssh, "status", str(cluster))
        self.assertEqual(code, 1, output)
        self.assertEqual(len(re.findall(r"^replay-.* runs: ", output, re.MULTILINE)), 2)
        os.kill(learner, signal.SIGCONT)
        ssh("stop")
        code, output = self.call(self.ssh, "status", str(cluster))
        self.assertEqual(code, 1, output)
        self.assertEqual(output.count(" ended: "), len(PROCESSES))
        self.assertRegex(self.log(directory, "learner"), r"checkpoint update-\d+")
        self.assertEqual(self.targets("two_hosts"), [])

        # A machine gives numbers of processes that have ended to others.
        bystander = subprocess.Popen(["sleep", "600"])
        self.addCleanup(bystander.wait)
        self.addCleanup(bystander.kill)
        file = directory / "pids" / "learner"
        file.write_text(" ".join([str(bystander.pid), *file.read_text(encoding="ascii").split()[1:]]), encoding="ascii")
        self.assertIn("learner does not run", ssh("stop"))
        self.assertIsNone(bystander.poll())

    def test_a_run_without_shards_by_ssh_trains_to_its_end_and_can_be_watched_until_it_is_stopped(self) -> None:
        directory = self.root / "machine"
        ssh = self.ssh_of(self.write_cluster(directory, WITHOUT_SHARDS % 3000, replay=""))
        self.assertNotIn("replay", ssh("start"))
        ended = "the run has ended; staying until told to end"
        processes = ("learner", "actor-0", "actor-1", "evaluator")
        wait_until(lambda: all(ended in self.log(directory, name) for name in processes), "the run ends")
        self.assertRegex(self.log(directory, "learner"), r"checkpoint update-\d+")
        # Processes that are gone and still named there are an alert.
        self.assertEqual({target["labels"]["process"] for target in self.targets("two_hosts")}, set(processes))
        self.assert_all_can_be_watched("two_hosts")
        lines = (self.root / "two_hosts.txt").read_text(encoding="utf-8")
        without = self.write("fewer", lines.replace("evaluator localhost\n", ""))
        code, output = self.call(self.ssh, "stop", str(without))
        self.assertEqual(code, 0, output)
        self.assertIn("the learner has ended; its log ends with: ", output)
        _, output = self.call(self.ssh, "status", str(self.root / "two_hosts.txt"))
        self.assertIn("evaluator on localhost ended: ", output)
        ssh("stop")
        self.assertEqual(self.targets("two_hosts"), [])

    def child_of(self, directory: Path, name: str) -> int:
        """The process that deploy/machines/keep has started."""
        keeper = (directory / "pids" / name).read_text(encoding="ascii").split()[0]
        return int(Path(f"/proc/{keeper}/task/{keeper}/children").read_text(encoding="ascii").split()[0])

    def test_what_is_wrong_with_a_cluster_file_is_said(self) -> None:
        for text, message in [
            ("lerner node1\n", "not known: lerner node1"),
            ("config a\ncertificates b\ndirectory /c\n", 'expected one line "learner ..."'),
            ("certificates b\ndirectory /c\nlearner d\n", 'expected one line "config ..."'),
            ("config a\ncertificates b\ndirectory c\nlearner d\n", "directory c: expected a path from the root"),
            ("config a\ncertificates b\ndirectory /c\nlearner d\nactor e many\n", "actor e many: expected a machine and a"),
            ("config a\ncertificates b\ndirectory /c\nlearner d e\n", "d e: expected one machine"),
        ]:
            with self.subTest(text):
                code, output = self.call(self.ssh, "status", str(self.write("cluster", text)))
                self.assertEqual(code, 2)
                self.assertIn(message, output)
        # Processes would be started whom nobody could reach.
        self.write_cluster(self.root / "machine", CONFIG % 1000, replay="")
        self.write("wrong.textproto", CONFIG % 1000 + "sak {}\n")
        for config, directory, host, message in [
            ("run.textproto", "none", "localhost", "ca.crt is missing"),
            ("run.textproto", "keys", "elsewhere.example", "expected a certificate that is for elsewhere.example"),
            ("run.textproto", "keys", "192.0.2.1", "expected a certificate that is for 192.0.2.1"),
            ("none.textproto", "keys", "localhost", "config none.textproto: there is no such file"),
            ("wrong.textproto", "keys", "localhost", "wrong.textproto:9:1: "),
        ]:
            with self.subTest(message):
                text = f"config {config}\ncertificates {directory}\ndirectory /nowhere\nlearner localhost\nreplay {host}\n"
                code, output = self.call(self.ssh, "start", str(self.write("cluster", text)))
                self.assertEqual(code, 2)
                self.assertIn(message, output)
        code, output = self.call(self.ssh, "stop", str(self.root / "cluster"), "soon")
        self.assertEqual(code, 2)
        self.assertIn("stop: expected a number of seconds, got soon", output)
        code, output = self.call(self.ssh, "start", "/nowhere")
        self.assertEqual(code, 2)
        self.assertIn("there is no file /nowhere", output)

    def test_a_start_says_what_does_not_run(self) -> None:
        directory = self.root / "machine"
        cluster = self.write_cluster(directory, CONFIG % 1000, replay="replay localhost\n")
        self.addCleanup(self.call, self.ssh, "stop", str(cluster))
        self.environment["HEADRACE_LOOK_SECONDS"] = "20"  # in which it has died for the third time
        with socket.create_server(("0.0.0.0", 7100)):
            code, output = self.call(self.ssh, "start", str(cluster))
        self.assertEqual(code, 1, output)
        self.assertRegex(output, r"replay-0 on localhost ended: .*7100.*; keep: died 3 times")
        self.assertIn("these do not run as they should", output)
        self.assertNotRegex(output, r"learner on localhost (runs|ended)")

    def start_slurm(self, steps: int, text: str = CONFIG) -> tuple[Path, subprocess.Popen[bytes]]:
        run = self.root / "slurm_run"
        config = self.write("run.textproto", text % steps)
        environment = self.environment | {
            "SLURM_SUBMIT_DIR": str(self.checkout),
            "SLURM_JOB_ID": JOB,
            "SLURM_JOB_NODELIST": "localhost,127.0.0.1",
            "HEADRACE_PORT": "17500",
        }
        with (self.root / "job.log").open("w", encoding="utf-8") as output:
            command = ["deploy/machines/slurm", str(config), str(run), "2"]
            job = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        self.addCleanup(job.wait)
        self.addCleanup(job.terminate)
        return run, job

    def end_of(self, job: subprocess.Popen[bytes]) -> str:
        job.wait(timeout=DEADLINE_SECONDS)
        return (self.root / "job.log").read_text(encoding="utf-8")

    def test_a_slurm_job_has_its_run_directory_to_itself(self) -> None:
        run = self.root / "slurm_run"
        run.mkdir()
        (run / "job").write_text("6\n", encoding="ascii")
        (self.root / "programs" / "queue").write_text("6\n", encoding="ascii")
        _, job = self.start_slurm(3000)
        self.assertIn(f"job 6 runs in {run}", self.end_of(job))
        self.assertEqual(job.returncode, 2)
        self.assertFalse((run / "keys").exists())

    def test_a_slurm_job_trains_to_its_end(self) -> None:
        (self.root / "slurm_run").mkdir()
        # Of a job that was killed.
        (self.root / "slurm_run" / "job").write_text("6\n", encoding="ascii")
        run, job = self.start_slurm(3000)
        output = self.end_of(job)
        self.assertEqual(job.returncode, 0, output + self.log(run, "learner"))
        # It may come when others have done all the steps.
        self.assertIn(" ready: ", self.log(run, "actor-127.0.0.1-1"))
        self.assertRegex(self.log(run, "learner"), r"checkpoint update-\d+")
        self.assertTrue((run / "evaluations.csv").exists())
        self.assertEqual(json.loads((run / "targets.json").read_text(encoding="utf-8")), [])
        self.assertFalse((run / "job").exists())
        # That of the shards, which srun would have killed.
        for shard in ("replay-0", "replay-1"):
            self.assertIn("terminated: finishing", self.log(run, shard))

    def test_a_slurm_job_without_shards_trains_to_its_end(self) -> None:
        run, job = self.start_slurm(3000, WITHOUT_SHARDS)
        output = self.end_of(job)
        self.assertEqual(job.returncode, 0, output + self.log(run, "learner"))
        self.assertRegex(self.log(run, "learner"), r"checkpoint update-\d+")
        self.assertFalse((run / "logs" / "replay-0.log").exists())

    def test_a_slurm_job_can_be_watched_and_leaves_a_checkpoint_when_told_to_end(self) -> None:
        run, job = self.start_slurm(10_000_000)
        wait_until(lambda: "evaluation at" in self.log(run, "learner") or job.poll() is not None, "an evaluation")
        self.assertEqual(len(self.targets(run.name)), len(PROCESSES))
        self.assert_all_can_be_watched(run.name)
        self.assert_nobody_has_the_authority(run)
        job.terminate()
        output = self.end_of(job)
        self.assertEqual(job.returncode, 130, output)
        self.assertRegex(self.log(run, "learner"), r"finishing[^$]*checkpoint update-\d+")
        self.assertEqual(self.targets(run.name), [])

    def test_a_slurm_job_ends_when_a_shard_is_given_up(self) -> None:
        run, job = self.start_slurm(10_000_000)
        for start in (1, 2, 3):
            ready = lambda: self.log(run, "replay-1").count(" ready: ") == start or job.poll() is not None
            wait_until(ready, f"start {start} of the shard")
            (shard,) = pids_of("--log_name=replay-1", f"--token_file={run}/keys/token")
            os.kill(shard, signal.SIGKILL)
        output = self.end_of(job)
        self.assertEqual(job.returncode, 1, output)
        self.assertIn("slurm: a shard has ended, and so does the run", output)
        self.assertIn("keep: died 3 times within 60 s (last: code 137) and is given up", self.log(run, "replay-1"))

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
