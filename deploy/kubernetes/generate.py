"""Writes what Prometheus needs in a cluster from deploy/prometheus: the operator's PrometheusRule, and the configuration
of the component monitoring.

python3 deploy/kubernetes/generate.py
"""

from pathlib import Path

DEPLOY = Path("deploy")
RULES = DEPLOY / "prometheus" / "rules"
CONFIGURATION = DEPLOY / "prometheus" / "prometheus-kubernetes.yml"
COMPONENTS = DEPLOY / "kubernetes" / "components"
PROMETHEUS_RULE = COMPONENTS / "prometheus_rule" / "prometheus_rule.yaml"
MONITORING = COMPONENTS / "monitoring" / "prometheus.yml"

HEAD = """\
# Written by deploy/kubernetes/generate.py from deploy/prometheus/rules.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: headrace
  labels:
    app.kubernetes.io/name: headrace
    app.kubernetes.io/part-of: headrace
spec:
  groups:
"""


def prometheus_rule() -> str:
    """The groups of all files, their comments included."""
    groups = []
    for path in sorted(RULES.glob("*.yml")):
        _, found, text = path.read_text(encoding="utf-8").partition("\ngroups:\n")
        assert found, f"{path} has no groups"
        groups += [f"  {line}" if line else "" for line in text.splitlines()]
    return HEAD + "\n".join(groups) + "\n"


def monitoring() -> str:
    """With the pods of its own namespace alone, which is what its Role allows."""
    head = "# Written by deploy/kubernetes/generate.py from deploy/prometheus/prometheus-kubernetes.yml.\n"
    before, found, after = CONFIGURATION.read_text(encoding="utf-8").partition("      - role: pod\n")
    assert found, f"{CONFIGURATION} discovers no pods"
    return head + before + found + "        namespaces: {own_namespace: true}\n" + after


def written() -> dict[Path, str]:
    """Every file that is generated, with its text."""
    return {PROMETHEUS_RULE: prometheus_rule(), MONITORING: monitoring()}


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
