"""Prometheus and Grafana show what the server really tells."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("prometheus_client")
from routing_gym.serving.metrics import Metrics
from tests.deploy.promql import PROMETHEUS_OWN, faults, selectors

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool")


def series_of(metrics: Metrics) -> dict[str, set[str]]:
    """Names of the series that a registry exposes, with their labels."""
    known: dict[str, set[str]] = {}
    for collector, names in metrics.registry._collector_to_names.items():
        labels = set(getattr(collector, "_labelnames", ()))
        kind = getattr(collector, "_type", "")
        for name in names:
            if kind == "histogram" and not name.endswith(("_bucket", "_sum", "_count")):
                continue
            if kind == "counter" and not name.endswith(("_total", "_created")):
                continue
            known[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return known


SERVED = series_of(Metrics())
KNOWN = {**SERVED, **PROMETHEUS_OWN}


def load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


BOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
RULES = [rule for group in load("prometheus/alerts.yml")["groups"] for rule in group["rules"]]
# metrics that tell of the build or the process and need no panel
UNSHOWN = re.compile(r"process_|.*_created$")


def expressions(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


def test_the_registry_is_read() -> None:
    assert SERVED["router_decisions_total"] == {"policy", "adapter", "fallback"}
    assert SERVED["router_generation_seconds_bucket"] == {"adapter", "le"}
    assert "router_generation_seconds" not in SERVED
    assert len([name for name in SERVED if name.startswith("router_")]) > 20


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_shows_metrics_that_exist(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for expression in expressions(panel):
        assert selectors(expression), expression
        assert faults(expression, KNOWN) == [], expression


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_legend_names_labels_of_the_result(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        kept = set(re.findall(r"by \(([^)]*)\)", target["expr"]))
        names = {label.strip() for group in kept for label in group.split(",")}
        assert set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"])) <= names


def test_panels_have_their_own_places() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for panel in PANELS for e in expressions(panel) for name, _ in selectors(e)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    expected = {re.sub(r"_(bucket|sum|count)$", "", n) for n in SERVED if not UNSHOWN.match(n)}
    assert expected - families == set()


def test_variables_and_annotations_of_the_dashboard() -> None:
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps(BOARD["panels"])))
    assert used - {"__rate_interval"} <= variables.keys()
    (metric, label) = re.findall(
        r"label_values\((\w+), (\w+)\)", variables["instance"]["definition"]
    )[0]
    assert metric in SERVED
    assert label == "instance"
    for note in BOARD["annotations"]["list"]:
        assert faults(note["expr"], KNOWN) == []


def test_the_dashboard_is_provisioned() -> None:
    (source,) = load("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    current = BOARD["templating"]["list"][0]["current"]
    assert current == {"text": source["name"], "value": source["uid"]}
    compose = load("compose.yaml")["services"]
    (provider,) = load("grafana/provisioning/dashboards/router.yml")["providers"]
    mounts = [volume.split(":")[1] for volume in compose["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/dashboard.json" in mounts
    assert "/etc/grafana/provisioning" in mounts
    host, port = source["url"].removeprefix("http://").split(":")
    assert compose[host]["image"].startswith("prom/prometheus:")
    assert any(published.endswith(f":{port}") for published in compose[host]["ports"])


def test_prometheus_scrapes_the_router_of_the_composition() -> None:
    settings = load("prometheus/prometheus.yml")
    (job,) = settings["scrape_configs"]
    ((target,),) = [entry["targets"] for entry in job["static_configs"]]
    host, port = target.split(":")
    compose = load("compose.yaml")["services"]
    assert any(published.endswith(f":{port}") for published in compose[host]["ports"])
    for file in settings["rule_files"]:
        assert (DEPLOY / "prometheus" / file).is_file()
        assert any(file in volume for volume in compose["prometheus"]["volumes"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_rule_reads_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert faults(rule["expr"], KNOWN) == []
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description"}
    # job names are those of prometheus.yml
    jobs = {job["job_name"] for job in load("prometheus/prometheus.yml")["scrape_configs"]}
    assert set(re.findall(r'job="(\w+)"', rule["expr"])) <= jobs


def test_label_values_in_rules_are_those_of_the_server() -> None:
    metrics = Metrics()
    metrics.announce([("ppo", "abc")], version="1")
    text = metrics.render().decode()
    reasons = set(re.findall(r'reason="(\w+)"', text))
    (pattern,) = {p for rule in RULES for p in re.findall(r'reason=~"([^"]*)"', rule["expr"])}
    assert {reason for reason in reasons if re.fullmatch(pattern, reason)} == {
        "queue_full",
        "decision_queue_full",
    }


def test_every_alert_is_tested_both_ways() -> None:
    cases: dict[str, set[bool]] = {rule["alert"]: set() for rule in RULES}
    for test in load("prometheus/alerts_test.yml")["tests"]:
        for case in test["alert_rule_test"]:
            cases[case["alertname"]].add(bool(case.get("exp_alerts")))
    assert {name for name, seen in cases.items() if seen != {True, False}} == set()


@needs_promtool
def test_promtool_accepts_settings_and_rules() -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("check", "config", "--syntax-only", "prometheus.yml")


@needs_promtool
def test_promtool_runs_the_tests_of_the_alerts() -> None:
    promtool("test", "rules", "alerts_test.yml")


@needs_promtool
def test_promtool_accepts_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:number:{i}", "expr": readable(expression)}
        for i, expression in enumerate(e for panel in PANELS for e in expressions(panel))
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", str(file))


def readable(expression: str) -> str:
    """Put values in place of Grafana's variables."""
    return expression.replace("$__rate_interval", "5m").replace("$instance", ".*")


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        [str(PROMTOOL), *arguments],
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
