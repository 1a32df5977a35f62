"""Writes the PrometheusRule of the Prometheus operator from the rules of deploy/prometheus.

python3 deploy/kubernetes/generate.py
"""

from pathlib import Path

DEPLOY = Path("deploy")
RULES = DEPLOY / "prometheus" / "rules"
PROMETHEUS_RULE = DEPLOY / "kubernetes" / "components" / "prometheus_rule" / "prometheus_rule.yaml"

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


if __name__ == "__main__":
    PROMETHEUS_RULE.write_text(prometheus_rule(), encoding="utf-8")
