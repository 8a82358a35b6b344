"""`dht dns-setup`: from the places of the running daemon to a file for a resolver."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, result

DOORS = ["http://127.0.0.1:8729", "dns://127.0.0.1:1753/lab.example", "dns://[::1]:53/lab.example"]
FILES = {
    "systemd-resolved": """# /etc/systemd/resolved.conf.d/dhtd.conf
[Resolve]
DNS=127.0.0.1:1753 [::1]:53
Domains=~lab.example
""",
    "dnsmasq": """# /etc/dnsmasq.d/dhtd.conf
server=/lab.example/127.0.0.1#1753
server=/lab.example/::1#53
rebind-domain-ok=/lab.example/
""",
    "unbound": """# /etc/unbound/unbound.conf.d/dhtd.conf
server:
    do-not-query-localhost: no
    domain-insecure: "lab.example"
    private-domain: "lab.example"
    local-zone: "lab.example." transparent
stub-zone:
    name: "lab.example"
    stub-addr: 127.0.0.1@1753
    stub-addr: ::1@53
""",
}


@pytest.mark.parametrize("resolver", FILES)
def test_the_file_of_a_resolver_is_printed(resolver: str, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({"node": {"doors": DOORS}})) as fake:
        done = dht("--socket", fake.path, "dns-setup", resolver)
    assert (done.status, done.out, done.err) == (0, FILES[resolver], "")


def test_without_a_resolver_all_are_printed(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({"node": {"doors": DOORS}})) as fake:
        done = dht("--socket", fake.path, "dns-setup")
    assert done.out == "".join(FILES.values())


def test_json_has_the_files(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({"node": {"doors": DOORS}})) as fake:
        done = dht("--socket", fake.path, "--json", "dns-setup", "dnsmasq")
    comment, _, text = FILES["dnsmasq"].partition("\n")
    drop_in = {"resolver": "dnsmasq", "file": comment[2:], "text": text}
    assert json.loads(done.out) == {"domain": "lab.example", "drop_ins": [drop_in]}


@pytest.mark.parametrize(
    "node", [{}, {"doors": None}, {"doors": []}, {"doors": DOORS[:1]}, {"doors": ["dns://x", "dns://1:2:3/a", 7]}]
)
def test_a_daemon_without_dns_is_told(node: dict[str, object], dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({"node": node})) as fake:
        done = dht("--socket", fake.path, "dns-setup", "unbound")
    assert (done.status, done.out) == (2, "")
    assert "this daemon serves no DNS: start it with --dns 127.0.0.1:1753" in done.err


def test_another_resolver_is_a_usage_error(dht: Run) -> None:
    done = dht("dns-setup", "bind")
    assert done.status == 2
    assert "'bind' is none of systemd-resolved, dnsmasq, unbound" in done.err
