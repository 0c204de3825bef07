"""Alert rules and dashboard name only metrics and labels that exist, and alerts mean what they say.

Each alert fires for the fault it is named for and is silent for what only looks like it, as
Prometheus itself judges (promtool).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.telemetry import FAMILIES, Family, Kind

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
PACKAGE = DEPLOY.parent / "proxy"
FAMILIES_BY_NAME = {family.name: family for family in FAMILIES}
SCRAPE_LABELS = {"instance", "job"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed"
)


@dataclass(frozen=True, slots=True)
class Query:
    """A PromQL expression, with the text that is made from the labels of what it yields."""

    source: str
    expression: str
    template: str = ""


def alert_rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    return loaded


def queries() -> Iterator[Query]:
    for rule in alert_rules():
        template = " ".join(rule["annotations"].values()).replace("$labels.", "")
        yield Query(rule["alert"], rule["expr"], template)
    board = dashboard()
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield Query(panel["title"], target["expr"], target["legendFormat"])
    for annotation in board["annotations"]["list"]:
        yield Query(annotation["name"], annotation["expr"], annotation["titleFormat"])
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield Query(f"variable {variable['name']}", variable["query"]["query"])


def family_of(name: str) -> Family:
    """The family whose exposition has this sample name (Prometheus' text format)."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    if base in FAMILIES_BY_NAME and FAMILIES_BY_NAME[base].kind is Kind.HISTOGRAM:
        if base == name:
            raise KeyError(f"{name} is a histogram: only its buckets, sum and count are samples")
        return FAMILIES_BY_NAME[base]
    return FAMILIES_BY_NAME[name]


def labels_of(name: str) -> set[str]:
    family = family_of(name)
    buckets = {"le"} if name.endswith("_bucket") and family.kind is Kind.HISTOGRAM else set()
    return {*family.labels, *SCRAPE_LABELS, *buckets}


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def without_strings(expression: str) -> str:
    return re.sub(r'"(\\.|[^"\\])*"', '""', expression)


def check_query(query: Query) -> None:
    """Raise AssertionError or KeyError where the query names what does not exist."""
    expression = without_strings(query.expression)
    known: set[str] = set(SCRAPE_LABELS)
    for name, matchers in re.findall(r"\b(vestibule_\w+)(?:\{([^}]*)\})?", expression):
        labels = labels_of(name)
        used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
        assert used <= labels, f"{query.source}: {name} has no labels {used - labels}"
        known |= labels
    grouped = [words(names) for names in re.findall(r"\bby\s*\(([^)]*)\)", expression)]
    for names in grouped:
        assert names <= known, f"{query.source}: grouped by unknown labels {names - known}"
    shown = set(re.findall(r"\{\{\s*(\w+)", query.template))
    if grouped:
        known = set.union(*grouped) - {"le"}
    elif re.match(r"(sum|min|max|avg|count)\s*\(", expression):
        known = set()
    assert shown <= known, f"{query.source}: shows labels that are not there: {shown - known}"


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: query.source)
def test_alerts_and_dashboard_name_what_exists(query: Query) -> None:
    check_query(query)


def test_the_readme_names_metrics_that_exist() -> None:
    named = re.findall(r"\bvestibule_\w+", (PACKAGE.parent / "README.md").read_text())
    assert named
    assert not [name for name in named if name not in FAMILIES_BY_NAME]


def test_every_metric_is_counted_somewhere() -> None:
    # An alert on a family that nobody sets would be silent for ever.
    sources = [path for path in PACKAGE.rglob("*.py") if path.name != "families.py"]
    code = "".join(path.read_text() for path in sources)
    assert not [name for name in FAMILIES_BY_NAME if f'"{name}"' not in code]


@pytest.mark.parametrize(
    "query",
    [
        Query("metric", "vestibule_no_such_metric > 0"),
        Query("histogram", "vestibule_handoff_seconds > 0"),
        Query("counter as histogram", "vestibule_requests_total_bucket"),
        Query("matcher", 'vestibule_requests_total{code="500"}'),
        Query("group", "sum by (code) (vestibule_requests_total)"),
        Query("legend", "vestibule_requests_total", "{{code}}"),
        Query("legend of a group", "sum by (backend) (vestibule_requests_total)", "{{status}}"),
        Query("legend of a sum", "sum(vestibule_requests_total)", "{{status}}"),
        Query("annotation", "vestibule_backend_up == 0", "{{ code }} is down"),
    ],
    ids=lambda query: query.source,
)
def test_the_check_of_names_finds_what_does_not_exist(query: Query) -> None:
    with pytest.raises((AssertionError, KeyError)):
        check_query(query)


def test_every_alert_says_how_urgent_it_is_and_what_to_look_at() -> None:
    for rule in alert_rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))


def run_tool(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_accepts_its_configuration_and_the_rules() -> None:
    run_tool("promtool", "check", "rules", DEPLOY / "alerts.yaml")
    run_tool("promtool", "check", "config", DEPLOY / "prometheus.yml")


@dataclass(frozen=True, slots=True)
class Incident:
    """Series, sampled every 15 s, that make an alert fire, and ones that look alike but do not."""

    alert: str
    bad: dict[str, str]
    good: dict[str, str]


DAY_S = 86400
HALF_OPEN, LIMIT = "vestibule_handshakes_half_open", "vestibule_handshakes_half_open_limit"
ACCEPTED = 'vestibule_handoffs_total{result="accepted"}'
EXPIRED = 'vestibule_handoffs_total{result="expired"}'
UP_1 = 'vestibule_backend_up{backend="app",server="https://10.0.0.1"}'
UP_2 = 'vestibule_backend_up{backend="app",server="https://10.0.0.2"}'
SERVED = 'vestibule_requests_total{backend="app",method="GET",status="2xx"}'
FAILED = 'vestibule_requests_total{backend="app",method="GET",status="5xx"}'
TABLE_FULL = (
    'vestibule_handshake_failures_total{stage="hello",alert="internal_error",reason="table_full"}'
)
OTHER_FAILURE = (
    'vestibule_handshake_failures_total{stage="hello",alert="decode_error",reason="trailing"}'
)
CERTIFICATE = 'vestibule_certificate_expiry_timestamp_seconds{listener="public",name="example.org"}'
RESTARTS = 'vestibule_process_restarts_total{role="worker"}'
STUCK = 'vestibule_process_kills_total{role="front",reason="stuck"}'
REFUSED = 'vestibule_process_kills_total{role="front",reason="refused"}'
OPEN_FDS = 'vestibule_process_open_fds{role="front",slot="0"}'
MAX_FDS = 'vestibule_process_max_fds{role="front",slot="0"}'
LAG = 'vestibule_event_loop_lag_seconds{role="front",slot="0"}'

# PromQL's test notation: "start+step x count" counts up. An hour of it; time starts at 0.
INCIDENTS = [
    Incident("VestibuleDown", {'up{job="vestibule"}': "0x240"}, {'up{job="vestibule"}': "1x240"}),
    Incident(
        "VestibuleCertificateExpiresSoon",
        {CERTIFICATE: f"{13 * DAY_S}x240"},
        {CERTIFICATE: f"{15 * DAY_S}x240"},
    ),
    Incident(
        "VestibuleCertificateExpires",
        {CERTIFICATE: f"{1 * DAY_S}x240"},
        {CERTIFICATE: f"{3 * DAY_S}x240"},
    ),
    Incident(
        "VestibuleReloadFailed",
        {"vestibule_configuration_last_reload_successful": "0x240"},
        {"vestibule_configuration_last_reload_successful": "1x240"},
    ),
    Incident(
        "VestibuleHalfOpenNearLimit",
        {HALF_OPEN: "17000x240", LIMIT: "20000x240"},
        {HALF_OPEN: "15000x240", LIMIT: "20000x240"},
    ),
    Incident("VestibuleHandshakesRefused", {TABLE_FULL: "0+5x240"}, {OTHER_FAILURE: "0+5x240"}),
    Incident(
        "VestibuleHandoffFailures",
        {ACCEPTED: "0+95x240", EXPIRED: "0+5x240"},
        {ACCEPTED: "0+995x240", EXPIRED: "0+5x240"},
    ),
    Incident(
        "VestibuleHandoffsWaiting",
        {"vestibule_handoffs_waiting": "3x240"},
        {"vestibule_handoffs_waiting": " ".join(["5 5 5 0"] * 60)},
    ),
    Incident("VestibuleBackendServerDown", {UP_1: "0x240", UP_2: "1x240"}, {UP_1: "1x240"}),
    Incident(
        "VestibuleBackendDown",
        {UP_1: "0x240", UP_2: "0x240"},
        {UP_1: "0x240", UP_2: "1x240"},
    ),
    Incident(
        "VestibuleServerErrors",
        {SERVED: "0+90x240", FAILED: "0+10x240"},
        {SERVED: "0+99x240", FAILED: "0+1x240"},
    ),
    Incident("VestibuleProcessRestarts", {RESTARTS: "0+1x240"}, {RESTARTS: "0x230 1x10"}),
    Incident("VestibuleProcessStuck", {STUCK: "0x190 1x50"}, {REFUSED: "0x190 1x50"}),
    Incident(
        "VestibuleProcessMissing",
        {'vestibule_processes{role="worker"}': "0x240"},
        {'vestibule_processes{role="worker"}': "1x240"},
    ),
    Incident(
        "VestibuleDescriptorsNearLimit",
        {OPEN_FDS: "900x240", MAX_FDS: "1024x240"},
        {OPEN_FDS: "500x240", MAX_FDS: "1024x240"},
    ),
    Incident("VestibuleEventLoopLag", {LAG: "0.4x240"}, {LAG: "0.02x240"}),
    Incident(
        "VestibuleLogLinesDropped",
        {"vestibule_log_dropped_total": "0+1x240"},
        {"vestibule_log_dropped_total": "7x240"},
    ),
]


def firing(incident: Incident, series: dict[str, str], fires: int) -> dict[str, Any]:
    """promtool's test that so many of the incident's alerts fire after 50 minutes."""
    return {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{incident.alert}",alertstate="firing"}})',
                "eval_time": "50m",
                "exp_samples": [{"labels": "{}", "value": fires}] if fires else [],
            }
        ],
    }


@needs_promtool
@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.alert)
def test_an_alert_fires_for_its_fault_alone(tmp_path: Path, incident: Incident) -> None:
    tests = {
        "rule_files": [str(DEPLOY / "alerts.yaml")],
        "evaluation_interval": "15s",
        "tests": [firing(incident, incident.bad, 1), firing(incident, incident.good, 0)],
    }
    file = tmp_path / "alerts_test.yaml"
    file.write_text(yaml.safe_dump(tests))
    run_tool("promtool", "test", "rules", file)


def test_every_alert_is_shown_to_fire() -> None:
    shown = [incident.alert for incident in INCIDENTS]
    assert sorted(shown) == sorted(rule["alert"] for rule in alert_rules())
