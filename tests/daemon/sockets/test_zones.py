"""Link-local addresses and the links that they are on."""

from __future__ import annotations

import socket

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.daemon.sockets import zones as zones_module
from dhtd.daemon.sockets.zones import Zones, split_zone
from dhtd.errors import InvalidEndpoint

ONE, TWO, THREE = (Endpoint.of(f"fe80::{number}", 1729) for number in (1, 2, 3))
LO = socket.if_nametoindex("lo")


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "fe80::1", "node.example", "a%b", "1.2.3.4%lo", ""])
def test_most_hosts_have_no_zone(host: str) -> None:
    assert split_zone(host) == (host, None)


def test_a_zone_is_a_name_or_number() -> None:
    assert split_zone("fe80::1%lo") == ("fe80::1", LO)
    assert split_zone(f"fe80::1%{LO}") == ("fe80::1", LO)


@pytest.mark.parametrize("zone", ["nowhere", "", "999999999", "9" * 5_000, "-1", "x" * 5_000, "lo ", "\u0661", "l\0o"])
def test_an_unknown_interface_is_reported(zone: str) -> None:
    with pytest.raises(InvalidEndpoint, match="is on a link that is not here"):
        split_zone(f"fe80::1%{zone}")


def test_only_a_link_local_address_has_a_zone() -> None:
    with pytest.raises(InvalidEndpoint, match="is no link-local address"):
        split_zone("2001:db8::1%lo")


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the missing links; all others exist."""
    links: set[int] = set()
    monkeypatch.setattr(zones_module, "is_there", lambda zone: zone not in links)
    return links


def test_a_peer_on_a_lost_link_moves_to_another(gone: set[int]) -> None:
    zones = Zones([3])
    zones.heard(ONE, 3)
    gone.add(3)
    zones.heard(ONE, 4)
    assert zones.of(ONE) == 4
    zones.heard(ONE, 5)
    assert zones.of(ONE) == 4


def test_lost_links_are_forgotten(gone: set[int]) -> None:
    zones = Zones([3, 4])
    zones.named(ONE, 3)
    assert zones.of(TWO) is None
    gone.add(3)
    zones.forget_gone()
    assert (zones.of(ONE), zones.of(TWO)) == (4, 4)
    gone.add(4)
    zones.forget_gone()
    assert zones.of(ONE) is None


def test_an_address_stays_on_its_first_link(gone: set[int]) -> None:
    zones = Zones()
    assert zones.of(ONE) is None
    zones.heard(ONE, 3)
    zones.heard(ONE.with_port(9), 4)
    zones.heard(TWO, 4)
    assert (zones.of(ONE), zones.of(ONE.with_port(80)), zones.of(TWO)) == (3, 3, 4)


def test_the_user_knows_better() -> None:
    zones = Zones()
    zones.heard(ONE, 3)
    zones.named(ONE, 4)
    assert zones.of(ONE) == 4


def test_an_unheard_address_is_on_the_only_link() -> None:
    zones = Zones([5])
    assert zones.of(ONE) == 5
    zones.heard(TWO, 5)
    assert zones.of(ONE) == 5
    zones.heard(THREE, 6)
    assert zones.of(ONE) is None
    assert (zones.of(TWO), zones.of(THREE)) == (5, 6)


def test_remembered_addresses_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones_module, "REMEMBERED", 2)
    zones = Zones()
    for number, endpoint in enumerate((ONE, TWO, THREE)):
        zones.heard(endpoint, number + 1)
        assert len(zones._by_address) <= 2
    assert [zones.of(endpoint) for endpoint in (ONE, TWO, THREE)] == [None, 2, 3]


def test_an_endpoint_is_shown_with_its_zone() -> None:
    zones = Zones()
    assert zones.text(ONE) == "[fe80::1]:1729"
    zones.heard(ONE, LO)
    assert zones.text(ONE) == "[fe80::1%lo]:1729"
    zones.named(ONE, 1_000_000)
    assert zones.text(ONE) == "[fe80::1%1000000]:1729"
    for other in ("192.0.2.1:5", "[2001:db8::1]:5"):
        assert zones.text(Endpoint.parse(other)) == other
