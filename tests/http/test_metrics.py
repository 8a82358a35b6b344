"""/metrics: complete, in good form, and good for the dashboard and the alerts in contrib/."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dhtd.control.limits import ControlCounters
from dhtd.core.counters import CAPS, Counters
from dhtd.core.events import LookupStats
from dhtd.daemon.log import LogCounters
from dhtd.daemon.lookup_counters import LookupCounters
from dhtd.daemon.sockets.channel import UdpCounters
from dhtd.http.metrics import BY_LABEL, COUNTERS, HISTOGRAMS, Metrics
from tests.e2e.daemons import DEADLINE, Network
from tests.http.doors import opened

CONTRIB = Path(__file__).parents[2] / "contrib"
RULES = CONTRIB / "prometheus/dhtd.rules.yml"
DASHBOARD = json.loads((CONTRIB / "grafana/dhtd.json").read_text(encoding="utf-8"))
KEPT = {
    field.name
    for each in (UdpCounters, Counters, ControlCounters, LogCounters, LookupCounters)
    for field in fields(each)
}

NODE: dict[str, Any] = {
    "network": "native",
    "families": [
        {"family": "ipv4", "connected": True, "contacts": {"good": 3, "questionable": 1, "bad": 0}},
        {"family": "ipv6", "connected": False, "contacts": {"good": 0, "questionable": 0, "bad": 2}},
    ],
    "uptime_s": 12.5,
    "restoring": False,
    "values": {"own": 1, "unheld": 0, "held": 2, "held_bytes": 300},
    "lease": {"lease_s": 60.0, "period_s": 20.0, "holders": 8},
    "watches": {"own": 1, "held": 4},
}
STATUS = {"own_entries": 3, "unheld_entries": 1, "withheld_entries": 2, "replicas": 16, "held_entries": 9}
HEALTH = {"healthy": True, "found_s_ago": 4.0, "looked_s_ago": 4.0}


def network() -> dict[str, Any]:
    lookups = LookupCounters()
    for elapsed, first, queries in ((0.003, 0.002, 8), (0.2, None, 30), (60.0, 9.0, 500)):
        lookups.ended(LookupStats(1, queries, queries, 0, elapsed, first))
    counters = (UdpCounters(), Counters(), ControlCounters(), LogCounters(), lookups)
    return {name: value for each in counters for name, value in asdict(each).items()}


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def written(**given: Any) -> str:
    told = {"status": STATUS, "health": HEALTH, "accept": "", **given}
    body, content_type = Metrics().written({"node": NODE, "network": network()}, **told)
    assert content_type.startswith("text/plain")
    return body.decode()


def test_every_counter_is_a_metric() -> None:
    assert {*COUNTERS, *BY_LABEL, *HISTOGRAMS, *(f"{key}_sum" for key in HISTOGRAMS)} == KEPT


def test_a_help_stands_for_itself() -> None:
    helps = [family.documentation for family in text_string_to_metric_families(written())]
    assert not [text for text in helps if re.match(r"Their\b|Those of them|.* (to|in answer to) them\b", text)]
    assert len(set(helps)) == len(helps)


def test_values_are_those_of_the_daemon() -> None:
    found = samples(written())
    assert found["dhtd_contacts", (("family", "ipv6"), ("standing", "bad"))] == 2
    assert found["dhtd_connected", (("family", "ipv6"),)] == 0
    assert found["dhtd_own_entries_unheld", ()] == 1
    assert found["dhtd_lease_holders", ()] == 8
    assert found["dhtd_healthy", ()] == 1
    assert found["dhtd_canary_found_age_seconds", ()] == 4
    assert {dict(labels)["cap"] for name, labels in found if name == "dhtd_cap_hits_total"} == set(CAPS)
    assert ("process_resident_memory_bytes", ()) in found
    assert not any(name.startswith("python_") for name, _ in found)


def test_lookups_are_histograms_in_seconds() -> None:
    found = samples(written())
    for bound, count in (("0.002", 0), ("0.005", 1), ("0.25", 2), ("10.0", 2), ("+Inf", 3)):
        assert found["dhtd_lookup_duration_seconds_bucket", (("le", bound),)] == count
    assert found["dhtd_lookup_duration_seconds_count", ()] == 3
    assert found["dhtd_lookup_duration_seconds_sum", ()] == pytest.approx(60.203)
    assert found["dhtd_lookup_first_endpoint_seconds_count", ()] == 2
    assert found["dhtd_lookup_queries_bucket", (("le", "8.0"),)] == 1
    assert found["dhtd_lookup_queries_bucket", (("le", "128.0"),)] == 2
    assert found["dhtd_lookup_queries_sum", ()] == 538


def test_what_is_not_known_is_left_out() -> None:
    text = written(health=None)
    assert "dhtd_healthy" not in text
    assert "dhtd_network_nodes" not in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_no_fault() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=written(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done


ALERTS = {  # by name: the series that fires it from a moment on, and how long that must last
    "DhtdCutOff": ("dhtd_healthy", "1x10 0x20", "1x30", "12m"),
    "DhtdDown": ("up", "1x10 0x20", "1x30", "13m"),
    "DhtdEntriesUnheld": ("dhtd_own_entries_unheld", "0x10 2x20", "0x30", "22m"),
    "DhtdDefects": ("dhtd_defects_total", "0x10 1x20", "0x30", "12m"),
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_each_alert_fires_by_its_fault_alone(tmp_path: Path) -> None:
    """promtool runs the rules on its own clock: each series goes wrong in the eleventh minute."""
    rules = {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}
    assert rules.keys() == ALERTS.keys()
    tests: list[dict[str, Any]] = []
    for wrong, (_, _, _, fires_at) in ALERTS.items():
        series = [
            {
                "series": f'{name}{{job="dhtd", instance="a"}}',
                "values": bad if alert == wrong else good,
            }
            for alert, (name, bad, good, _) in ALERTS.items()
        ]
        expected = {
            alert: [{"exp_labels": _labels(rules[alert]), "exp_annotations": _notes(rules[alert])}] for alert in [wrong]
        }
        checks: list[dict[str, Any]] = [{"eval_time": "10m", "alertname": alert} for alert in ALERTS]
        checks += [
            {"eval_time": fires_at, "alertname": alert, "exp_alerts": expected.get(alert, [])} for alert in ALERTS
        ]
        tests.append({"interval": "1m", "input_series": series, "alert_rule_test": checks})
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done


def _labels(rule: dict[str, Any]) -> dict[str, str]:
    return {"job": "dhtd", "instance": "a", **rule["labels"]}


def _notes(rule: dict[str, Any]) -> dict[str, str]:
    texts: dict[str, str] = rule["annotations"]
    return {
        name: text.replace("{{ $labels.instance }}", "a").replace("{{ $value }}", "2") for name, text in texts.items()
    }


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:dhtd|process)_[a-z_]+\b", expression))


def test_dashboard_and_alerts_name_existing_metrics() -> None:
    there = {name for name, _ in samples(written())}
    targets = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert len(rules) == 4
    named = {name for expression in (*targets, *rules) for name in metrics_in(expression)}
    named |= metrics_in(DASHBOARD["templating"]["list"][1]["definition"])
    assert named <= there
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


class FakeDaemon:
    """Answers info, status and health."""

    async def __call__(self, request: Any, emit: Any, caller: Any) -> Any:
        match type(request).__name__:
            case "InfoRequest":
                return {request.section: NODE if request.section == "node" else network()}
            case "StatusRequest":
                return STATUS
            case _:
                return HEALTH


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("text/plain", "text/plain"), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text")],
)
async def test_metrics_need_no_token(tmp_path: Path, accept: str, kind: str) -> None:
    async with opened(tmp_path, FakeDaemon()) as door, door.client(token=None) as client:
        answer = await client.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert "dhtd_own_entries 3.0" in answer.text


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=abc",
        "application/openmetrics-text; version=1.a",
        "application/openmetrics-text; version=" + "9" * 5_000,
        "text/plain; version=a.b",
        "text/plain; version=1.0.0; escaping=x",
        "*/*;q=x, ;;==,",
    ],
)
async def test_any_accept_gets_metrics(tmp_path: Path, accept: str) -> None:
    async with opened(tmp_path, FakeDaemon()) as door, door.client(token=None) as client:
        answer = await client.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert re.search("version=(0.0.4|1.0.0); charset=utf-8", answer.headers["content-type"])
    assert door.notes == []


@pytest.mark.parametrize(("looked", "is_told"), [(4.0, True), (400.0, False), (None, False)])
async def test_an_old_look_says_nothing_of_health(tmp_path: Path, looked: float | None, is_told: bool) -> None:
    """Nobody looks for the canary while nobody asks: it is then unknown whether the node is healthy."""

    class Daemon(FakeDaemon):
        async def __call__(self, request: Any, emit: Any, caller: Any) -> Any:
            told = await super().__call__(request, emit, caller)
            return {**told, "healthy": False, "looked_s_ago": looked} if told is HEALTH else told

    async with opened(tmp_path, Daemon()) as door, door.client(token=None) as client:
        answer = await client.get("/metrics")
    assert ("dhtd_healthy 0.0" in answer.text) == is_told


@pytest.mark.parametrize(("healthy", "status"), [(True, 200), (False, 503)])
async def test_the_probe_of_health_needs_no_token(tmp_path: Path, healthy: bool, status: int) -> None:
    async def handler(request: Any, emit: Any, caller: Any) -> Any:
        return {**HEALTH, "healthy": healthy}

    async with opened(tmp_path, handler) as door, door.client(token=None) as client:
        answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()["healthy"]) == (status, healthy)


# Prometheus itself


def asked(url: str) -> Any:
    with build_opener(ProxyHandler({})).open(Request(url), timeout=DEADLINE) as answer:
        return json.load(answer)


@contextmanager
def prometheus(directory: Path, target: str, port: str) -> Iterator[str]:
    """Run Prometheus on the rules, with `for:` cut to a second, and yield its address."""
    rules = directory / "rules.yml"
    rules.write_text(re.sub(r"for: \w+", "for: 1s", RULES.read_text(encoding="utf-8")))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "dhtd", "static_configs": [{"targets": [target]}]}],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/tsdb"]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={port}"], stderr=log, stdout=log)
    try:
        yield f"http://{port}"
    finally:
        process.kill()
        process.wait()


def wait_for(holds: Any) -> None:
    deadline = time.monotonic() + 3 * DEADLINE
    while True:
        try:
            if holds():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_prometheus_fires_the_alert_of_a_node_cut_off(tmp_path: Path) -> None:
    def firing() -> set[str]:
        alerts = asked(f"{url}/api/v1/alerts")["data"]["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def value(expression: str) -> str | None:
        result = asked(f"{url}/api/v1/query?query={expression}")["data"]["result"]
        return str(result[0]["value"][1]) if result else None

    with Network() as network:
        place = f"{network.subnet}.250"
        [daemon] = network.start(1, f"--http={place}:8729")
        [other] = network.start(1)
        with prometheus(tmp_path, f"{place}:8729", f"{place}:9090") as url:
            wait_for(lambda: value("dhtd_healthy") == "1")
            assert firing() == set()
            assert len(asked(f"{url}/api/v1/rules")["data"]["groups"][0]["rules"]) == 4
            other.kill()
            wait_for(lambda: "DhtdCutOff" in firing())
            daemon.kill()
            wait_for(lambda: "DhtdDown" in firing())
