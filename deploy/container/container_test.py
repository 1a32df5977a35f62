"""The image, and a run in it from the manifests of deploy/kubernetes: two shards, a learner, four actors and an
evaluator in containers of their own, with mutual TLS and token. A shard and the learner are killed on the way, come back,
and the score is reached.

The image is the last stage of the Dockerfile, with the binaries that Bazel has built here. The first stage, which installs
and builds everything in a container, is run by dockerfile_test: it takes as long as a first build, and a network.

podman stands in for a cluster. What it does not do, this file does as a cluster would: it makes named Pods of
StatefulSets, fills in variables, gives names addresses (hostAliases for DNS), and mounts keys from a directory, because
podman 4.3 takes what is in a Secret for its text. It asks what the kubelet's probes ask. Whatever else of the manifests is
not run makes the test fail.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

import grpc
import yaml
from headrace_cli import metrics
from manifests import KUBERNETES, Container, Object, containers, of_kind, render, require_kubectl

IMAGE = "localhost/headrace-test"
NETWORK = "headrace-test"
SUBNET = "10.93.7"
# Of a cluster's network and its bookkeeping; what they hold is tested with the manifests.
NOT_RUN = {"Service", "PodDisruptionBudget", "NetworkPolicy"}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
SERVING = b"\x08\x01"  # a HealthCheckResponse
DEADLINE_SECONDS = 240.0  # of one wait; Bazel gives the whole test 900
DOCKERFILE = Path("deploy/container/Dockerfile")


def podman(*arguments: str, check: bool = True, **options: Any) -> str:
    # What podman calls to make networks lies where administrators' programs do.
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    result = subprocess.run(
        ["podman", *arguments], capture_output=True, text=True, check=False, env=environment, **options
    )
    if check and result.returncode != 0:
        raise AssertionError(f"podman {' '.join(arguments)}: {result.stderr}")
    return result.stdout


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_SECONDS:.0f} s: {what}")
        time.sleep(0.2)


def build_image(context: Path) -> None:
    """The last stage of the Dockerfile, with what Bazel has built here in place of the first stage."""
    subprocess.run(["deploy/container/collect", os.environ["HEADRACE_BINARIES"], str(context)], check=True)
    last = context.parent / "Dockerfile"
    last.write_text("FROM scratch" + DOCKERFILE.read_text(encoding="utf-8").partition("FROM scratch")[2].replace(
        "/image /", ". /"), encoding="utf-8")
    podman("build", "--layers=false", "--network=none", "--build-context", f"binaries={context}", "--file", str(last), "--tag", IMAGE, str(context.parent))


class Cluster:
    """Pods of the rendered manifests."""

    def __init__(self, directory: Path, objects: list[Object], secrets: dict[str, Path]) -> None:
        self._directory = directory
        self._secrets = secrets
        self._skipped = {one["kind"] for one in objects} - NOT_RUN
        (self._run,) = of_kind(objects, "ConfigMap")
        self.pods: dict[str, Container] = {}
        self.numbers: dict[str, int] = {}
        for container in containers(objects):
            for number in range(container.workload["spec"]["replicas"]):
                name = f"{container.name}-{number}"
                self.pods[name], self.numbers[name] = container, number
        self.addresses = {name: f"{SUBNET}.{10 + place}" for place, name in enumerate(self.pods)}
        self._names = [
            {"ip": address, "hostnames": [self._host(name)]}
            for name, address in self.addresses.items()
            if self.pods[name].workload["kind"] == "StatefulSet"
        ]

    def _host(self, pod: str) -> str:
        """What the cluster's DNS would call it: pods of a headless service by their own names."""
        workload = self.pods[pod].workload
        service = f"{workload['spec']['serviceName']}.{workload['metadata']['namespace']}.svc"
        return service if pod == "headrace-learner-0" else f"{pod}.{service}"

    def pod(self, name: str) -> Object:
        container, number = self.pods[name], self.numbers[name]
        spec = json.loads(json.dumps(container.pod))
        (one,) = spec["containers"]
        one["image"] = IMAGE
        # The run takes seconds: the default would be long after its end.
        one["args"] = [*container.arguments(number), "--set=checkpoint.interval_seconds=2"]
        one["env"] = []
        for probe in PROBES:
            del one[probe]  # see `healthy`
        del one["resources"]  # this machine has what it has
        del one["ports"]  # podman would publish them on it
        spec["hostAliases"] = self._names
        # What has no alias, as IPv6 addresses, is refused at once: this machine's DNS may take longer than a run.
        spec["dnsConfig"] = {"nameservers": ["127.0.0.1"]}
        spec["restartPolicy"] = "Always"
        for claim in container.workload["spec"].get("volumeClaimTemplates", []):
            volume = {"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": f"data-{name}"}}
            spec["volumes"].append(volume)
        for volume in spec["volumes"]:
            if secret := volume.pop("secret", None):
                volume["hostPath"] = {"path": str(self._secrets[secret["secretName"]]), "type": "Directory"}
        labels = container.labels | {"apps.kubernetes.io/pod-index": str(number)}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}

    def start(self) -> None:
        self.stop()  # what an interrupted test has left
        assert self._skipped == {"ConfigMap", "StatefulSet", "Deployment"}, f"nobody runs {self._skipped}"
        for name in self.pods:
            path = self._directory / f"{name}.yaml"
            path.write_text(yaml.safe_dump_all([self._run, self.pod(name)]), encoding="utf-8")
            podman("play", "kube", "--network", NETWORK, "--ip", self.addresses[name], str(path))

    def container_of(self, pod: str) -> str:
        return f"{pod}-{self.pods[pod].spec['name']}"

    def log(self, pod: str) -> str:
        result = subprocess.run(
            ["podman", "logs", self.container_of(pod)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return result.stdout

    def pid(self, pod: str) -> int:
        return int(podman("inspect", "--format", "{{.State.Pid}}", self.container_of(pod)))

    def number(self, pod: str) -> int:
        """What its process is to those in the pod."""
        status = Path(f"/proc/{self.pid(pod)}/status").read_text(encoding="utf-8")
        return int(re.search(r"^NSpid:.*\t(\d+)$", status, re.MULTILINE)[1])

    def healthy(self, pod: str, probe: str) -> bool:
        """Asks as the kubelet does: the standard health service, of the server as a whole."""
        asked = self.pods[pod].spec[probe]
        with grpc.insecure_channel(f"{self.addresses[pod]}:{asked['grpc']['port']}") as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            try:
                return check(b"", timeout=asked.get("timeoutSeconds", 1)) == SERVING
            except grpc.RpcError:
                return False

    def inserted_steps(self, shard: str) -> float:
        scrape = metrics.fetch(f"{self.addresses[shard]}:7002")
        return scrape.total("headrace_replay_inserted_steps_total") or 0 if scrape is not None else 0

    def kill(self, pod: str) -> None:
        """As when the kernel ends it: nobody has asked podman to."""
        before = self.pid(pod)
        os.kill(before, 9)
        wait_until(lambda: self.pid(pod) not in (0, before), f"{pod} is started again")

    def stop(self) -> None:
        for name in self.pods:
            podman("pod", "rm", "--force", "--time=0", "--ignore", name, check=False)
            podman("volume", "rm", "--force", f"data-{name}", check=False)
        podman("volume", "rm", "--force", self._run["metadata"]["name"], check=False)


class ContainerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        if shutil.which("podman") is None or os.geteuid() != 0:
            raise unittest.SkipTest("podman and root are needed: run tools/setup --test")
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.directory = Path(temporary.name)
        os.environ["CONTAINERS_CONF"] = str(Path("deploy/container/containers.conf").absolute())
        began = time.monotonic()
        build_image(cls.directory / "context" / "root")
        cls.addClassCleanup(podman, "rmi", "--force", IMAGE, check=False)
        print(f"the image was built in {time.monotonic() - began:.0f} s", flush=True)

    def test_the_image_is_small_and_has_no_shell(self) -> None:
        size = int(podman("image", "inspect", "--format", "{{.Size}}", IMAGE))
        print(f"the image has {size / 1e6:.0f} MB", flush=True)
        self.assertLess(size, 450e6)
        result = subprocess.run(["podman", "run", "--rm", "--entrypoint", "/bin/sh", IMAGE], capture_output=True)
        self.assertNotEqual(result.returncode, 0)
        user = podman("image", "inspect", "--format", "{{.User}}", IMAGE).strip()
        self.assertEqual(user, "65532:65532")

    def test_an_argument_makes_the_learner_for_gpus(self) -> None:
        """Both stages of the Dockerfile as they are, with stand-ins for the programs that they call."""
        base, image = f"{IMAGE}-base", f"{IMAGE}-stages"
        self.addCleanup(podman, "rmi", "--force", "--ignore", image, base, check=False)
        context = self.directory / "stages"
        record = '#!/bin/sh\necho "${0##*/} $*" >>/image/calls\n'
        root = context / "base"
        libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout)
        for file in ("/bin/sh", *libraries):
            (root / file[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / file[1:])
        (root / "image").mkdir()
        (root / "image/.keep").touch()
        for stand_in in (root / "usr/bin/bazel", context / "tools/setup", context / "deploy/container/collect"):
            stand_in.parent.mkdir(parents=True, exist_ok=True)
            stand_in.write_text(record, encoding="utf-8")
            stand_in.chmod(0o755)
        (root / "Dockerfile").write_text("FROM scratch\nCOPY . /\n", encoding="utf-8")
        podman("build", "--layers=false", "--network=none", "--tag", base, str(root))
        for arguments, setup, build in (((), "", ""), (("--build-arg=CUDA=1",), "--cuda", "--config=cuda ")):
            words = ("--layers=false", "--network=none", f"--build-arg=BASE={base}", *arguments, "--file", str(DOCKERFILE), "--tag", image)
            podman("build", *words, str(context))
            container = podman("create", image).strip()
            podman("cp", f"{container}:/calls", str(self.directory / "calls"))
            podman("rm", container)
            podman("rmi", image)
            expected = [f"setup {setup}", f"bazel build {build}//actor //learner //replay", "collect bazel-bin /image"]
            self.assertEqual((self.directory / "calls").read_text(encoding="utf-8").splitlines(), expected)

    def test_a_run_reaches_its_score_although_a_shard_and_the_learner_are_killed(self) -> None:
        require_kubectl(self)
        cluster = self.cluster()
        self.addCleanup(self.tell, cluster)
        cluster.start()
        learner = "headrace-learner-0"
        for name in cluster.pods:
            for probe in PROBES:
                wait_until(lambda: cluster.healthy(name, probe), f"{probe} of {name}")
        wait_until(lambda: "evaluation at" in cluster.log(learner), "the first evaluation")
        # Actors that found it late may go on trying for a while.
        wait_until(lambda: cluster.inserted_steps("headrace-replay-1") > 0, "the shard holds something")
        cluster.kill("headrace-replay-1")
        wait_until(lambda: cluster.healthy("headrace-replay-1", "readinessProbe"), "the shard serves again")
        self.assertRegex(cluster.log("headrace-replay-1"), r"[1-9]\d* steps restored from the journal")
        wait_until(lambda: "checkpoint update-" in cluster.log(learner), "a checkpoint")
        cluster.kill(learner)
        wait_until(lambda: "resumed at" in cluster.log(learner), "the learner goes on")
        wait_until(lambda: "staying until told to end" in cluster.log(learner), "the run ends")
        self.assertIn("the score of -180 is reached", cluster.log(learner))
        for name in cluster.pods:
            # Until it is told to end nobody has a reason to start it again.
            self.assertTrue(cluster.healthy(name, "livenessProbe"), name)
            self.assertNotIn("Handshake failed", cluster.log(name))
            # As number 1 of its namespace a process would not end when it is told to while it still loads.
            self.assertNotEqual(cluster.number(name), 1, name)
            podman("stop", "--time", str(cluster.pods[name].pod["terminationGracePeriodSeconds"]), cluster.container_of(name))
            # 137: it had to be killed.
            code = podman("inspect", "--format", "{{.State.ExitCode}}", cluster.container_of(name)).strip()
            self.assertIn(code, ("0", "130"), name)

    def cluster(self) -> Cluster:
        secrets = self.directory / "certificates"
        names = ("headrace-learner.headrace.svc", "*.headrace-replay.headrace.svc")
        command = "import sys; from headrace_cli.main import main; sys.exit(main(sys.argv[1:]))"
        arguments = ["certificates", str(secrets), *(word for name in names for word in ("--name", name))]
        subprocess.run([sys.executable, "-c", command, *arguments], check=True)
        keys = {"headrace-tls": ("ca.crt", "tls.crt", "tls.key"), "headrace-token": ("token",)}
        mounted = {}
        for secret, files in keys.items():
            mounted[secret] = self.directory / secret
            mounted[secret].mkdir()
            for file in files:
                shutil.copy(secrets / file, mounted[secret])
                os.chown(mounted[secret] / file, 65532, 65532)
        podman("network", "rm", "--force", NETWORK, check=False)
        podman("network", "create", "--subnet", f"{SUBNET}.0/24", NETWORK)
        self.addCleanup(podman, "network", "rm", "--force", NETWORK, check=False)
        pods = self.directory / "pods"
        pods.mkdir()
        cluster = Cluster(pods, render(KUBERNETES / "base"), mounted)
        self.addCleanup(cluster.stop)
        return cluster

    def tell(self, cluster: Cluster) -> None:
        """For the log of a test that fails."""
        for name in cluster.pods:
            print(f"--- {name}\n{cluster.log(name)}", flush=True)


if __name__ == "__main__":
    unittest.main()
