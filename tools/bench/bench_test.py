"""Every side of every benchmark still runs and prints its figures; for so short a time that they mean nothing."""

import json
import os
import subprocess
import sys
import unittest

SHORT = ["--json", "--seconds", "0.05", "--rounds", "1"]
TINY = ["--json", "--seconds=0.05", "--rounds=1"]
ACTOR = [*SHORT, "--environments", "Pendulum-v1", "--lanes", "2"]


class BenchmarkTest(unittest.TestCase):
    def assert_prints(self, command: list[str], names: set[str], differences: frozenset[str] = frozenset()) -> None:
        """Of the figures, those that are differences may be nothing."""
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        figures = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
        self.assertEqual({figure["name"] for figure in figures}, names)
        for figure in figures:
            if figure["name"] not in differences:
                self.assertGreater(figure["value"], 0)

    @unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "needs two cores")
    def test_actor(self) -> None:
        names = {"actor/Pendulum-v1/random/lanes2", "actor/Pendulum-v1/mlp256/lanes2"}
        self.assert_prints([sys.executable, "tools/bench/actor.py", *ACTOR], names)
        self.assert_prints([sys.executable, "tools/bench/actor_gymnasium.py", *ACTOR], names)

    def test_inference(self) -> None:
        loads = [f"{network}/environments{load}" for network in ("mlp", "minatar") for load in ("1_of_1", "8_of_4")]
        names = {f"inference/{load}/{figure}" for load in loads for figure in ("server_cpu", "wall", "local")}
        self.assert_prints(["tools/bench/inference", *TINY, "--environments=1,8", "--lanes=4"], names)

    @unittest.skipIf(len(os.sched_getaffinity(0)) < 2, "needs two cores")
    def test_metrics(self) -> None:
        names = {"metrics/counter", "metrics/gauge", "metrics/histogram"}
        names |= {f"metrics/actor/{figure}" for figure in ("recording", "recorded", "scraped_each_0.01s")}
        self.assert_prints([sys.executable, "tools/bench/metrics.py", *SHORT, "--interval=0.01"], names)

    def test_replay(self) -> None:
        inserts = [f"insert/90_bytes/{steps}_steps_at_a_time" for steps in (728, 16, 1)]
        samples = [f"sample/{size}_bytes/batches_of_256" for size in (90, 350, 4046)]
        ways = ("8_in_flight", "one_at_a_time/p50", "one_at_a_time/p99")
        names = {f"replay/{name}{figure}" for name in inserts for figure in ("", "/server_cpu")}
        names |= {f"replay/{name}/{way}" for name in samples for way in ways}
        names.add("replay/sample/90_bytes/batches_of_256/proportional_beside_uniform")
        crowd = ("work_beside_one_of_a_kind", "slowest_writer", "slowest_sampler")
        names |= {f"replay/crowd/8_writers_4_samplers/{figure}" for figure in crowd}
        self.assert_prints(["tools/bench/replay", *TINY, "--items=1000", "--megabytes=8"], names)

    def test_replay_checkpoint(self) -> None:
        figures = [f"{kind}/{which}" for kind in ("insert", "sample") for which in ("worst", "p99")] + ["seconds"]
        names = {f"replay_checkpoint/{items}_items/{figure}" for items in (1000, 5000) for figure in figures}
        self.assert_prints(["tools/bench/replay_checkpoint", "--json", "--seconds=0.1", "--items=1000,5000"], names)

    def test_replay_growth(self) -> None:
        sizes = ("1000_items", "10000_items")
        names = {f"replay_growth/gather/{size}" for size in sizes}
        for how in ("uniform", "prioritised"):
            names |= {f"replay_growth/sample/{how}/{size}/server_cpu" for size in sizes}
            names |= {f"replay_growth/memory/{how}/{sizes[-1]}/{of}" for of in ("beyond_payload", "of_payload")}
        rates = [f"{what}{time}" for what in ("insert", "sample") for time in ("", "/server_cpu")]
        names |= {f"replay_growth/shards/{shards}/{rate}" for shards in (1, 2, 4) for rate in rates}
        self.assert_prints(["tools/bench/replay_growth", *TINY, "--most_items=10000"], names)

    def test_replay_items(self) -> None:
        written = [f"{size}_bytes/1_at_a_time" for size in (400, 4000, 40000)]
        written += ["400_bytes/16_at_a_time", "400_bytes_in_5_columns/1_at_a_time"]
        frames = ["80_noise_frames", "80_game_frames"]
        rates = [f"sample/{size}_bytes/{how}" for size in (400, 4000, 40000) for how in ("uniform", "prioritised")]
        rates += [f"priorities/{size}_bytes/calls_of_256" for size in (400, 4000, 40000)]
        rates += [f"sample/{name}/uniform" for name in frames]
        phases = [f"{name}/{phase}" for name in written + frames for phase in ("first_fill", "steady")]
        rates += [f"insert/{phase}" for phase in phases]
        names = {f"replay/{rate}/{time}" for rate in rates for time in ("server_cpu", "wall")}
        names |= {f"replay/{rate}/wall_bytes" for rate in rates if any(name in rate for name in frames)}
        names |= {f"replay/memory/{phase}" for phase in phases}
        tiny = ["--json", "--seconds=0.01", "--items=600", "--megabytes=4"]
        self.assert_prints(["tools/bench/replay_items", *tiny], names)

    def test_ppo_update(self) -> None:
        names = {"ppo_update/continuous/threads1", "ppo_update/discrete/threads1"}
        self.assert_prints(["tools/bench/ppo_update", "--json", "--threads=1", "--seconds=0.05", "--rounds=1"], names)
        self.assert_prints([sys.executable, "tools/bench/ppo_update_sb3.py", *SHORT, "--threads", "1"], names)

    def test_sac_update(self) -> None:
        names = {"sac_update/batch256_hidden256/threads1", "sac_update/batch64_hidden64/threads1"}
        self.assert_prints(["tools/bench/sac_update", *TINY, "--threads=1"], names)
        self.assert_prints([sys.executable, "tools/bench/sac_update_sb3.py", *SHORT, "--threads", "1"], names)

    def test_scaling(self) -> None:
        loads = [f"scaling/step_of_1_ms/actors{count}" for count in (1, 2)]
        names = {*loads, *(f"{load}/learner" for load in loads)}
        differences = {f"scaling/light8/{of}/{what}" for of in ("learner", "shard") for what in ("memory", "processor")}
        differences |= {"scaling/light8/weights_behind"}
        names |= {"scaling/light8/steps", *differences}
        tiny = ["--json", "--seconds=0.5", "--actors=1,2", "--delays=0.001", "--light=8"]
        self.assert_prints([sys.executable, "tools/bench/scaling.py", *tiny], names, frozenset(differences))

    def test_topologies(self) -> None:
        tiny = ["--json", "--tasks=CartPole-v1", "--rows=QUEUE", "--seeds=1", "--steps=20000"]
        libraries = "--without=stable_baselines3,sample_factory,rllib"
        command = [sys.executable, "tools/bench/topologies/main.py", *tiny, libraries]
        self.assert_prints(command, {"topologies/CartPole-v1/QUEUE"})


if __name__ == "__main__":
    unittest.main()
