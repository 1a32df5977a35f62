"""Writes the dashboards from panels.py: Grafana's as JSON, and the pages that Prometheus itself serves.

python3 deploy/grafana/generate.py
"""

import json
import re
from pathlib import Path
from typing import Any

from panels import DASHBOARDS, Dashboard, Panel

DEPLOY = Path(__file__).resolve().parents[1]

GRAFANA_UNITS = {
    "short": "short",
    "seconds": "s",
    "bytes": "bytes",
    "share": "percentunit",
    "per second": "short",
    "bytes per second": "Bps",
    "updates": "short",
}
GRAFANA_KINDS = {"curve": "timeseries", "tile": "stat", "words": "stat"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24


def written() -> dict[Path, str]:
    """Every file that is generated, with its text."""
    files = {}
    for dashboard in DASHBOARDS:
        text = json.dumps(grafana(dashboard), indent=2, ensure_ascii=False) + "\n"
        files[DEPLOY / "grafana" / "dashboards" / f"{dashboard.name}.json"] = text
        files[DEPLOY / "prometheus" / "consoles" / f"{dashboard.name}.html"] = console(dashboard)
    return files


def grafana(dashboard: Dashboard) -> dict[str, Any]:
    panels, x, y = [], 0, 0
    for number, panel in enumerate(dashboard.panels, start=1):
        width, height = (12, 8) if panel.kind == "curve" else (6, 4)
        place = {"gridPos": {"x": x, "y": y, "w": width, "h": height}}
        panels.append(_grafana_panel(panel, number, dashboard.without) | place)
        x += width
        if x == COLUMNS:
            x, y = 0, y + height
    return {
        "uid": f"headrace-{dashboard.name}",
        "title": f"Headrace: {dashboard.title}",
        "tags": ["headrace"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [
            {"type": "dashboards", "title": "Headrace", "tags": ["headrace"], "keepTime": True, "includeVars": True}
        ],
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                {
                    "name": "run",
                    "type": "query",
                    "label": "run",
                    "datasource": DATASOURCE,
                    "query": {"query": "label_values(headrace_build_info, run)", "refId": "run"},
                    "refresh": 2,
                    "sort": 1,
                    "multi": False,
                    "includeAll": False,  # what is added up is of one run
                },
            ]
        },
        "panels": panels,
    }


def _grafana_panel(panel: Panel, number: int, without: str) -> dict[str, Any]:
    words = panel.kind == "words"
    options: dict[str, Any] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    if panel.kind != "curve":
        options = {
            "reduceOptions": {"calcs": ["lastNotNull"]},
            "textMode": "auto" if not words else "value_and_name" if panel.unit == "share" else "name",
            "colorMode": "none",
        }
    defaults: dict[str, Any] = {"unit": GRAFANA_UNITS[panel.unit]}
    if panel.kind == "curve":
        defaults["custom"] = {"lineWidth": 2, "fillOpacity": 0, "showPoints": "never", "spanNulls": True}
    if without:
        defaults["noValue"] = without
    return {
        "id": number,
        "type": GRAFANA_KINDS[panel.kind],
        "title": panel.title,
        "description": panel.help,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query.expression.replace("WINDOW", "$__rate_interval").replace('=~"RUN"', '="$run"'),
                "legendFormat": re.sub(r"\[(\w+)\]", r"{{\1}}", query.legend),
                "instant": words,
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def console(dashboard: Dashboard) -> str:
    """A template that Prometheus fills in. The page's script, in console_libraries/, reads the JSON."""
    page = {
        "name": dashboard.name,
        "title": dashboard.title,
        "pages": [{"name": one.name, "title": one.title} for one in DASHBOARDS],
        "needs": dashboard.needs,
        "without": dashboard.without,
        "panels": [vars(panel) | {"queries": [vars(query) for query in panel.queries]} for panel in dashboard.panels],
    }
    text = json.dumps(page, indent=1, ensure_ascii=False)
    return f'{{{{ template "headrace_head" . }}}}\n{text}\n{{{{ template "headrace_tail" . }}}}\n'


def main() -> None:
    for path, text in written().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
