"""Stands in for a binary of a run: replay, learner, actor or the inspector; or for the Prometheus beside it.

It keeps the launcher's contract (addresses, ready file, SIGTERM, death with the parent) and nothing else, and notes
what happens to it in $FAKE_EVENTS.

    fake_process.py KIND [flags as the launcher gives them]

A configuration is JSON here. Fields of its `fake` object change behaviour:
  finish: the learner finishes the run at once, and the actors leave
  refuse: the name of a process that exits with code 2
  says: what it says before it does
  garble: the name of a process whose ready file is no JSON
  lost_steps: how many the run has lost, as its progress tells
  complain: the name of a process that logs an error before it serves
  warnings: what the inspector warns of
  misfit: other runs' networks do not fit
  fail_drain: the name of a process that exits with code 1 when it is told to end
  linger: the name of a process that does not end when it is told to

A Prometheus knows at once of what its targets' files name, or never, where there is $FAKE_PROMETHEUS_DEAF. It ends when
its disk is full, which it is after as many answers as $FAKE_PROMETHEUS_ANSWERS says.
"""

import argparse
import ctypes
import http.server
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1

METRICS = {
    "replay": "headrace_replay_table_inserted_steps 1000\nheadrace_replay_table_sampled_steps 8000\n",
    "learner": "headrace_learner_run_updates 500\nheadrace_learner_run_env_steps 1000\n",
    "actor": 'headrace_actor_env_steps_total{actor="0"} 500\nheadrace_actor_episode_return{actor="0"} -200\n',
}

EVALUATIONS = """env_steps,wall_seconds,updates,mean_return,std_return,mean_length,episodes
500,1,250,-900,50,200,10
1000,2,500,-200,30,200,10
"""


def note(text: str) -> None:
    """Adds a line to the events; short appends are atomic."""
    with open(os.environ["FAKE_EVENTS"], "a", encoding="utf-8") as file:
        file.write(text + "\n")


class Handler(http.server.BaseHTTPRequestHandler):
    text = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.text.encode())

    def log_message(self, *_: Any) -> None:
        pass


def serve_metrics(kind: str, listen: str) -> str:
    host, _, port = listen.rpartition(":")
    Handler.text = METRICS[kind]
    server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"{host}:{server.server_port}"


def begin_run(run_dir: Path, progress: bool, lost_steps: int) -> None:
    (run_dir / "metadata.json").write_text("{}\n", encoding="utf-8")
    if not (run_dir / "progress.csv").exists():
        header = "env_steps,wall_seconds,updates,replay/lost_steps\n"
        row = f"100,2,50,{lost_steps}\n" if progress else ""
        (run_dir / "progress.csv").write_text(header + row, encoding="utf-8")


def finish_run(run_dir: Path) -> None:
    (run_dir / "evaluations.csv").write_text(EVALUATIONS, encoding="utf-8")
    checkpoint = run_dir / "checkpoints" / "update-000000000500"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "MANIFEST.textproto").write_text(
        'format: 1\ncounters {\n  end_reason: "1000 environment steps are done"\n}\n', encoding="utf-8"
    )


def serve(kind: str, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in (
        "listen",
        "metrics_listen",
        "health_listen",
        "ready_file",
        "config",
        "shard",
        "checkpoint_dir",
        "run_dir",
    ):
        parser.add_argument(f"--{flag}")
    for flag in ("learner", "replay", "role", "index", "init_from", "typed", "revision"):
        parser.add_argument(f"--{flag}")
    parser.add_argument("--die_with_parent", type=int)
    flags = parser.parse_args(arguments)
    fake = json.loads(Path(flags.config).read_text(encoding="utf-8")).get("fake", {})
    name = kind if kind != "actor" or flags.role == "act" else "evaluator"

    # Waited for below. A handler would be lost if it came just before the wait.
    signals = {signal.SIGTERM, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    if flags.die_with_parent:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    if fake.get("refuse") == name:
        print(fake.get("says", f"config.textproto:1: {name} knows no field lerner, did you mean learner?"), flush=True)
        return 2
    if fake.get("complain") == name:
        print(f"2026-11-22 11:18:40.315 E {name}] checkpoint 5 is not usable", flush=True)
    metrics = serve_metrics(kind, flags.metrics_listen)
    addresses = {"metrics": metrics, "health": flags.health_listen}
    if flags.listen:
        addresses["grpc"] = f"127.0.0.1:{os.getpid()}" if flags.listen.endswith(":0") else flags.listen
    if kind == "learner" and flags.run_dir:
        begin_run(Path(flags.run_dir), bool(fake.get("progress")), fake.get("lost_steps", 0))
    ready = Path(flags.ready_file)
    text = "{" if fake.get("garble") == name else json.dumps(addresses)
    ready.with_suffix(".tmp").write_text(text, encoding="utf-8")
    note(f"{name} serves")
    ready.with_suffix(".tmp").rename(ready)

    if fake.get("finish") and kind != "replay":
        if kind == "learner":
            finish_run(Path(flags.run_dir))
    elif signal.sigwait(signals) == signal.SIGTERM:
        note(f"{name} drains")
        if fake.get("linger") == name:
            signal.sigwait({signal.SIGUSR1})
        return 1 if fake.get("fail_drain") == name else 130
    note(f"{name} finishes")
    return 0


def inspect(command: str, *arguments: str) -> int:
    if command == "certificates":
        return 0
    if command == "networks":
        source, config, *_ = arguments
        if json.loads(Path(config).read_text(encoding="utf-8")).get("fake", {}).get("misfit"):
            print(f"{source}: expected shape [3, 64], got [3, 32]", file=sys.stderr)
            return 2
        return 0
    if command == "resumable":
        stored, new = (json.loads(Path(path).read_text(encoding="utf-8")) for path in arguments)
        if stored["environment"] != new["environment"]:
            print("environment may not change on a resume", file=sys.stderr)
            return 2
        return 0
    config = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    for override in arguments[1:]:
        field, _, value = override.partition("=")
        if field not in config:
            print(f"--set {override}: unknown field {field}", file=sys.stderr)
            return 2
        config[field] = json.loads(value)
    if command == "estimate":
        config = {"warnings": config["fake"].get("warnings", [])}
    print(json.dumps(config))
    return 0


class PrometheusHandler(Handler):
    config = Path()

    def do_GET(self) -> None:
        if self.path.startswith("/api/v1/targets"):
            deaf = "FAKE_PROMETHEUS_DEAF" in os.environ
            self.text = json.dumps({"data": {"activeTargets": [] if deaf else self.targets()}})
        super().do_GET()

    def targets(self) -> list[dict[str, Any]]:
        configuration = json.loads(self.config.read_text(encoding="utf-8"))
        files = configuration["scrape_configs"][0]["file_sd_configs"][0]["files"]
        entries = [entry for file in files for entry in json.loads(Path(file).read_text(encoding="utf-8"))]
        note(f"Prometheus knows of {len(entries)}")
        return [{"discoveredLabels": {"__address__": address}} for entry in entries for address in entry["targets"]]


def prometheus(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--web.listen-address", dest="listen")
    parser.add_argument("--config.file", dest="config", type=Path)
    flags, _ = parser.parse_known_args(arguments)
    host, _, port = flags.listen.rpartition(":")
    PrometheusHandler.config = flags.config
    server = http.server.HTTPServer((host, int(port)), PrometheusHandler)
    for _ in range(int(os.environ.get("FAKE_PROMETHEUS_ANSWERS", 1 << 30))):
        server.handle_request()
    print("the disk is full", flush=True)
    return 3


def main(kind: str, *arguments: str) -> int:
    if kind == "inspect":
        return inspect(*arguments)
    if kind == "prometheus":
        return prometheus(list(arguments))
    return serve(kind, list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
