"""Wrong configurations, directories, files and bytes: each gets a sentence, and nothing is lost."""

import json
import os
import random
import socket
import subprocess
import unittest
from pathlib import Path

import grpc
from headrace_cli import inspector
from headrace_cli.status import plan_of
from run import DEADLINE_SECONDS, PENDULUM, TINY, Run, SystemTest, headrace

BINARIES = Path(os.environ["HEADRACE_BINARIES"]).absolute()
# Of a shard and the learner gRPC, metrics and health; of an actor and the evaluator the latter two.
PORTS = 10


class ConfigurationTest(SystemTest):
    """Everything here is refused before a process starts or a file is written."""

    def assert_refused(self, run: Run, *texts: str) -> None:
        code, output = run.to_end()
        self.assertEqual(code, 2)
        self.assert_mentions(output, *texts)
        self.assertFalse((run.path / "logs" / "learner.log").exists(), "nothing was started")

    def config(self, text: str) -> Path:
        path = self.root / "task.textproto"
        path.write_text(text, encoding="utf-8")
        return path

    def test_an_unknown_field(self) -> None:
        config = self.config('environment { name: "Pendulum-v1" }\nsac {\n  batch_sise: 64\n}\n')
        self.assert_refused(Run(self, config=config), "task.textproto:3", "batch_sise", "batch_size")

    def test_an_unknown_field_on_the_command_line(self) -> None:
        self.assert_refused(Run(self, "sac.batch_sise=64"), "batch_sise", "batch_size")

    def test_a_value_of_the_wrong_type(self) -> None:
        config = self.config('environment { name: "Pendulum-v1" }\nsac {\n  batch_size: "many"\n}\n')
        self.assert_refused(Run(self, config=config), "task.textproto:3", "batch_size")
        self.assert_refused(Run(self, "sac.batch_size=many"), "sac.batch_size", "many")

    def test_a_value_out_of_range(self) -> None:
        self.assert_refused(Run(self, "actor.processes=0"), "actor.processes", "0 is less than the minimum 1")
        self.assert_refused(Run(self, "sac.discount=1.5"), "--set sac.discount=1.5: sac.discount", "maximum 1")
        config = self.config('environment { name: "Pendulum-v1" }\nsac {\n  batch_size: 100000\n}\n')
        self.assert_refused(Run(self, config=config), "task.textproto:3:3: sac.batch_size", "maximum 65536")

    def test_a_table_that_its_budget_cannot_hold(self) -> None:
        queue = PENDULUM.with_name("cartpole_impala.textproto")
        run = Run(self, "actor_critic.batch_size=65536", config=queue)
        self.assert_refused(run, "cartpole_impala.textproto:", "replay: shards, of which each has its part of replay.budget_bytes, would refuse table", "does not hold twice a queue's")

    def test_a_seed_given_as_to_eval(self) -> None:
        code, output = Run(self).to_end("--seed", "7")
        self.assertEqual(code, 2)
        self.assertIn("one run with seed 7 is --set seed=7", output)

    def test_a_field_that_was_emptied_is_not_zero(self) -> None:
        config = inspector.as_json(PENDULUM, ["stop.score="])
        self.assertIsNone(plan_of(config).stop_score)
        self.assertEqual(plan_of(inspector.as_json(PENDULUM, [])).stop_score, -180)

    def test_a_file_that_is_not_there(self) -> None:
        self.assert_refused(Run(self, config=self.root / "nothing.textproto"), "nothing.textproto")

    def test_an_unknown_environment(self) -> None:
        self.assert_refused(Run(self, "environment.name=Pendulum-v2"), "--set environment.name=Pendulum-v2: ", "mean Pendulum-v1")
        config = self.config('environment {\n  name: "Pendulum-v2"\n}\nsac {}\n')
        self.assert_refused(Run(self, config=config), "task.textproto:2:3: environment.name", "mean Pendulum-v1")

    def test_an_unknown_algorithm(self) -> None:
        config = self.config('environment { name: "Pendulum-v1" }\nsak { batch_size: 64 }\n')
        self.assert_refused(Run(self, config=config), "task.textproto:2", "sak", "sac")

    def test_another_configuration_than_that_of_the_run(self) -> None:
        run = Run(self, "seed=2")
        run.path.mkdir()
        (run.path / "config.textproto").write_text('environment { name: "Pendulum-v1" }\nsac {}\n', encoding="utf-8")
        self.assert_refused(run, f"headrace run: {run.path}: the run was started with another", "\n  seed: 1 in the run")
        self.assertEqual(run.output().count("another configuration"), 1)
        (run.path / "config.textproto").write_text("seed: 1\nenviron", encoding="utf-8")
        place = run.path / "config.textproto:2:1: "
        self.assert_refused(run, f"{run.path}: what the run was started with cannot be read: {place}")

    def test_discrete_actions_with_an_algorithm_for_continuous_ones(self) -> None:
        self.assert_refused(Run(self, "environment.name=CartPole-v1"), "sac", "CartPole-v1", "continuous")
        config = self.config('environment { name: "CartPole-v1" }\nsac {}\n')
        self.assert_refused(Run(self, config=config), "task.textproto:1:15: environment.name: sac needs continuous")

    def test_an_unknown_topology(self) -> None:
        code, output = Run(self, "topology=IMPALA").to_end()
        self.assertEqual((code, output.count("REPLAY"), output.count("UNSPECIFIED")), (2, 1, 0), output)

    def test_files_that_are_no_configuration(self) -> None:
        config = self.config("")
        self.assert_refused(Run(self, config=config), "task.textproto: environment.name: required", "algorithm: required")
        refusals = {b"\x7fELF\x02\0\0": ":1:1: expected text, got the byte 0x7f", b"seed: 1 \xff\xfe": ":1:9: "}
        for contents, refusal in refusals.items():
            config.write_bytes(contents)
            code, output = headrace("check", "--no-build", str(config))
            self.assertEqual((code, len(output.splitlines())), (2, 1), output)
            self.assertIn(f"task.textproto{refusal}", output)

    def test_a_device_that_is_not_there(self) -> None:
        self.assert_refused(Run(self, "device=cuda:63"), "cuda:63 is not available")
        self.assert_refused(Run(self, "device=tpu"), "--set device=tpu: device: expected", "cpu")

    def test_a_run_directory_that_cannot_be_written(self) -> None:
        run = Run(self)
        run.path.write_text("a file is in the way", encoding="utf-8")
        code, output = run.to_end()
        self.assertEqual(code, 2)
        self.assert_mentions(output, str(run.path), "cannot be written")

    def test_a_directory_that_is_no_run(self) -> None:
        for command in ("eval", "top", "plot"):
            code, output = headrace(command, str(self.root / "nowhere"))
            self.assertEqual(code, 2, output)
            self.assert_mentions(output, "nowhere")


class ProcessTest(SystemTest):
    """The binaries by themselves, as a cluster starts them."""

    def refusal(self, code: int, binary: str, *arguments: str) -> str:
        result = subprocess.run(
            [str(BINARIES / binary), f"--config={PENDULUM}", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(result.returncode, code, result.stderr)
        return result.stderr

    def test_a_port_in_use(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for flag in ("--listen", "--metrics_listen", "--health_listen"):
                refusal = self.refusal(1, "replay/replay", f"{flag}={address}")
                self.assert_mentions(refusal, f"{flag}: cannot listen on {address}", "in use", "name another")
            run_flags = (f"--run_dir={self.root / 'run'}", "--replay=a:1,b:2")
            self.assert_mentions(self.refusal(1, "learner/learner", *run_flags, f"--listen={address}"), address)

    def test_shards_that_do_not_match_the_addresses(self) -> None:
        expected = "expected 2 addresses in --replay (replay.shards), or one with {} for the number of the shard, got 1"
        learner = self.refusal(2, "learner/learner", f"--run_dir={self.root / 'run'}", "--replay=127.0.0.1:1")
        self.assert_mentions(learner, expected)
        self.assert_mentions(self.refusal(2, "actor/actor", "--learner=127.0.0.1:1", "--replay=127.0.0.1:1"), expected)
        self.assert_mentions(self.refusal(2, "replay/replay", "--shard=2"), "below 2", "got 2")

    def test_flags_that_are_missing_or_wrong(self) -> None:
        self.assert_mentions(self.refusal(2, "learner/learner", "--replay=a:1,b:2"), "--run_dir")
        self.assert_mentions(self.refusal(2, "actor/actor", "--replay=a:1,b:2"), "--learner")
        self.assert_mentions(self.refusal(2, "actor/actor", "--role=dance"), "--role", "dance")
        self.assert_mentions(self.refusal(2, "replay/replay", "--config=/nowhere"), "/nowhere")

    def test_an_environment_that_does_not_exist(self) -> None:
        unknown = ("--learner=127.0.0.1:1", "--replay=a:1,b:2", "--set=environment.name=Pendulum-v2")
        for role in ("act", "evaluate"):
            refusal = self.refusal(2, "actor/actor", f"--role={role}", *unknown)
            self.assert_mentions(refusal, "--set environment.name=Pendulum-v2: ", "mean Pendulum-v1")

    def test_a_checkpoint_directory_that_cannot_be_written(self) -> None:
        self.assert_mentions(self.refusal(1, "replay/replay", "--checkpoint_dir=/proc/none"), "/proc/none")


class CheckpointTest(SystemTest):
    def finished_run(self, *overrides: str) -> Run:
        """A run with several checkpoints."""
        run = Run(self, *TINY, "checkpoint.keep=5", "checkpoint.interval_seconds=0.05", *overrides)
        self.assertEqual(run.to_end()[0], 0)
        self.assertGreaterEqual(len(run.checkpoints()), 2)
        return run

    def go_on(self, run: Run) -> str:
        """What the launcher prints."""
        run.overrides.append("stop.env_steps=800")
        code, output = run.to_end()
        self.assertEqual(code, 0)
        self.assertGreaterEqual(run.counters()["env_steps"], 800)
        return output

    def test_a_truncated_file_of_the_learner(self) -> None:
        run = self.finished_run()
        before, newest = run.checkpoints()[-2:]
        updates = run.counters(before)["updates"]
        with (newest / "algorithm.safetensors").open("r+b") as file:
            file.truncate(1000)
        output = self.go_on(run)
        self.assert_mentions(output, f"run: learner: checkpoint {newest.name} is not usable", "the one before it")
        self.assert_mentions(
            run.log("learner"), f"checkpoint {newest.name} is not usable", "algorithm.safetensors", "the one before it",
            f"and {updates:.0f} updates",
        )

    def test_checkpoints_that_are_all_damaged_are_no_configuration_that_is_refused(self) -> None:
        run = self.finished_run()
        for checkpoint in run.checkpoints():
            (checkpoint / "algorithm.safetensors").write_bytes(b"")
        run.overrides.append("stop.env_steps=800")
        code, output = run.to_end()
        self.assertEqual(code, 1)
        headline = "run failed: learner ended before it served (exit code 1): DATA_LOSS: no checkpoint under "
        self.assert_mentions(output, headline + str(run.path / "checkpoints"))

    def test_a_flipped_bit_in_a_policy_that_is_to_be_evaluated(self) -> None:
        run = self.finished_run()
        policy = run.checkpoints()[-1] / "policy.safetensors"
        contents = bytearray(policy.read_bytes())
        contents[-1] ^= 1
        policy.write_bytes(contents)
        code, output = headrace("eval", str(run.path), "--checkpoint", "latest")
        self.assertEqual(code, 1)
        self.assert_mentions(output, f"headrace eval: DATA_LOSS: {policy} is not what was written", "checksum")

    def test_environments_in_which_a_policy_cannot_be_evaluated(self) -> None:
        run = Run(self, *TINY)
        self.assertEqual(run.to_end()[0], 0)
        for environment, reasons in (
            ("Pendulun-v1", ("--environment Pendulun-v1: ", "did you mean Pendulum-v1")),
            ("Hopper-v5", ("actor/layer0/weight", "[11, ", "[3, ")),
            ("CartPole-v1", ("--environment CartPole-v1: ", "discrete")),
        ):
            code, output = headrace("eval", str(run.path), "--environment", environment)
            self.assertEqual(code, 2, output)
            self.assert_mentions(output, *reasons)
            self.assertNotIn("--set", output)

    def test_a_manifest_that_is_garbage(self) -> None:
        run = self.finished_run()
        newest = run.checkpoints()[-1]
        (newest / "MANIFEST.textproto").write_bytes(random.Random(1).randbytes(300))
        self.go_on(run)
        self.assert_mentions(run.log("learner"), f"checkpoint {newest.name} is not usable", "MANIFEST.textproto")

    def test_a_corrupted_file_of_a_shard(self) -> None:
        run = self.finished_run()
        before, newest = sorted((run.path / "checkpoints" / "replay-0").glob("*.replay"))[-2:]
        contents = bytearray(newest.read_bytes())
        contents[len(contents) // 2] ^= 1
        newest.write_bytes(contents)
        output = self.go_on(run)
        self.assert_mentions(output, f"replay-0: checkpoint {newest} is not usable", "the one before it")
        self.assert_mentions(output, f"learner: shard 0 went on from checkpoint {before.stem}", "of another moment")
        self.assert_mentions(
            run.log("replay-0"), f"{newest.name} is not usable", "checksum", f"restored from checkpoint {before.stem}"
        )

    def test_networks_of_other_shapes(self) -> None:
        other = Run(self, *TINY, "sac.hidden=32,32", name="other")
        self.assertEqual(other.to_end()[0], 0)
        run = Run(self, *TINY)
        code, output = run.to_end("--init-from", str(other.path))
        self.assertEqual(code, 2)
        self.assert_mentions(output, "--init-from: ", "actor/layer0/weight", "[3, 64]", "[3, 32]")
        self.assertFalse(run.path.exists())

    def test_networks_of_the_same_shapes_are_taken_over(self) -> None:
        other = Run(self, *TINY, name="other")
        self.assertEqual(other.to_end()[0], 0)
        run = Run(self, *TINY)
        code, output = run.to_end("--init-from", str(self.root / "nowhere"))
        self.assertEqual(code, 2)
        self.assert_mentions(output, "nowhere")
        self.assertEqual(run.to_end("--init-from", str(other.path))[0], 0)
        self.assert_mentions(run.log("learner"), "taken from checkpoint", other.checkpoints()[-1].name)
        metadata = json.loads((run.path / "metadata.json").read_text(encoding="utf-8"))
        self.assertEqual(metadata["initialised_from"], str(other.path))


class GarbageTest(SystemTest):
    def test_garbage_on_every_port_of_a_live_run(self) -> None:
        run = Run(self, *TINY, "evaluation.processes=1", "evaluation.episodes=1", "stop.env_steps=1000000")
        run.start()
        run.wait_until(lambda: len(addresses(run)) == PORTS, "all serve")
        numbers = random.Random(1)
        for address in addresses(run):
            for garbage in self.garbage(numbers):
                throw(address, garbage)
        self.assert_unhurt(run)

    def test_messages_that_are_none_on_every_stream(self) -> None:
        run = Run(self, *TINY, "stop.env_steps=1000000")
        run.start()
        run.wait_for_env_steps(200)
        streams = {
            "learner": ("Run/Attend", "Parameters/Subscribe"),
            "replay-0": ("Replay/Insert", "Replay/Sample", "Replay/Coordinate", "Replay/UpdatePriorities"),
        }
        for process, methods in streams.items():
            with grpc.insecure_channel(run.processes()[process]["addresses"]["grpc"]) as channel:
                for method in methods:
                    for message in (b"\xff" * 100, b"", random.Random(1).randbytes(1000)):
                        self.check_refused(channel.stream_stream(f"/headrace.v1.{method}"), message, method)
        self.assert_unhurt(run)

    def check_refused(self, call: grpc.StreamStreamMultiCallable, message: bytes, method: str) -> None:
        with self.subTest(method=method, bytes=len(message)):
            with self.assertRaises(grpc.RpcError) as refused:
                list(call(iter([message]), timeout=DEADLINE_SECONDS))
            # An empty message is well-formed, but names no protocol: FAILED_PRECONDITION where that is looked at first.
            wanted = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)
            self.assertIn(refused.exception.code(), wanted, refused.exception.details())

    def assert_unhurt(self, run: Run) -> None:
        now = run.metric("learner", "headrace_learner_run_env_steps")
        assert now is not None
        run.wait_for_env_steps(now + 200)
        for name, process in run.processes().items():
            self.assertEqual(process["attempts"], 1, f"{name} was not hurt")

    def garbage(self, numbers: random.Random) -> list[bytes]:
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        return [
            b"",
            numbers.randbytes(3),
            numbers.randbytes(100_000),
            b"\x00" * 1000,
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            preface,
            preface + numbers.randbytes(10_000),
            preface + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + numbers.randbytes(5000),  # after valid settings
        ]


def addresses(run: Run) -> list[str]:
    return [address for process in run.processes().values() for address in process["addresses"].values()]


def throw(address: str, garbage: bytes) -> None:
    """Sends it and hangs up, whatever the other side makes of it."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            connection.sendall(garbage)
        except OSError:
            pass  # it hung up first


if __name__ == "__main__":
    unittest.main()
