"""Dashboard and alerts ask for what a real /metrics answers, by labels it has and values it can have."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from smoothcert.jobs.metrics import LOSSES, OUTCOMES
from tests.service.shelf import MODEL
from tests.service.worker import StandInWorker

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker" / "observe"
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboard.json").read_text())
METRIC = re.compile(r"\b((?:smoothcert|process)_\w+)(\{[^}]*\})?")
OF_PROMETHEUS = {"job", "instance"}  # labels that scraping adds
VALUES = {"outcome": OUTCOMES, "cause": LOSSES, "route": ("/certify",)}


def questions() -> Iterator[str]:
    """Every PromQL expression."""
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]
    yield from (rule["expr"] for rule in rules())


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture
def answered(client: TestClient, worker: StandInWorker, digit: bytes) -> dict[str, set[str]]:
    """The labels of every metric of a service that has been at work."""
    client.post("/certify", files={"image": digit})
    worker.beat(MODEL)
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_every_metric_asked_for_is_answered_with_the_labels_asked_for(answered: dict[str, set[str]]) -> None:
    asked = set()
    for question in questions():
        assert question.count("(") == question.count(")")
        names = METRIC.findall(question)
        assert names or question.startswith("up{"), question
        labels = {label for name, _ in names for label in answered[name]} | OF_PROMETHEUS
        for name, selector in names:
            asked.add(name)
            assert set(re.findall(r"(\w+)=~?\"", selector)) <= answered[name] | OF_PROMETHEUS, question
        for group in re.findall(r"\bby \(([^)]*)\)", question):
            assert set(group.split(", ")) <= labels, question
    told = {name for name in answered if name.startswith("smoothcert_") and not name.endswith("_created")}
    stems = {re.sub(r"_(bucket|count|sum)$", "", name) for name in told}
    assert {re.sub(r"_bucket$", "", name) for name in asked if name.startswith("smoothcert_")} == stems


def test_values_asked_for_are_among_those_there_are() -> None:
    found = [
        (label, value)
        for question in questions()
        for label, values in re.findall(r"(outcome|cause|route)=~?\"([^\"]*)\"", question)
        for value in values.split("|")
    ]
    assert len(found) > 4
    assert [(label, value) for label, value in found if value not in VALUES[label]] == []


def test_every_panel_is_placed_and_asks_the_chosen_source() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"], panel["gridPos"]["w"]) for panel in panels]
    assert all(x + width <= 24 for _, x, width in places)
    assert len({place[:2] for place in places}) == len(places)
    asking = [panel for panel in panels if panel["type"] != "row"]
    assert {panel["datasource"]["uid"] for panel in asking} == {"${source}"}


def test_alerts_say_how_urgent_and_what_is_the_matter() -> None:
    assert len({rule["alert"] for rule in rules()}) == len(rules()) > 5
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, which comes with Prometheus")
def test_each_alert_is_silent_until_it_should_not_be() -> None:
    told = subprocess.run(
        ["promtool", "test", "rules", FOLDER / "alerts_test.yml"], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_every_alert_is_tried_on_figures_that_raise_it_and_on_some_that_do_not() -> None:
    tried = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    cases = [case for one in tried for case in one["alert_rule_test"]]
    for raised in (True, False):
        seen = {case["alertname"] for case in cases if bool(case["exp_alerts"]) is raised}
        assert seen == {rule["alert"] for rule in rules()}


def test_prometheus_and_grafana_find_what_they_are_given() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.observe.yml").read_text())["services"]
    mounted = dict(
        volume.split(":")[:2][::-1] for one in compose.values() for volume in one["volumes"] if "./" in volume
    )
    assert all((ROOT / source).is_file() for source in mounted.values())
    prometheus = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert set(prometheus["rule_files"]) <= set(mounted)
    (scraped,) = prometheus["scrape_configs"]
    assert scraped["job_name"] == "smoothcert"
    assert compose["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in mounted
    assert all(port.startswith("127.0.0.1:") for one in compose.values() for port in one.get("ports", []))
    assert all(one["cap_drop"] == ["ALL"] and one["read_only"] is True for one in compose.values())
