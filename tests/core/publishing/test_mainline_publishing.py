"""Own entries in the Mainline network: announced again before other clients forget them."""

from __future__ import annotations

from itertools import pairwise

from bencode2 import bdecode, bencode

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import MAINLINE as KEYSPACE
from dhtd.core.messages import Contact
from tests.core.mainline import KEY, POLICY, make

HOSTS = [Contact(KEYSPACE.digest(b"%d" % number), Endpoint.of(f"203.0.{number}.1", 6881)) for number in range(8)]
HOUR = 3_600.0


def test_an_entry_is_announced_every_quarter_of_an_hour() -> None:
    node, announced, pinged, now = make(), [], 0, 1.0
    for host in HOSTS:
        node.overlays[Family.IPV4].state.answered(host, 0.1, 0.0)
    node.commands.enter(KEY, 80, now)
    while now < 2 * HOUR:
        while (transmit := node.poll_transmit()) is not None:
            query = bdecode(transmit.data)
            host = next(each for each in HOSTS if each.endpoint == transmit.endpoint)
            if query[b"q"] == b"announce_peer" and host is HOSTS[0]:
                assert query[b"a"][b"port"] == 80
                announced.append(now)
            pinged += query[b"q"] == b"ping"
            body = {b"id": KEYSPACE.to_bytes(host.id), b"token": b"token", b"nodes": b""}
            node.handle_datagram(bencode({b"t": query[b"t"], b"y": b"r", b"r": body}), host.endpoint, now)
        while node.poll_event() is not None:
            pass
        when = node.poll_timeout()
        assert when is not None
        now = max(now, when)
        node.handle_timeout(now)
    pauses = [later - earlier for earlier, later in pairwise(announced)]
    assert len(pauses) >= 7
    assert pinged < 10  # nobody asks all the time whether a holder is there
    jitter = POLICY.republish_jitter
    assert all(15 * 60 * (1 - jitter) <= pause <= 15 * 60 * (1 + jitter) + 1 for pause in pauses)
