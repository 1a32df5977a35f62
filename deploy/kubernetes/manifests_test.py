"""Every overlay renders, every object is one that Kubernetes knows, and whatever the manifests name is there: flags,
ports, mounts, variables, hosts. Whatever has to fit, as memory and times, is computed."""

import functools
import json
import re
import subprocess
import textwrap
import unittest
from pathlib import Path

import generate
import kubernetes_validate
import yaml
from manifests import KUBERNETES, Container, Object, containers, named, of_kind, overlays, render, require_kubectl

# Of the Prometheus operator, whose schemas come with it.
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
PROMETHEUS = Path("deploy/prometheus/prometheus-kubernetes.yml")
PAGE = Path("docs/kubernetes.md")
RUNBOOK = Path("docs/runbook.md")
LEARNER = Path("learner/learner.cc")
PATIENCES = ("kLastCheckpointsPatience", "kLeavePatience")
ESTIMATE = "tools/estimate.h"
CONNECTING = 10  # to a shard, for a checkpoint: learner/checkpoint_writer.h
KEYS = {"headrace-tls": {"ca.crt", "tls.crt", "tls.key"}, "headrace-token": {"token"}}


@functools.cache
def flags_of(binary: str) -> frozenset[str]:
    result = subprocess.run([f"./{binary}", "--help"], capture_output=True, text=True, check=True)
    return frozenset(re.findall(r"^  --(\w+):", result.stdout, re.MULTILINE))


@functools.cache
def estimate_of(config: str, overrides: tuple[str, ...]) -> Object:
    """What a run of the configuration takes."""
    command = ["tools/inspect", "estimate", config, *overrides]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def constant(file: str, name: str) -> int:
    """Of a header, written as `name = size_t{5} << 29`, `name = 64 << 20` or alike."""
    text = Path(file).read_text(encoding="utf-8")
    factor, shift = re.search(rf"\b{name} = (?:size_t{{)?(\d+)}}? << (\d+);", text).groups()
    return int(factor) << int(shift)


def amount(quantity: str) -> int:
    """Bytes, as Kubernetes writes them."""
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) << {"Mi": 20, "Gi": 30}[unit]


@functools.cache
def validate(text: str) -> None:
    """An object, as JSON; most are the same in every overlay."""
    kubernetes_validate.validate(json.loads(text), kubernetes_validate.latest_version(), strict=True)


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def composed(*names: str, shards: int, actors: int) -> str:
    """An overlay of one's own, of components in this order."""
    kubernetes = f"../{KUBERNETES}"
    return yaml.safe_dump(
        {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "headrace",
            "resources": [f"{kubernetes}/base"],
            "components": [f"{kubernetes}/components/{name}" for name in names],
            "replicas": [{"name": "headrace-replay", "count": shards}, {"name": "headrace-actor", "count": actors}],
            "transformers": [f"{kubernetes}/transformers/replicas"],
        }
    )


class ManifestsTest(unittest.TestCase):
    overlay: Path | str = KUBERNETES / "base"

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

    def test_memory_holds_what_a_process_takes_and_what_clients_may_make_it_hold(self) -> None:
        """What it takes is asked for. Before it takes more than its limit it turns a client away: one that sends
        without pause, or one that does not read."""
        (data,) = (one["data"] for one in of_kind(self.objects, "ConfigMap"))
        with open(f"{self.id()}.textproto", "w", encoding="utf-8") as file:
            file.write(data["run.textproto"])
        shards = named(self.objects, "StatefulSet", "headrace-replay")["spec"]["replicas"]
        actors = named(self.objects, "Deployment", "headrace-actor")["spec"]["replicas"]
        estimate = estimate_of(file.name, (f"replay.shards={shards}", f"actor.processes={actors}"))
        libraries = estimate["shared_libraries"]["memory_bytes"]
        takes = {
            "headrace-replay": constant(ESTIMATE, "kReplayProcessBytes") + estimate["replay"]["budget_bytes"] // shards,
            "headrace-learner": estimate["learner"]["memory_bytes"],
            "headrace-actor": estimate["actors_and_evaluators"]["memory_bytes_each"],
            "headrace-evaluator": estimate["actors_and_evaluators"]["memory_bytes_each"],
        }
        clients = constant("common/grpc_server.h", "buffer_bytes") + constant("common/server_stream.h", "unsent_bytes")
        message = constant("common/grpc_server.h", "kMaxMessageBytes")
        self.assertIn(f"{clients / 2**30:g} GiB more", " ".join(PAGE.read_text(encoding="utf-8").split()))
        for container in self.containers:
            with self.subTest(container.name):
                takes_here = takes[container.name] + libraries
                more = clients if container.flag("listen") else message
                resources = container.spec["resources"]
                self.assertGreaterEqual(amount(resources["requests"]["memory"]), takes_here)
                self.assertGreaterEqual(amount(resources["limits"]["memory"]), takes_here + more)

    def test_files_lie_on_volumes_and_what_is_written_on_ones_that_last(self) -> None:
        for container in self.containers:
            for flag, value in container.flags:
                if not value.startswith("/"):
                    continue
                with self.subTest(container.name, flag=flag):
                    mount, volume = container.mount_of(value)
                    written = flag in ("run_dir", "checkpoint_dir")
                    self.assertEqual(written, "claim" in volume or "persistentVolumeClaim" in volume)
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
        """Everybody is told to end at once. The learner waits for the checkpoint under way and for its last one, then
        for actors to leave, and is killed after its grace; shards serve until then, and write what came later."""
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

    def setUp(self) -> None:
        super().setUp()
        (monitor,) = of_kind(self.objects, "ServiceMonitor")
        self.selector = monitor["spec"]["selector"]["matchLabels"]
        (self.endpoint,) = monitor["spec"]["endpoints"]
        self.prometheus = yaml.safe_load(PROMETHEUS.read_text(encoding="utf-8"))

    def test_the_monitor_finds_the_metrics_of_every_pod(self) -> None:
        services = of_kind(self.objects, "Service")
        (service,) = (one for one in services if matches(self.selector, one["metadata"]["labels"]))
        self.assertEqual(self.endpoint["port"], service["spec"]["ports"][0]["name"])
        for container in self.containers:
            self.assertTrue(matches(service["spec"]["selector"], container.labels))

    def test_metrics_have_the_labels_that_rules_and_dashboards_use(self) -> None:
        """As where Prometheus finds the pods itself; which ones it keeps, here the selector and the port say."""
        (job,) = self.prometheus["scrape_configs"]
        rules = [rule for rule in job["relabel_configs"] if rule.get("action") != "keep"]
        mine = [{snake_case(key): value for key, value in rule.items()} for rule in self.endpoint["relabelings"]]
        self.assertEqual(mine, rules)
        # The launcher gives the same to local runs.
        self.assertEqual({rule["target_label"] for rule in mine if "target_label" in rule}, {"job", "process", "run"})
        self.assertEqual(self.endpoint["interval"], self.prometheus["global"]["scrape_interval"])

    def test_rules_and_alerts_are_those_of_every_prometheus(self) -> None:
        self.assertEqual(
            generate.PROMETHEUS_RULE.read_text(encoding="utf-8"),
            generate.prometheus_rule(),
            "run python3 deploy/kubernetes/generate.py",
        )
        groups = [
            group
            for path in sorted(generate.RULES.glob("*.yml"))
            for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        ]
        (rule,) = of_kind(self.objects, "PrometheusRule")
        self.assertEqual(one_line(rule["spec"]["groups"]), one_line(groups))
        self.assertEqual(len({group["name"] for group in groups}), len(groups))


def one_line(groups: list[Object]) -> str:
    """Kustomize adds line breaks to expressions of several lines, which mean nothing there."""
    return re.sub(r"(\\n|\s)+", " ", json.dumps(groups, sort_keys=True))


def snake_case(name: str) -> str:
    return re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", name)


class InsecureTest(ManifestsTest):
    overlay = KUBERNETES / "overlays/insecure"

    def test_doors_are_closed(self) -> None:
        """They are open, and say so."""
        for container in self.containers:
            self.assertIsNotNone(container.flag("insecure"))
            self.assertIsNone(container.flag("certificates"))
            self.assertIsNone(container.flag("token_file"))
            self.assertNotIn("secret", str(container.pod["volumes"]))


class LargeTest(ManifestsTest):
    overlay = KUBERNETES / "overlays/large"

    def test_it_has_everything(self) -> None:
        self.assertEqual(named(self.objects, "StatefulSet", "headrace-replay")["spec"]["replicas"], 4)
        self.assertIn("nvidia.com/gpu", self.container("headrace-learner").spec["resources"]["limits"])
        self.assertTrue(of_kind(self.objects, "HorizontalPodAutoscaler"))
        self.assertTrue(of_kind(self.objects, "ServiceMonitor"))


class SharedReplayTest(ManifestsTest):
    overlay = composed("shared_replay", shards=3, actors=4)

    def test_every_shard_sees_the_files_of_all_and_writes_its_own(self) -> None:
        claim = yaml.safe_load((KUBERNETES / "replay_claim.yaml").read_text(encoding="utf-8"))
        validate(json.dumps(claim))
        self.assertEqual(claim["spec"]["accessModes"], ["ReadWriteMany"])
        shard = self.container("headrace-replay")
        _, volume = shard.mount_of(shard.flag("checkpoint_dir"))
        self.assertEqual(volume["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"])
        self.assertNotIn("volumeClaimTemplates", shard.workload["spec"])
        for number in range(3):
            self.assertIn(f"--checkpoint_dir=/data/replay-{number}", shard.arguments(number))


class OfThePageTest(ManifestsTest):
    """The overlay that docs/kubernetes.md writes."""

    def setUp(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        found = re.search(r"kustomization\.yaml <<END\n(.*?)\n *END\n", text, re.DOTALL)
        self.assertIsNotNone(found)
        self.overlay = textwrap.dedent(found[1])
        super().setUp()

    def test_it_is_as_the_page_says(self) -> None:
        self.assertEqual(named(self.objects, "StatefulSet", "headrace-replay")["spec"]["replicas"], 4)
        images = {container.spec["image"] for container in self.containers}
        self.assertEqual(images, {"registry.example.org/headrace", "registry.example.org/headrace-cuda"})
        self.assertIn("nvidia.com/gpu", self.container("headrace-learner").spec["resources"]["limits"])


class OverlaysTest(unittest.TestCase):
    def setUp(self) -> None:
        require_kubectl(self)

    def test_each_has_its_tests(self) -> None:
        classes = (ManifestsTest, SmallTest, GpuLearnerTest, ServiceMonitorTest, InsecureTest, LargeTest)
        self.assertEqual(set(overlays()), {one.overlay for one in classes})

    def test_deleting_a_run_deletes_no_namespace_with_its_claims_and_secrets(self) -> None:
        for overlay in overlays():
            self.assertFalse(of_kind(render(overlay), "Namespace"), overlay)
        namespace = yaml.safe_load((KUBERNETES / "namespace.yaml").read_text(encoding="utf-8"))
        validate(json.dumps(namespace))
        self.assertEqual((namespace["kind"], namespace["metadata"]["name"]), ("Namespace", "headrace"))
        self.assertIn(f"kubectl apply -f {KUBERNETES}/namespace.yaml", PAGE.read_text(encoding="utf-8"))

    def test_the_pages_name_metrics_and_sections_that_there_are(self) -> None:
        metrics = set(re.findall(r"^\| `(\w+)`", Path("docs/metrics.md").read_text(encoding="utf-8"), re.MULTILINE))
        headings = re.findall(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
        sections = {heading.lower().replace(" ", "-") for heading in headings}
        for page in (PAGE, RUNBOOK):
            text = page.read_text(encoding="utf-8")
            named_here = set(re.findall(r"\b((?:headrace|process)_\w+)", re.sub(r"`headrace_\w+:", "", text)))
            self.assertEqual(named_here - metrics, set(), page)
            self.assertEqual(set(re.findall(r"runbook\.md#([\w-]+)", text)) - sections, set(), page)

    def test_components_come_together_in_any_order(self) -> None:
        names = sorted(path.parent.name for path in KUBERNETES.glob("components/*/kustomization.yaml"))
        forwards, backwards = (
            sorted(render(composed(*order, shards=3, actors=5)), key=lambda one: (one["kind"], one["metadata"]["name"]))
            for order in (names, names[::-1])
        )
        self.assertEqual(forwards, backwards)
        for container in containers(forwards):
            self.assertIn("--set=replay.shards=3", container.arguments())
            self.assertIn("--set=actor.processes=5", container.arguments())
            self.assertIn("--insecure", container.spec["args"])
            self.assertEqual(container.spec["resources"]["requests"]["cpu"], "100m")
        learner = Container(named(forwards, "StatefulSet", "headrace-learner"))
        self.assertEqual(learner.spec["resources"]["limits"]["nvidia.com/gpu"], 1)


if __name__ == "__main__":
    unittest.main()
