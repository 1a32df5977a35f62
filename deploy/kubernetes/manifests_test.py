"""Every overlay renders, every object is one that Kubernetes knows, and whatever the manifests name is there: flags,
ports, mounts, variables, hosts. Whatever has to fit, as memory and times, is computed."""

import functools
import json
import re
import shlex
import subprocess
import tempfile
import textwrap
import unittest
from pathlib import Path
from typing import Any

import generate
import kubernetes_validate
import yaml
from manifests import (
    DEPLOY,
    KUBERNETES,
    WORKLOADS,
    Container,
    Object,
    containers,
    named,
    of_kind,
    overlays,
    render,
    require_kubectl,
)
from tool import promtool

# Of the Prometheus operator, whose schemas come with it.
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
PROMETHEUS = Path("deploy/prometheus/prometheus-kubernetes.yml")
SHARED_CLAIM = yaml.safe_load((KUBERNETES / "replay_claim.yaml").read_text(encoding="utf-8"))
RESULTS = yaml.safe_load((KUBERNETES / "results.yaml").read_text(encoding="utf-8"))
PAGE = Path("docs/kubernetes.md")
RUNBOOK = Path("docs/runbook.md")
LEARNER = Path("learner/learner.cc")
CHECKPOINT_WRITER = Path("learner/checkpoint_writer.h")
PATIENCES = ("kLastCheckpointsPatience", "kLeavePatience")
ESTIMATE = "tools/estimate.h"
DNS = {53, 5353}
API_SERVER = {443, 6443}
CONNECTING = 10  # to a shard, for a checkpoint: learner/checkpoint_writer.h
LARGE_SHARD_BYTES = 16 << 30
GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
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
    """Of a header, written as `name = size_t{5} << 29`, `name = 64 << 20`, `name = 4` or alike."""
    text = Path(file).read_text(encoding="utf-8")
    factor, shift = re.search(rf"\b{name} = (?:size_t{{)?(\d+)}}?(?: << (\d+))?;", text).groups(default="0")
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


def composed(*names: str, shards: int, actors: int, **more: Any) -> str:
    """An overlay of one's own, of components in this order, with what else it is to say."""
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
            **more,
        }
    )


class ManifestsTest(unittest.TestCase):
    overlay: Path | str = KUBERNETES / "base"
    namespace = "headrace"

    def setUp(self) -> None:
        require_kubectl(self)
        self.objects = render(self.overlay)
        self.all_containers = [Container(workload) for workload in of_kind(self.objects, *WORKLOADS)]
        self.containers = list(containers(self.objects))  # of the run

    def container(self, name: str) -> Container:
        (found,) = (one for one in self.containers if one.name == name)
        return found

    def run_of_the_cluster(self) -> Object:
        (found,) = (m for m in of_kind(self.objects, "ConfigMap") if m["metadata"]["name"].startswith("headrace-run-"))
        return found

    def configuration(self) -> Path:
        """A file with what the processes read."""
        path = Path(f"{self.id()}.textproto").absolute()
        path.write_text(self.run_of_the_cluster()["data"]["run.textproto"], encoding="utf-8")
        return path

    def test_kubernetes_knows_every_object(self) -> None:
        for one in self.objects:
            with self.subTest(kind=one["kind"], name=one["metadata"]["name"]):
                if one["kind"] not in CUSTOM:
                    validate(json.dumps(one, sort_keys=True))
                self.assertEqual(one["metadata"]["namespace"], self.namespace)

    def test_flags_are_of_the_binaries_and_come_once(self) -> None:
        for container in self.containers:
            with self.subTest(container.name):
                names = [name for name, _ in container.flags]
                self.assertEqual(set(names) - flags_of(container.binary), set())
                self.assertEqual(len(names) - names.count("set") + 1, len(set(names)))

    def test_the_binaries_accept_the_configuration_as_the_cluster_changes_it(self) -> None:
        for container in self.containers:
            with self.subTest(container.name):
                path = Path(container.flag("config"))
                mount, volume = container.mount_of(str(path))
                self.assertEqual(volume["configMap"]["name"], self.run_of_the_cluster()["metadata"]["name"])
                self.assertEqual(str(path), f"{mount['mountPath']}/run.textproto")
                overrides = [word for word in container.arguments() if word.startswith("--set=")]
                # A mistake further on: what comes before it, the configuration, was accepted.
                command = [f"./{container.binary}", f"--config={self.configuration()}", *overrides, "--token_file=only"]
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
            found = [one for one in self.all_containers if matches(service["spec"]["selector"], one.labels)]
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
        estimate = self.estimate()
        libraries = estimate["shared_libraries"]["memory_bytes"]
        takes = {
            "headrace-replay": constant(ESTIMATE, "kReplayProcessBytes") + self.budget_of_a_shard(estimate),
            "headrace-learner": estimate["learner"]["memory_bytes"],
            "headrace-actor": estimate["actors_and_evaluators"]["memory_bytes_each"],
            "headrace-evaluator": estimate["actors_and_evaluators"]["memory_bytes_each"],
        }
        arriving = constant("common/grpc_server.h", "kHostBufferBytes") * constant("common/grpc_server.h", "kHostGroups")
        clients = arriving + constant("common/server_stream.h", "all_unsent_bytes")
        message = constant("common/server_stream.h", "kMaxMessageBytes")
        self.assertIn(f"{clients / 2**30:g} GiB more", " ".join(PAGE.read_text(encoding="utf-8").split()))
        for container in self.containers:
            with self.subTest(container.name):
                takes_here = takes[container.name] + libraries
                more = clients if container.flag("listen") else message
                resources = container.spec["resources"]
                self.assertGreaterEqual(amount(resources["requests"]["memory"]), takes_here)
                self.assertGreaterEqual(amount(resources["limits"]["memory"]), takes_here + more)

    def estimate(self) -> Object:
        shards = named(self.objects, "StatefulSet", "headrace-replay")["spec"]["replicas"]
        actors = named(self.objects, "Deployment", "headrace-actor")["spec"]["replicas"]
        return estimate_of(str(self.configuration()), (f"replay.shards={shards}", f"actor.processes={actors}"))

    def budget_of_a_shard(self, estimate: Object) -> int:
        return estimate["replay"]["budget_bytes"] // self.container("headrace-replay").workload["spec"]["replicas"]

    def test_a_claim_holds_the_checkpoints_that_are_kept_the_one_that_is_written_and_the_journal(self) -> None:
        estimate = self.estimate()
        copies = estimate["disk"]["checkpoints_kept"] + 1 + (estimate["disk"]["journal_bytes"] > 0)
        shard = self.container("headrace-replay")
        _, volume = shard.mount_of(shard.flag("checkpoint_dir"))
        shared = "claim" not in volume
        claim = SHARED_CLAIM if shared else volume["claim"]
        budget = estimate["replay"]["budget_bytes"] if shared else self.budget_of_a_shard(estimate)
        self.assertGreaterEqual(amount(claim["spec"]["resources"]["requests"]["storage"]), copies * budget)

    def test_results_are_copied_from_the_learners_volume(self) -> None:
        validate(json.dumps(RESULTS))
        learner = self.container("headrace-learner")
        mount, volume = learner.mount_of(learner.flag("run_dir"))
        (reader,) = RESULTS["spec"]["containers"]
        (mounted,) = reader["volumeMounts"]
        self.assertEqual(mounted["mountPath"], mount["mountPath"])
        (source,) = RESULTS["spec"]["volumes"]
        claim = f"{volume['claim']['metadata']['name']}-headrace-learner-0"
        self.assertEqual(source["persistentVolumeClaim"]["claimName"], claim)
        for name in ("runAsUser", "runAsGroup"):
            self.assertEqual(RESULTS["spec"]["securityContext"][name], learner.pod["securityContext"][name])
        name = RESULTS["metadata"]["name"]
        self.assertIn(f"kubectl -n headrace cp {name}:{learner.flag('run_dir')} ", PAGE.read_text(encoding="utf-8"))

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
            command = re.search(
                # `create` alone answers AlreadyExists to whoever renews them.
                rf"kubectl -n {self.namespace} create secret generic {secret}((?: *\\?\n? *--from-file=\S+)+)"
                r" *\\?\n? *--dry-run=client -o yaml \| kubectl apply --server-side --force-conflicts -f -\n",
                text,
            )
            self.assertIsNotNone(command, secret)
            files = re.findall(r"--from-file=(\w+)/([\w.]+)(?=\s|$)", command[1])
            self.assertEqual({file for _, file in files}, keys)
            for directory in {directory for directory, _ in files}:
                made = re.search(rf"headrace certificates {directory} (.*)", text)[1]
                names = set(re.findall(r"--name '?([\w.*-]+)'?", made))
                called = {f"headrace-learner.{self.namespace}.svc", f"*.headrace-replay.{self.namespace}.svc"}
                self.assertEqual(names, called)

    def test_being_told_to_end_is_the_drain(self) -> None:
        """SIGTERM makes each role finish in order. The image has no shell, so a hook that runs a command would fail."""
        for container in self.containers:
            self.assertNotIn("lifecycle", container.spec, container.name)
        self.assertIn("a preStop hook would only delay", " ".join(PAGE.read_text(encoding="utf-8").split()))

    def test_a_process_that_still_loads_ends_when_it_is_told_to(self) -> None:
        """As number 1 it would not: the kernel drops signals for that one which it has no handler for yet."""
        for container in self.containers:
            self.assertIs(container.pod.get("shareProcessNamespace"), True, container.name)
        self.assertIn("`shareProcessNamespace`", PAGE.read_text(encoding="utf-8"))

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

    def test_a_pod_that_never_becomes_ready_is_replaced_by_a_mended_one(self) -> None:
        for one in of_kind(self.objects, "StatefulSet"):
            self.assertEqual(one["spec"]["podManagementPolicy"], "Parallel", one["metadata"]["name"])

    def test_names_are_found_wherever_the_clusters_dns_is(self) -> None:
        egress = named(self.objects, "NetworkPolicy", "headrace-isolated")["spec"]["egress"]
        (anywhere,) = (rule for rule in egress if "to" not in rule)
        expected = {(port, protocol) for port in DNS for protocol in ("UDP", "TCP")}
        self.assertEqual({(port["port"], port["protocol"]) for port in anywhere["ports"]}, expected)

    def test_a_shard_knows_its_number(self) -> None:
        self.assertEqual(self.container("headrace-replay").arguments(3).count("--shard=3"), 1)

    def test_policies_and_budgets_select_pods_that_there_are(self) -> None:
        for one in of_kind(self.objects, "NetworkPolicy", "PodDisruptionBudget"):
            selector = one["spec"].get("podSelector", one["spec"].get("selector"))["matchLabels"]
            self.assertTrue([c for c in self.all_containers if matches(selector, c.labels)], one["metadata"]["name"])
        names = {port["name"] for container in self.all_containers for port in container.spec["ports"]}
        numbers = {port["containerPort"] for container in self.all_containers for port in container.spec["ports"]}
        for policy in of_kind(self.objects, "NetworkPolicy"):
            for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
                self.assertTrue({port["port"] for port in rule["ports"]} <= names | numbers | DNS | API_SERVER)

    def test_who_calls_whom_is_what_the_policies_allow(self) -> None:
        for callee, flag in (("replay", "replay"), ("learner", "learner")):
            policy = named(self.objects, "NetworkPolicy", f"headrace-{callee}")
            (rule,) = policy["spec"]["ingress"]
            allowed = {peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["from"]}
            callers = {c.labels["app.kubernetes.io/component"] for c in self.containers if c.flag(flag)}
            self.assertEqual(allowed, callers)

    def test_pods_may_do_nothing_that_they_need_not(self) -> None:
        for container in self.all_containers:
            with self.subTest(container.name):
                self.assertTrue(container.pod["securityContext"]["runAsNonRoot"])
                self.assertEqual(container.pod["automountServiceAccountToken"], "serviceAccountName" in container.pod)
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
            # The taint of nodes with GPUs, which keeps everybody else away from them.
            self.assertEqual(container.pod.get("tolerations", []), [GPU_TOLERATION] if with_gpu else [])

    def test_the_autoscaler_scales_the_actors(self) -> None:
        (scaler,) = of_kind(self.objects, "HorizontalPodAutoscaler")
        target = scaler["spec"]["scaleTargetRef"]
        named(self.objects, target["kind"], target["name"])
        self.assertEqual(busy_from(scaler), "700m")


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
        self.assertEqual({rule["target_label"] for rule in mine if "target_label" in rule}, {"job", "process", "run", "instance"})
        self.assertEqual(self.endpoint["interval"], self.prometheus["global"]["scrape_interval"])

    def test_rules_and_alerts_are_those_of_every_prometheus(self) -> None:
        groups = [
            group
            for path in sorted(generate.RULES.glob("*.yml"))
            for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        ]
        (rule,) = of_kind(self.objects, "PrometheusRule")
        self.assertEqual(one_line(rule["spec"]["groups"]), one_line(groups))
        self.assertEqual(len({group["name"] for group in groups}), len(groups))


def busy_from(scaler: Object) -> str:
    """How much of a core an actor must use for another one to be started."""
    (metric,) = scaler["spec"]["metrics"]
    return metric["resource"]["target"]["averageValue"]


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
        validate(json.dumps(SHARED_CLAIM))
        self.assertEqual(SHARED_CLAIM["spec"]["accessModes"], ["ReadWriteMany"])
        shard = self.container("headrace-replay")
        _, volume = shard.mount_of(shard.flag("checkpoint_dir"))
        self.assertEqual(volume["persistentVolumeClaim"]["claimName"], SHARED_CLAIM["metadata"]["name"])
        self.assertNotIn("volumeClaimTemplates", shard.workload["spec"])
        for number in range(3):
            self.assertIn(f"--checkpoint_dir=/data/replay-{number}", shard.arguments(number))


class MonitoringTest(ManifestsTest):
    overlay = composed("monitoring", "grafana_dashboards", shards=2, actors=4)

    def setUp(self) -> None:
        super().setUp()
        self.prometheus = Container(named(self.objects, "StatefulSet", "headrace-prometheus"))

    def data(self, path: str) -> dict[str, str]:
        """Of the ConfigMap that is mounted there."""
        mount, volume = self.prometheus.mount_of(path)
        self.assertEqual(mount["mountPath"], path)
        return named(self.objects, "ConfigMap", volume["configMap"]["name"])["data"]

    def test_prometheus_has_the_configuration_the_rules_and_the_pages_of_all(self) -> None:
        path = Path(self.prometheus.flag("config.file"))
        configuration = self.data(str(path))[path.name]
        self.assertEqual(configuration, generate.monitoring())
        flags = ("web.console.templates", "web.console.libraries")
        directories = [path.parent / "rules", *(Path(self.prometheus.flag(flag)) for flag in flags)]
        for directory in directories:
            files = (DEPLOY / "prometheus" / directory.name).iterdir()
            expected = {file.name: file.read_text(encoding="utf-8") for file in files}
            self.assertEqual(self.data(str(directory)), expected)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "rules").mkdir()
            for name, text in self.data(str(directories[0])).items():
                (Path(folder) / "rules" / name).write_text(text, encoding="utf-8")
            # Debian's Prometheus is built without the discovery of pods.
            parsed = yaml.safe_load(configuration)
            del parsed["scrape_configs"][0]["kubernetes_sd_configs"]
            (Path(folder) / path.name).write_text(yaml.safe_dump(parsed), encoding="utf-8")
            self.assertIn("3 rule files found", promtool(self, "check", "config", f"{folder}/{path.name}"))

    def test_prometheus_finds_the_pods_of_its_namespace(self) -> None:
        (job,) = yaml.safe_load(generate.MONITORING.read_text(encoding="utf-8"))["scrape_configs"]
        self.assertEqual(job["kubernetes_sd_configs"], [{"role": "pod", "namespaces": {"own_namespace": True}}])
        role = named(self.objects, "Role", "headrace-prometheus")
        self.assertEqual(role["rules"], [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}])
        binding = named(self.objects, "RoleBinding", "headrace-prometheus")
        self.assertEqual((binding["roleRef"]["kind"], binding["roleRef"]["name"]), ("Role", role["metadata"]["name"]))
        account = {"kind": "ServiceAccount", "name": self.prometheus.pod["serviceAccountName"], "namespace": "headrace"}
        self.assertEqual(binding["subjects"], [account])
        named(self.objects, "ServiceAccount", account["name"])

    def test_prometheus_may_ask_every_process_of_the_run(self) -> None:
        served = named(self.objects, "NetworkPolicy", "headrace-metrics")["spec"]
        (ingress,) = served["ingress"]
        (peer,) = ingress["from"]
        self.assertTrue(matches(peer["podSelector"]["matchLabels"], self.prometheus.labels))
        asks = named(self.objects, "NetworkPolicy", "headrace-prometheus")["spec"]
        self.assertTrue(matches(asks["podSelector"]["matchLabels"], self.prometheus.labels))
        (to_pods,) = (rule for rule in asks["egress"] if "to" in rule)
        for container in self.containers:
            ports = {port["name"]: port["containerPort"] for port in container.spec["ports"]}
            self.assertTrue(matches(served["podSelector"]["matchLabels"], container.labels))
            self.assertTrue(matches(to_pods["to"][0]["podSelector"]["matchLabels"], container.labels))
            self.assertEqual(ingress["ports"], [{"port": "metrics"}])
            self.assertEqual(to_pods["ports"], [{"port": ports["metrics"]}])
        # It is no process of the run.
        self.assertNotIn("metrics", {port["name"] for port in self.prometheus.spec["ports"]})

    def test_what_prometheus_keeps_has_place_on_its_claim(self) -> None:
        _, volume = self.prometheus.mount_of(self.prometheus.flag("storage.tsdb.path"))
        storage = amount(volume["claim"]["spec"]["resources"]["requests"]["storage"])
        self.assertGreater(storage, int(self.prometheus.flag("storage.tsdb.retention.size").removesuffix("GB")) << 30)

    def test_the_page_says_where_the_curves_are(self) -> None:
        service, port = re.search(r"port-forward service/(\S+) (\d+)", PAGE.read_text(encoding="utf-8")).groups()
        self.assertEqual(named(self.objects, "Service", service)["spec"]["ports"][0]["port"], int(port))
        self.assertIn(f"http://localhost:{port}/consoles/overview.html", PAGE.read_text(encoding="utf-8"))

    def test_grafana_gets_every_dashboard(self) -> None:
        dashboards = named(self.objects, "ConfigMap", "headrace-dashboards")
        self.assertEqual(dashboards["metadata"]["labels"]["grafana_dashboard"], "1")
        files = (DEPLOY / "grafana" / "dashboards").iterdir()
        self.assertEqual(dashboards["data"], {file.name: file.read_text(encoding="utf-8") for file in files})


class OfThePageTest(ManifestsTest):
    """The overlay that docs/kubernetes.md writes."""

    def setUp(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        found = re.search(r"kustomization\.yaml <<END\n(.*?)\n *END\n", text, re.DOTALL)
        self.assertIsNotNone(found)
        self.overlay = textwrap.dedent(found[1]).replace("$REVISION", "abc")  # as the shell does
        super().setUp()

    def test_it_is_as_the_page_says(self) -> None:
        self.assertEqual(named(self.objects, "StatefulSet", "headrace-replay")["spec"]["replicas"], 2)
        self.assertEqual({container.spec["image"] for container in self.containers}, {"registry.example.org/headrace:abc"})


class OfThePageWithGpuTest(OfThePageTest):
    """The same, with what the page has commented out."""

    def setUp(self) -> None:
        super().setUp()
        self.overlay = self.overlay.replace("# - ", "- ")
        ManifestsTest.setUp(self)

    def test_it_is_as_the_page_says(self) -> None:
        images = {container.spec["image"] for container in self.containers}
        self.assertEqual(images, {"registry.example.org/headrace:abc", "registry.example.org/headrace-cuda:abc"})
        self.assertIn("nvidia.com/gpu", self.container("headrace-learner").spec["resources"]["limits"])


class SecondRunOfThePageTest(OfThePageTest):
    """The same in another namespace."""

    namespace = "second"

    def setUp(self) -> None:
        super().setUp()
        self.overlay = self.changed(self.overlay)
        ManifestsTest.setUp(self)

    def changed(self, text: str) -> str:
        """By the command of the page for such a file."""
        kind = "my_run/" if "Kustomization" in text else f"{KUBERNETES}/namespace.yaml"
        (command,) = re.findall(rf"^(sed .*) {kind}", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        return subprocess.run(shlex.split(command), input=text, capture_output=True, text=True, check=True).stdout

    def test_its_namespace_has_the_name_that_its_objects_are_in(self) -> None:
        text = (KUBERNETES / "namespace.yaml").read_text(encoding="utf-8")
        expected = yaml.safe_load(text)
        expected["metadata"]["name"] = self.namespace
        self.assertEqual(yaml.safe_load(self.changed(text)), expected)

    def test_nothing_leads_to_the_first(self) -> None:
        self.assertNotRegex(json.dumps(self.objects), r"\.headrace\.svc|namespace\W+headrace\b")


class LargeShardsOfThePageTest(ManifestsTest):
    """What docs/kubernetes.md sets for shards of 16 GiB."""

    def setUp(self) -> None:
        found = re.search(r"^patches:\n(?:  .*\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
        self.assertIsNotNone(found)
        run = (KUBERNETES / "base" / "run.textproto").read_text(encoding="utf-8")
        run = re.sub(r"budget_bytes: \d+", f"budget_bytes: {2 * LARGE_SHARD_BYTES}", run)
        generator = {"name": "headrace-run", "behavior": "replace", "literals": [f"run.textproto={run}"]}
        self.overlay = composed(shards=2, actors=4, configMapGenerator=[generator], **yaml.safe_load(found[0]))
        super().setUp()
        self.assertEqual(self.budget_of_a_shard(self.estimate()), LARGE_SHARD_BYTES)

    def test_a_disk_that_writes_a_checkpoint_in_time_writes_the_last_one_too_and_reads_everything(self) -> None:
        text = CHECKPOINT_WRITER.read_text(encoding="utf-8")
        patience = re.search(r"kShardPatience{(\d+)}", text)[1]
        self.assertIn(f"{LARGE_SHARD_BYTES / int(patience) / 1e6:.0f} MB/s", PAGE.read_text(encoding="utf-8"))
        shard = self.container("headrace-replay")
        rest = shard.pod["terminationGracePeriodSeconds"] - int(shard.flag("drain_seconds"))
        self.assertGreaterEqual(rest, int(patience))
        probe = shard.spec["startupProbe"]
        # Of a checkpoint and a journal of its size.
        self.assertGreaterEqual(probe["periodSeconds"] * probe["failureThreshold"], 2 * int(patience))


class OverlaysTest(unittest.TestCase):
    def setUp(self) -> None:
        require_kubectl(self)

    def test_generated_files_are_current(self) -> None:
        for path, text in generate.written().items():
            self.assertEqual(path.read_text(encoding="utf-8"), text, "run python3 deploy/kubernetes/generate.py")

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

    def test_keys_and_overlays_of_the_page_get_neither_into_git_nor_into_an_image(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        for pattern in (r"headrace certificates (\w+) ", r"mkdir -p (\w+) "):
            directory = re.search(pattern, text)[1]
            self.assertIn(f"{directory}*", Path(".dockerignore").read_text(encoding="utf-8").split())
            self.assertIn(f"/{directory}*/", Path(".gitignore").read_text(encoding="utf-8").split())

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
        names.remove("no_replay")

        def together(*order: str) -> list[Object]:
            objects = render(composed(*order, shards=3, actors=5))
            return sorted(objects, key=lambda one: (one["kind"], one["metadata"]["name"]))

        forwards, backwards = together(*names), together(*names[::-1])
        self.assertEqual(forwards, backwards)
        without = [one for one in forwards if one["metadata"]["name"] != "headrace-replay"]
        self.assertLess(len(without), len(forwards))
        self.assertEqual(together("no_replay", *names), without)
        self.assertEqual(together(*names, "no_replay"), without)
        for container in containers(forwards):
            self.assertIn("--set=replay.shards=3", container.arguments())
            self.assertIn("--set=actor.processes=5", container.arguments())
            self.assertIn("--insecure", container.spec["args"])
            self.assertEqual(container.spec["resources"]["requests"]["cpu"], "100m")
        (scaler,) = of_kind(forwards, "HorizontalPodAutoscaler")
        self.assertEqual(busy_from(scaler), "700m", "also where actors ask for a tenth of a core")
        learner = Container(named(forwards, "StatefulSet", "headrace-learner"))
        self.assertEqual(learner.spec["resources"]["limits"]["nvidia.com/gpu"], 1)


if __name__ == "__main__":
    unittest.main()
