"""Which processes a run has, in which order they start, and with which arguments.

The binaries stand alone: what is passed here is what their --help names, and a cluster passes the same.
"""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace_cli import security, workspace
from headrace_cli.child import ChildSpec
from headrace_cli.run_directory import RunDirectory


def stages_of(
    config: Mapping[str, Any],
    directory: RunDirectory,
    init_from: Path | None,
    revision: str,
    certificates: Path | None,
) -> list[list[ChildSpec]]:
    """Shards first, then the learner, which needs their addresses, then actors and the evaluator."""
    shards = [_shard(directory, index) for index in range(shards_of(config))]
    shard_names = [shard.name for shard in shards]
    learner = _learner(directory, shard_names, init_from)
    actors = [
        _actor(directory, f"actor-{index}", "actor", ["--role=act", f"--index={index}"], shard_names)
        for index in range(int(config["actor"]["processes"]))
    ]
    evaluators = [
        _actor(directory, "evaluator", "evaluator", ["--role=evaluate"], [])
        for _ in range(int(config["evaluation"]["processes"]))
    ]
    flags = security.process_flags(certificates) + ([f"--revision={revision}"] if revision else [])
    return [[_with_flags(spec, flags) for spec in stage] for stage in (shards, [learner], actors + evaluators)]


def _with_flags(spec: ChildSpec, flags: list[str]) -> ChildSpec:
    return replace(spec, arguments=lambda addresses: [*spec.arguments(addresses), *flags])


def shards_of(config: Mapping[str, Any]) -> int:
    """None where nothing but gradients travels."""
    return 0 if config.get("topology") == "ASYNCHRONOUS_GRADIENTS" else int(config["replay"]["shards"])


def _shard(directory: RunDirectory, index: int) -> ChildSpec:
    arguments = [
        f"--config={directory.config}",
        f"--shard={index}",
        f"--checkpoint_dir={directory.checkpoints / f'replay-{index}'}",
    ]
    return ChildSpec(f"replay-{index}", "replay", directory.binaries / workspace.REPLAY, lambda _: arguments)


def _learner(directory: RunDirectory, shards: list[str], init_from: Path | None) -> ChildSpec:
    def arguments(addresses: Mapping[str, str]) -> list[str]:
        given = [
            f"--config={directory.config}",
            f"--run_dir={directory.path}",
            *_replay_flag(shards, addresses),
            f"--typed={shlex.join(['tools/headrace', *sys.argv[1:]])}",
        ]
        return given + ([f"--init_from={init_from}"] if init_from else [])

    return ChildSpec("learner", "learner", directory.binaries / workspace.LEARNER, arguments, completes_run=True)


def _actor(directory: RunDirectory, name: str, role: str, flags: list[str], shards: list[str]) -> ChildSpec:
    def arguments(addresses: Mapping[str, str]) -> list[str]:
        return [
            f"--config={directory.config}",
            *flags,
            f"--learner={addresses['learner']}",
            *_replay_flag(shards, addresses),
        ]

    return ChildSpec(name, role, directory.binaries / workspace.ACTOR, arguments, serves=("metrics", "health"))


def _replay_flag(shards: list[str], addresses: Mapping[str, str]) -> list[str]:
    """None where there is nothing to say: without replay, and for an evaluator."""
    return ["--replay=" + ",".join(addresses[shard] for shard in shards)] if shards else []
