"""Every overlay renders, every object is one that Kubernetes knows, and whatever the manifests name is there: flags,
ports, mounts, variables, hosts."""

import functools
import json
import re
import subprocess
import unittest
from pathlib import Path

import kubernetes_validate
from manifests import KUBERNETES, Container, Object, containers, named, of_kind, overlays, render, require_kubectl

# Of the Prometheus operator, whose schemas come with it.
CUSTOM = {"ServiceMonitor"}
PAGE = Path("docs/kubernetes.md")
LEARNER = Path("learner/learner.cc")
PATIENCES = ("kLastCheckpointsPatience", "kLeavePatience")
CONNECTING = 10  # to a shard, for a checkpoint: learner/checkpoint_writer.h
KEYS = {"headrace-tls": {"ca.crt", "tls.crt", "tls.key"}, "headrace-token": {"token"}}


@functools.cache
def flags_of(binary: str) -> frozenset[str]:
    result = subprocess.run([f"./{binary}", "--help"], capture_output=True, text=True, check=True)
    return frozenset(re.findall(r"^  --(\w+):", result.stdout, re.MULTILINE))


@functools.cache
def validate(text: str) -> None:
    """An object, as JSON; most are the same in every overlay."""
    kubernetes_validate.validate(json.loads(text), kubernetes_validate.latest_version(), strict=True)


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


class ManifestsTest(unittest.TestCase):
    overlay = KUBERNETES / "base"

    def setUp(self) -> None:
        require_kubectl(self)
        self.objects = render(self.overlay)
        self.containers = list(containers(self.objects))

    def container(self, name: str) -> Container:
        (found,) = (one for one in self.containers if one.name == name)
        return found

    def test_kubernetes_knows_every_object(self) -> None:
        for one in self.objects:
            with self.subTest(kind=one["kind"], name=one["metadata"]["name"]):
                if one["kind"] not in CUSTOM:
                    validate(json.dumps(one, sort_keys=True))
                if one["kind"] != "Namespace":
                    self.assertEqual(one["metadata"]["namespace"], "headrace")

    def test_flags_are_of_the_binaries_and_come_once(self) -> None:
        for container in self.containers:
            with self.subTest(container.name):
                names = [name for name, _ in container.flags]
                self.assertEqual(set(names) - flags_of(container.binary), set())
                self.assertEqual(len(names) - names.count("set") + 1, len(set(names)))

    def test_the_binaries_accept_the_configuration_as_the_cluster_changes_it(self) -> None:
        data = next(one for one in of_kind(self.objects, "ConfigMap"))["data"]
        for container in self.containers:
            with self.subTest(container.name):
                path = Path(container.flag("config"))
                mount, volume = container.mount_of(str(path))
                self.assertRegex(volume["configMap"]["name"], r"^headrace-run-")
                self.assertEqual(str(path), f"{mount['mountPath']}/{path.name}")
                self.assertIn(path.name, data)
                with open(f"{self.id()}.textproto", "w", encoding="utf-8") as file:
                    file.write(data[path.name])
                local = Path(file.name).absolute()
                overrides = [word for word in container.arguments() if word.startswith("--set=")]
                # A mistake further on: what comes before it, the configuration, was accepted.
                command = [f"./{container.binary}", f"--config={local}", *overrides, "--token_file=only"]
                result = subprocess.run(command, capture_output=True, text=True, check=False)
                self.assertEqual(result.returncode, 2)
                self.assertIn("--certificates and --token_file belong together", result.stderr)

    def test_variables_are_defined_and_used(self) -> None:
        for container in self.containers:
            with self.subTest(container.name):
                used = set(re.findall(r"\$\((\w+)\)", " ".join(container.spec["args"])))
                self.assertEqual(used, set(container.environment()))

    def test_ports_are_those_that_the_process_listens_on(self) -> None:
        for container in self.containers:
            with self.subTest(container.name):
                ports = {port["name"]: port["containerPort"] for port in container.spec["ports"]}
                flags = {"grpc": "listen", "health": "health_listen", "metrics": "metrics_listen"}
                given = {name: container.flag(flag) for name, flag in flags.items() if container.flag(flag)}
                self.assertEqual({name: f"0.0.0.0:{port}" for name, port in ports.items()}, given)
                self.assertEqual("listen" in flags_of(container.binary), "grpc" in ports)
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    self.assertEqual(container.spec[probe]["grpc"]["port"], ports["health"], probe)

    def test_services_lead_to_ports_of_pods(self) -> None:
        for service in of_kind(self.objects, "Service"):
            found = [one for one in self.containers if matches(service["spec"]["selector"], one.labels)]
            self.assertTrue(found, service["metadata"]["name"])
            for container in found:
                ports = {port["name"]: port["containerPort"] for port in container.spec["ports"]}
                for port in service["spec"]["ports"]:
                    self.assertEqual(ports[port["targetPort"]], port["port"])

    def test_addresses_are_of_services_of_this_cluster(self) -> None:
        for container in self.containers:
            arguments = dict(word.removeprefix("--").partition("=")[::2] for word in container.arguments())
            if "learner" in arguments:
                self.assertEqual(arguments["learner"], self.address(named(self.objects, "Service", "headrace-learner")))
            if "replay" in arguments:
                shards = named(self.objects, "StatefulSet", "headrace-replay")
                service = named(self.objects, "Service", shards["spec"]["serviceName"])
                self.assertEqual(service["spec"]["clusterIP"], "None")
                self.assertEqual(arguments["replay"], f"{shards['metadata']['name']}-{{}}.{self.address(service)}")

    def address(self, service: Object) -> str:
        (port,) = service["spec"]["ports"]
        return f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{port['port']}"

    def test_the_configuration_follows_the_replicas(self) -> None:
        shards = named(self.objects, "StatefulSet", "headrace-replay")["spec"]["replicas"]
        actors = named(self.objects, "Deployment", "headrace-actor")["spec"]["replicas"]
        for container in self.containers:
            self.assertIn(f"--set=replay.shards={shards}", container.arguments(), container.name)
            self.assertIn(f"--set=actor.processes={actors}", container.arguments(), container.name)

    def test_files_lie_on_volumes_and_what_is_written_on_ones_that_last(self) -> None:
        for container in self.containers:
            for flag, value in container.flags:
                if not value.startswith("/"):
                    continue
                with self.subTest(container.name, flag=flag):
                    mount, volume = container.mount_of(value)
                    written = flag in ("run_dir", "checkpoint_dir")
                    self.assertEqual(written, "claim" in volume)
                    self.assertEqual(written, not mount.get("readOnly", False))
            mounted = {mount["name"] for mount in container.spec["volumeMounts"]}
            volumes = {volume["name"] for volume in container.pod["volumes"]}
            claims = {one["metadata"]["name"] for one in container.workload["spec"].get("volumeClaimTemplates", [])}
            self.assertEqual(mounted, volumes | claims)

    def test_doors_are_closed(self) -> None:
        for container in self.containers:
            with self.subTest(container.name):
                self.assertIsNone(container.flag("insecure"))
                _, tls = container.mount_of(container.flag("certificates"))
                self.assertEqual(tls["secret"]["secretName"], "headrace-tls")
                mount, token = container.mount_of(container.flag("token_file"))
                self.assertEqual(token["secret"]["secretName"], "headrace-token")
                self.assertEqual(container.flag("token_file"), f"{mount['mountPath']}/token")

    def test_the_page_makes_the_secrets_that_are_mounted_for_the_names_that_are_called(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        for secret, keys in KEYS.items():
            command = re.search(rf"kubectl [^\n]*create secret generic {secret}((?: *\\?\n? *--from-file=\S+)+)", text)
            self.assertIsNotNone(command, secret)
            files = re.findall(r"--from-file=\S*?([\w.]+)(?=\s|$)", command[1])
            self.assertEqual(set(files), keys)
        names = re.findall(r"--name '?([\w.*-]+)'?", text)
        for name in ("headrace-learner.headrace.svc", "*.headrace-replay.headrace.svc"):
            self.assertIn(name, names)

    def test_being_told_to_end_is_the_drain(self) -> None:
        """SIGTERM makes each role finish in order. The image has no shell, so a hook that runs a command would fail."""
        for container in self.containers:
            self.assertNotIn("lifecycle", container.spec, container.name)
        self.assertIn("a preStop hook would only delay", " ".join(PAGE.read_text(encoding="utf-8").split()))

    def test_what_is_many_has_a_budget_and_what_is_one_can_be_moved(self) -> None:
        budgets = of_kind(self.objects, "PodDisruptionBudget")
        for container in self.containers:
            mine = [one for one in budgets if matches(one["spec"]["selector"]["matchLabels"], container.labels)]
            self.assertEqual(len(mine), container.name in ("headrace-replay", "headrace-actor"), container.name)
        for budget in budgets:
            # One that allows no eviction keeps a node from being drained.
            self.assertNotIn(budget["spec"]["maxUnavailable"], (0, "0%"))

    def test_the_last_checkpoint_has_its_shards_as_long_as_it_takes(self) -> None:
        """Everybody is told to end at once. The learner waits for the checkpoint under way and for its last one, then for
        actors to leave, and is killed after its grace; shards serve until then, and then write what came later."""
        shard = self.container("headrace-replay")
        learner = self.container("headrace-learner").pod["terminationGracePeriodSeconds"]
        text = LEARNER.read_text(encoding="utf-8")
        checkpoints, leave = (int(re.search(rf"{name}{{(\d+)}}", text)[1]) for name in PATIENCES)
        self.assertGreaterEqual(learner, checkpoints + leave + CONNECTING)
        self.assertGreaterEqual(int(shard.flag("drain_seconds")), learner)
        self.assertGreaterEqual(shard.pod["terminationGracePeriodSeconds"], int(shard.flag("drain_seconds")) + 60)

    def test_a_shard_knows_its_number(self) -> None:
        self.assertEqual(self.container("headrace-replay").arguments(3).count("--shard=3"), 1)

    def test_policies_and_budgets_select_pods_that_there_are(self) -> None:
        for one in of_kind(self.objects, "NetworkPolicy", "PodDisruptionBudget"):
            selector = one["spec"].get("podSelector", one["spec"].get("selector"))["matchLabels"]
            self.assertTrue([c for c in self.containers if matches(selector, c.labels)], one["metadata"]["name"])
        names = {port["name"] for container in self.containers for port in container.spec["ports"]}
        numbers = {port["containerPort"] for container in self.containers for port in container.spec["ports"]}
        for policy in of_kind(self.objects, "NetworkPolicy"):
            for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
                self.assertTrue({port["port"] for port in rule["ports"]} <= names | numbers | {53})

    def test_who_calls_whom_is_what_the_policies_allow(self) -> None:
        for callee, flag in (("replay", "replay"), ("learner", "learner")):
            policy = named(self.objects, "NetworkPolicy", f"headrace-{callee}")
            (rule,) = policy["spec"]["ingress"]
            allowed = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["from"]}
            callers = {c.labels["app.kubernetes.io/component"] for c in self.containers if c.flag(flag)}
            # An evaluator is told where the shards are, as every actor, and never calls them.
            self.assertEqual(allowed, callers - ({"evaluator"} if callee == "replay" else set()))

    def test_pods_may_do_nothing_that_they_need_not(self) -> None:
        for container in self.containers:
            with self.subTest(container.name):
                self.assertTrue(container.pod["securityContext"]["runAsNonRoot"])
                self.assertFalse(container.pod["automountServiceAccountToken"])
                security = container.spec["securityContext"]
                self.assertTrue(security["readOnlyRootFilesystem"])
                self.assertFalse(security["allowPrivilegeEscalation"])
                self.assertEqual(security["capabilities"], {"drop": ["ALL"]})
                self.assertIn("memory", container.spec["resources"]["limits"])
                self.assertIn("cpu", container.spec["resources"]["requests"])


class SmallTest(ManifestsTest):
    overlay = KUBERNETES / "overlays/small"

    def test_it_is_small(self) -> None:
        self.assertEqual(named(self.objects, "StatefulSet", "headrace-replay")["spec"]["replicas"], 1)


class GpuLearnerTest(ManifestsTest):
    overlay = KUBERNETES / "overlays/gpu_learner"

    def test_the_learner_alone_has_a_gpu(self) -> None:
        for container in self.containers:
            with_gpu = container.name == "headrace-learner"
            self.assertEqual("nvidia.com/gpu" in container.spec["resources"]["limits"], with_gpu)
            self.assertEqual("--set=device=cuda" in container.spec["args"], with_gpu)

    def test_the_autoscaler_scales_the_actors(self) -> None:
        (scaler,) = of_kind(self.objects, "HorizontalPodAutoscaler")
        target = scaler["spec"]["scaleTargetRef"]
        named(self.objects, target["kind"], target["name"])


class ServiceMonitorTest(ManifestsTest):
    overlay = KUBERNETES / "overlays/service_monitor"

    def test_the_monitor_finds_the_metrics_of_every_pod(self) -> None:
        (monitor,) = of_kind(self.objects, "ServiceMonitor")
        selector = monitor["spec"]["selector"]["matchLabels"]
        (service,) = (one for one in of_kind(self.objects, "Service") if matches(selector, one["metadata"]["labels"]))
        self.assertEqual(monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"])
        for container in self.containers:
            self.assertTrue(matches(service["spec"]["selector"], container.labels))


class InsecureTest(ManifestsTest):
    overlay = KUBERNETES / "overlays/insecure"

    def test_doors_are_closed(self) -> None:
        """They are open, and say so."""
        for container in self.containers:
            self.assertIsNotNone(container.flag("insecure"))
            self.assertIsNone(container.flag("certificates"))
            self.assertIsNone(container.flag("token_file"))
            self.assertNotIn("secret", str(container.pod["volumes"]))


class OverlaysTest(unittest.TestCase):
    def test_each_has_its_tests(self) -> None:
        tested = {one.overlay for one in (ManifestsTest, SmallTest, GpuLearnerTest, ServiceMonitorTest, InsecureTest)}
        self.assertEqual(set(overlays()), tested)


if __name__ == "__main__":
    unittest.main()
