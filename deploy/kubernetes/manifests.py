"""The objects of deploy/kubernetes, rendered by kubectl, and what their containers are started with."""

import copy
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path("deploy")
KUBERNETES = DEPLOY / "kubernetes"
WORKLOADS = ("StatefulSet", "Deployment")
Object = dict[str, Any]


class NoKustomize(Exception):
    """There is no kubectl that renders these files; the text says what to do."""


def check_kubectl() -> None:
    """NoKustomize: it is missing or too old."""
    try:
        version = subprocess.run(["kubectl", "version", "--client"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        version = ""
    found = re.search(r"Kustomize Version: v(\d+)", version)
    if found is None or int(found[1]) < 5:
        raise NoKustomize("kubectl 1.27 or newer is needed, which brings Kustomize 5: https://kubernetes.io/docs/tasks/tools")


def require_kubectl(test: Any) -> None:
    """Skips a test for want of kubectl."""
    try:
        check_kubectl()
    except NoKustomize as error:
        test.skipTest(str(error))


def overlays() -> list[Path]:
    """The base, which is complete by itself, and what stands on it."""
    return [KUBERNETES / "base", *sorted(path.parent for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))]


def render(overlay: Path | str) -> list[Object]:
    """Of a directory of deploy/kubernetes; or of the text of a kustomization.yaml, which then lies in a directory
    beside deploy/, with a run.textproto."""
    return copy.deepcopy(_render(overlay))


@functools.cache
def _render(overlay: Path | str) -> list[Object]:
    with tempfile.TemporaryDirectory() as folder:
        # Bazel has links to the files, which Kustomize does not follow. Some of them lie elsewhere in deploy/.
        shutil.copytree(DEPLOY, Path(folder) / DEPLOY)
        target = Path(folder) / (overlay if isinstance(overlay, Path) else "my_run")
        if isinstance(overlay, str):
            target.mkdir()
            (target / "kustomization.yaml").write_text(overlay, encoding="utf-8")
            shutil.copy(KUBERNETES / "base" / "run.textproto", target)
        command = ["kubectl", "kustomize", str(target)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0 or result.stderr:
        raise AssertionError(f"{' '.join(command)}: {result.stderr}")
    return list(yaml.safe_load_all(result.stdout))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [one for one in objects if one["kind"] in kinds]


def named(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (one for one in of_kind(objects, kind) if one["metadata"]["name"] == name)
    return found


@dataclass(frozen=True)
class Container:
    """The only container of a workload."""

    workload: Object

    @property
    def name(self) -> str:
        return self.workload["metadata"]["name"]

    @property
    def template(self) -> Object:
        return self.workload["spec"]["template"]

    @property
    def pod(self) -> Object:
        return self.template["spec"]

    @property
    def spec(self) -> Object:
        (container,) = self.pod["containers"]
        return container

    @property
    def binary(self) -> str:
        """Its path under bazel-bin."""
        (command,) = self.spec["command"]
        return command.removeprefix("/opt/headrace/")

    @property
    def flags(self) -> list[tuple[str, str]]:
        """Names and values, variables as they are written."""
        return [tuple(word.removeprefix("--").partition("=")[::2]) for word in self.spec["args"]]

    def flag(self, name: str) -> str | None:
        return dict(self.flags).get(name)

    @property
    def labels(self) -> dict[str, str]:
        return self.template["metadata"]["labels"]

    def environment(self, pod: int = 0) -> dict[str, str]:
        """As the kubelet gives it to the pod of this number."""
        fields = {
            "metadata.namespace": self.workload["metadata"]["namespace"],
            "metadata.labels['apps.kubernetes.io/pod-index']": str(pod),
        }
        return {
            one["name"]: one["value"] if "value" in one else fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
            for one in self.spec.get("env", [])
        }

    def arguments(self, pod: int = 0) -> list[str]:
        """Variables replaced."""
        values = self.environment(pod)
        return [re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], word) for word in self.spec["args"]]

    def mount_of(self, path: str) -> tuple[Object, Object] | None:
        """The mount that a path in the container lies on, and its volume."""
        volumes = {volume["name"]: volume for volume in self.pod.get("volumes", [])}
        for claim in self.workload["spec"].get("volumeClaimTemplates", []):
            volumes[claim["metadata"]["name"]] = {"claim": claim}
        for mount in self.spec.get("volumeMounts", []):
            if Path(path).is_relative_to(mount["mountPath"]):
                return mount, volumes[mount["name"]]
        return None


def containers(objects: list[Object]) -> Iterator[Container]:
    """Of a run's own processes; images of others have commands of their own."""
    for workload in of_kind(objects, *WORKLOADS):
        container = Container(workload)
        if "command" in container.spec:
            yield container
