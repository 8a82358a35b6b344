"""DNS records under a public key, in both networks: put on one machine, shown, kept and changed on another."""

from __future__ import annotations

import hashlib
from base64 import b64decode

import pytest

from tests.e2e.daemons import Network

ZONE = "$TTL 300\n@ A 192.0.2.1\n_http._tcp SRV 0 0 80 @\nwww 60 CNAME @\n"
LINES = "@ 300 IN A 192.0.2.1\n_http._tcp 300 IN SRV 0 0 80 @\nwww 60 IN CNAME @\n"


@pytest.mark.parametrize(("option", "hashed"), [("--network=mainline", "sha1"), ("--network=native", "sha256")])
def test_records_of_a_key_pass_between_machines(option: str, hashed: str) -> None:
    with Network() as network:
        one, other, third = network.start(1, option) + network.start(2, option)
        for daemon in (one, other, third):
            daemon.wait_until(lambda node: node["contacts"]["good"] == 2)
        key, zone = network.directory / "key", network.directory / "zone"
        public = network.dht(one, "key", "new", str(key))
        zone.write_text(ZONE)
        put = network.dht(one, "put", "--key", str(key), "--dns", str(zone), "--min-replicas", "2")
        # The place and the signature are those of BEP 44: everybody with pkarr finds it.
        assert put["id"] == hashlib.new(hashed, bytes.fromhex(public["public_key"])).hexdigest()
        got = network.dht(other, "get", public["z32"])
        assert [record["type"] for record in got["dns"]["records"]] == ["A", "SRV", "CNAME"]
        shown = network.run("dht", "--socket", str(other.socket), "get", "--dns", public["z32"])
        assert (shown.returncode, shown.stdout, shown.stderr) == (0, LINES, "")
        # Another machine keeps them, and with the key in its hands, changes them.
        assert network.dht(third, "keep", public["z32"])["kept"]
        zone.write_text(shown.stdout.replace("192.0.2.1", "192.0.2.2"))
        changed = network.dht(third, "put", "--key", str(key), "--dns", str(zone))
        assert changed["seq"] > put["seq"]
        assert network.dht(one, "get", public["z32"])["dns"]["records"][0]["data"] == "192.0.2.2"
        # A bad file changes nothing.
        zone.write_text("@ 60 A 192.0.2.3\nexample.org. 60 A 192.0.2.3\n")
        assert network.dht(third, "put", "--key", str(key), "--dns", str(zone), status=2)["error"]["code"] == (
            "invalid-value"
        )
        assert network.dht(other, "get", public["z32"])["seq"] == changed["seq"]
        assert network.dht(third, "delete", public["z32"])["value"]
        network.dht(third, "delete", public["z32"], status=1)
        assert b64decode(network.dht(other, "get", public["z32"])["data"]) == b64decode(
            network.dht(one, "get", public["z32"])["data"]
        )
