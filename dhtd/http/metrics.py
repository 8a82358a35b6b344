"""The metrics of a daemon for Prometheus, from what `dht info` and `dht status` tell.

Names follow Prometheus' guide to naming: units at the end, counters with `_total`. Values are read when they are asked
for, in one go. The registry is our own: nothing of another library comes with it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dhtd import __version__

PREFIX: Final = "dhtd"
OPENMETRICS: Final = "application/openmetrics-text"

# The counters of section `network`: what each counts. Those of bytes have a name with the unit at the end.
COUNTERS: Final = {
    "datagrams_received": "Datagrams that came in, without oversized ones.",
    "bytes_received": "Bytes of the datagrams that came in.",
    "datagrams_sent": "Datagrams that went out.",
    "bytes_sent": "Bytes of the datagrams that went out.",
    "oversized": "Datagrams that were dropped unread, since they were too long.",
    "unopened": "Datagrams that no network key of this node opens.",
    "out_of_time": "Sealed queries that are too old or too new.",
    "misdirected": "Sealed queries for another node.",
    "replayed": "Sealed queries that came before.",
    "receive_errors": "Failures to receive.",
    "send_errors": "Datagrams that could not be sent.",
    "send_buffer_full": "Datagrams that waited for room in the kernel.",
    "defects": "Failures of dhtd itself; its log has the details.",
    "malformed": "Datagrams that are no message.",
    "unserved": "Queries to a node that does not serve all.",
    "rate_limited": "Queries above a limit that were not answered.",
    "cut_short": "Queries above a limit that got a short answer.",
    "unmatched": "Replies that match no query.",
    "own_id_claimed": "Datagrams under this node's own ID.",
    "repeated": "Stores and withdrawals that came before.",
    "forged": "Values in answers that do not belong to their ID, or have a bad signature.",
    "changes_refused": "Stores and withdrawals beyond the number that can be remembered.",
    "bad_queries": "Queries that were answered with an error.",
    "queries_sent": "Queries of this node.",
    "replies_received": "Replies to queries of this node.",
    "errors_received": "Errors in answer to queries of this node.",
    "retries": "Queries that were sent again.",
    "timeouts": "Queries without an answer in time.",
    "control_forbidden": "Connections to the control socket by users without access.",
    "control_refused": "Connections to the control socket that found no place.",
    "control_displaced": "Idle connections to the control socket that gave up their place.",
    "control_frames_refused": "Requests at the control socket that were too large or too slow.",
    "log_dropped": "Lines of the log that could not be written, or were not read in time.",
    "lookups": "Lookups of clients that have ended.",
}
_UNIT_LAST: Final = {"bytes_received": "received_bytes", "bytes_sent": "sent_bytes"}
BY_LABEL: Final = {  # the key of a counter for each of several things, the metric, its label, and what it counts
    "queries_received": ("queries_received", "method", "Queries of others."),
    "caps_hit": ("cap_hits", "cap", "How often a cap has refused something, left it out or made it wait."),
}
# The key of the buckets of lookups, the metric, what is counted, and the factor to its unit.
HISTOGRAMS: Final = {
    "lookup_ms": ("lookup_duration_seconds", "Seconds until lookups ended.", 0.001),
    "lookup_first_ms": ("lookup_first_endpoint_seconds", "Seconds until lookups found their first endpoint.", 0.001),
    "lookup_queries": ("lookup_queries", "Queries that lookups took.", 1.0),
}

Told = Mapping[str, Any]


class Metrics:
    """The registry of one daemon."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._snapshot = _Snapshot()
        self._registry.register(self._snapshot)
        ProcessCollector(registry=self._registry)

    def written(self, info: Told, status: Told, health: Told | None, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the format that a client accepts, and its content type.

        `info` has the sections `node` and `network`. `health` is None while nobody has looked.
        """
        # Versions and escapings that a client invents are an error in prometheus-client, or come back in the answer.
        encode, content_type = choose_encoder(f"{OPENMETRICS}; version=1.0.0" if OPENMETRICS in accept else "")
        self._snapshot.families = lambda: _families(info["node"], info["network"], status, health)
        encoder: Callable[[CollectorRegistry], bytes] = encode
        return encoder(self._registry), content_type


class _Snapshot(Collector):
    """The values of one moment."""

    def __init__(self) -> None:
        self.families: Callable[[], Iterable[Metric]] = tuple

    def collect(self) -> Iterable[Metric]:
        return self.families()


def _families(node: Told, network: Told, status: Told, health: Told | None) -> Iterator[Metric]:
    build = {"version": __version__, "python": platform.python_version(), "network": str(node["network"])}
    yield InfoMetricFamily(f"{PREFIX}_build", "The program and its network.", build)
    yield from _counters(network)
    yield from _contacts(node)
    yield from _records(node, status)
    if health is not None:
        yield from _health(health)


def _counters(network: Told) -> Iterator[Metric]:
    for key, value in network.items():
        if key in BY_LABEL:
            name, label, words = BY_LABEL[key]
            family = CounterMetricFamily(f"{PREFIX}_{name}", words, labels=[label])
            for each, count in value.items():
                family.add_metric([each], count)
            yield family
        elif key in HISTOGRAMS:
            yield _histogram(key, value, network[f"{key}_sum"])
        elif key in COUNTERS:
            yield CounterMetricFamily(f"{PREFIX}_{_UNIT_LAST.get(key, key)}", COUNTERS[key], value)


def _histogram(key: str, buckets: Mapping[str, int], total: float) -> Metric:
    name, words, factor = HISTOGRAMS[key]
    so_far, cumulated = 0, []
    for bound, count in buckets.items():
        so_far += count
        cumulated.append((bound if bound == "+Inf" else str(round(float(bound) * factor, 6)), so_far))
    family = HistogramMetricFamily(f"{PREFIX}_{name}", words)
    family.add_metric([], buckets=cumulated, sum_value=total * factor)
    return family


def _contacts(node: Told) -> Iterator[Metric]:
    contacts = GaugeMetricFamily(f"{PREFIX}_contacts", "Contacts in the routing table.", labels=["family", "standing"])
    connected = GaugeMetricFamily(f"{PREFIX}_connected", "1 while the node is in the network.", labels=["family"])
    for family in node["families"]:
        connected.add_metric([family["family"]], int(family["connected"]))
        for standing, count in family["contacts"].items():
            contacts.add_metric([family["family"], standing], count)
    yield contacts
    yield connected
    if node.get("network_size") is not None:
        yield GaugeMetricFamily(f"{PREFIX}_network_nodes", "The estimated size of the network.", node["network_size"])


def _records(node: Told, status: Told) -> Iterator[Metric]:
    values, lease, watches = node["values"], node["lease"], node["watches"]
    gauges: list[tuple[str, str, float]] = [
        ("uptime_seconds", "Seconds since the node started.", node["uptime_s"]),
        ("restoring", "1 while the state file is being read.", int(node["restoring"])),
        ("own_entries", "Entries of this machine.", status["own_entries"]),
        ("own_entries_unheld", "Entries of this machine that no node holds.", status["unheld_entries"]),
        ("own_entries_withheld", "Entries that their checks keep from being published.", status["withheld_entries"]),
        ("own_entry_replicas", "Copies of own entries on other nodes.", status["replicas"]),
        ("held_entries", "Entries that are held for others.", status["held_entries"]),
        ("own_values", "Values that this node keeps.", values["own"]),
        ("own_values_unheld", "Values that this node keeps and no node holds.", values["unheld"]),
        ("held_values", "Values that are held for others.", values["held"]),
        ("held_values_bytes", "Bytes of the values that are held for others.", values["held_bytes"]),
        ("own_watches", "IDs that this node watches.", watches["own"]),
        ("held_watches", "Watches that are held for others.", watches["held"]),
        ("lease_seconds", "The lease of own entries.", lease["lease_s"]),
        ("lease_holders", "Nodes that hold own entries.", lease["holders"]),
    ]
    if lease["period_s"] is not None:
        gauges.append(("lease_period_seconds", "Seconds between two renewals at a holder.", lease["period_s"]))
    for name, words, value in gauges:
        yield GaugeMetricFamily(f"{PREFIX}_{name}", words, value)


def _health(health: Told) -> Iterator[Metric]:
    yield GaugeMetricFamily(f"{PREFIX}_healthy", "1 while other nodes find the canary.", int(health["healthy"]))
    if health["found_s_ago"] is not None:
        age = "Seconds since another node has named the canary."
        yield GaugeMetricFamily(f"{PREFIX}_canary_found_age_seconds", age, health["found_s_ago"])
