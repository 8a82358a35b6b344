"""The door of a real daemon: what it says as entries come and go, and in an outage."""

from __future__ import annotations

import socket

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.e2e.daemons import DEADLINE as PATIENCE
from tests.e2e.daemons import Network

PORT = 1753


def ask(address: str, name: str, kind: str = "A") -> dns.message.Message:
    query = dns.message.make_query(f"{name}.dht.alt", kind)
    return dns.query.udp(query, address, timeout=PATIENCE, port=PORT)


@pytest.mark.slow
def test_an_outage_is_never_told_as_no_such_name() -> None:
    with Network() as network:
        address = f"{network.subnet}.250"
        [daemon] = network.start(1, f"--dns={address}:{PORT}")
        others = network.start(5)
        network.dht(daemon, "bootstrap", others[0].endpoint)
        daemon.wait_until(lambda node: node["contacts"]["good"] >= 5)
        network.dht(others[0], "enter", "wiki", "8080")
        found = ask(address, "wiki")
        assert [each.to_text() for each in found.answer[0]] == [others[0].address]
        assert ask(address, "nobody").rcode() == dns.rcode.NXDOMAIN
        for each in others:
            each.kill()
        with socket.socket(type=socket.SOCK_DGRAM) as asker:
            # Those that come at once, while the node believes that its contacts are there:
            asker.settimeout(PATIENCE)
            asker.connect((address, PORT))
            for number in range(50):
                asker.send(dns.message.make_query(f"a{number}.dht.alt", "A", id=number).to_wire())
            answers = [dns.message.from_wire(asker.recv(512)) for _ in range(50)]
        assert {each.rcode() for each in answers} == {dns.rcode.SERVFAIL}
        daemon.wait_until(lambda node: not node["contacts"]["good"])
        for number in range(50, 60):
            assert ask(address, f"a{number}").rcode() == dns.rcode.SERVFAIL
        assert "defect" not in daemon.log.read_text(encoding="utf-8")


def test_a_node_that_knows_nobody_says_nothing() -> None:
    with Network() as network:
        address = f"{network.subnet}.250"
        network.start(1, f"--dns={address}:{PORT}")
        assert ask(address, "wiki").rcode() == dns.rcode.SERVFAIL
        assert ask(address, "wiki", "SRV").rcode() == dns.rcode.SERVFAIL


def test_an_id_of_the_mainline_network_has_a_name() -> None:
    with Network() as network:
        address = f"{network.subnet}.250"
        [daemon] = network.start(1, "--network=mainline", f"--dns={address}:{PORT}", "--dns-domain=bt.example")
        [other] = network.start(1, "--network=mainline")
        network.dht(daemon, "bootstrap", other.endpoint)
        network.dht(other, "enter", "00" * 20, "6881")
        query = dns.message.make_query(f"{'a' * 32}.bt.example", "TXT")
        found = dns.query.tcp(query, address, timeout=PATIENCE, port=PORT)
        assert [each.to_text() for each in found.answer[0]] == [f'"{other.address}:6881"']


def test_a_port_that_is_taken_ends_the_start() -> None:
    with Network() as network, socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind((f"{network.subnet}.250", PORT))
        given = [f"--state={network.directory}/s.db", f"--socket={network.directory}/s", "--json"]
        done = network.run("dhtd", "start", *given, f"--bind={network.subnet}.9", f"--dns={network.subnet}.250:{PORT}")
    assert done.returncode == 1
    assert f"another program has UDP port {PORT}" in done.stdout
    assert '"code": "port-taken"' in done.stdout or '"code":"port-taken"' in done.stdout
