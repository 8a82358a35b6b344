"""Our IDs follow from our address, once enough networks agree on it, and not too often."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.address.external_address import ExternalAddress
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import MAINLINE as KEYSPACE
from dhtd.core.membership.naming import Naming
from dhtd.core.messages import Contact
from dhtd.core.policy import MAINLINE
from dhtd.core.routing.outcomes import Verify
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.overlays import Overlays
from dhtd.core.routing.standing import Standing
from dhtd.wire import bep42
from dhtd.wire.bep5 import Bep5Codec

CODEC = Bep5Codec()
HERE, THERE = Endpoint.parse("198.51.100.7:6881"), Endpoint.parse("203.0.113.9:6881")
HERE6 = Endpoint.parse("[2001:db8:7::1]:6881")
GAP = MAINLINE.id_gap
ANY = KEYSPACE.digest(b"us")


def voter(number: int, family: Family = Family.IPV4) -> Endpoint:
    """Return an endpoint in a network of its own."""
    if family is Family.IPV6:
        return Endpoint.of(f"{0x2400 + number:x}::1", 6881)
    return Endpoint.of(f"128.{number}.0.1", 6881)


class Place:
    """A node of both families, and the votes on where it is."""

    def __init__(self, families: tuple[Family, ...] = (Family.IPV4, Family.IPV6)) -> None:
        rng = Random(1)
        self.overlays = Overlays(Overlay(family, ANY, CODEC, rng, MAINLINE, 0.0) for family in families)
        self.external = ExternalAddress(MAINLINE)
        assert CODEC.traits.id_rule is not None
        self.naming = Naming(CODEC.traits.id_rule, self.overlays, self.external, MAINLINE, rng)

    def vote(self, number: int, observed: Endpoint, now: float = 0.0) -> Family | None:
        self.external.vote(voter(number, observed.family), observed, now)
        return self.naming.observed(observed, now)

    def votes(self, count: int, observed: Endpoint, now: float = 0.0) -> list[Family | None]:
        return [self.vote(number, observed, now) for number in range(count)]


def test_eight_networks_decide() -> None:
    place = Place()
    assert place.votes(12, HERE) == [None] * 7 + [Family.IPV4] + [None] * 4
    own_id = place.overlays[Family.IPV4].own_id
    assert bep42.suits(own_id, HERE.ip)
    assert place.overlays.own_id == own_id
    assert place.overlays.own_ids == (own_id, ANY)


def test_each_family_has_its_own() -> None:
    place = Place()
    assert place.votes(8, HERE6)[-1] is Family.IPV6
    assert place.overlays.own_id == ANY
    assert bep42.suits(place.overlays[Family.IPV6].own_id, HERE6.ip)


def test_many_votes_in_one_family_cost_the_other_none() -> None:
    """A node of both hears of most networks by IPv4, and 16 votes would be none of IPv6."""
    place = Place()
    for number in range(8):
        place.votes(16, HERE)
        place.vote(number, HERE6)
    assert bep42.suits(place.overlays[Family.IPV6].own_id, HERE6.ip)
    assert [seen.networks for seen in place.external.seen()] == [16, 8]
    place.vote(99, HERE)
    assert [seen.networks for seen in place.external.seen()] == [16, 8]


def test_an_id_that_suits_stays() -> None:
    place = Place()
    fits = bep42.id_at(HERE.ip, Random(2))
    place.overlays.rename(Family.IPV4, fits, 0.0)
    assert set(place.votes(12, HERE)) == {None}
    assert place.overlays.own_id == fits


@pytest.mark.parametrize("text", ["10.0.0.7:1", "127.0.0.1:1", "[fd00::1]:1"])
def test_other_addresses_bind_nobody(text: str) -> None:
    place, observed = Place(), Endpoint.parse(text)
    for number in range(12):
        near = Endpoint(observed.ip[:-1] + bytes([number + 20]) + b"\0\x01")
        place.external.vote(near, observed, 0.0)
        assert place.naming.observed(observed, 0.0) is None


def test_a_family_that_is_not_spoken_has_no_id() -> None:
    place = Place(families=(Family.IPV4,))
    assert set(place.votes(12, HERE6)) == {None}


def test_liars_are_outvoted() -> None:
    place = Place()
    place.votes(8, HERE)
    own_id = place.overlays.own_id
    assert [place.vote(number, THERE, 2 * GAP) for number in range(100, 107)] == [None] * 7
    assert place.overlays.own_id == own_id


def test_an_id_is_changed_once_in_a_while() -> None:
    place = Place()
    place.votes(8, HERE)
    assert set(place.votes(12, THERE, GAP - 1)) == {None}
    assert place.votes(12, THERE, GAP)[0] is Family.IPV4
    assert bep42.suits(place.overlays.own_id, THERE.ip)


def known(overlay: Overlay, count: int) -> list[Contact]:
    rng, contacts = Random(5), []
    for number in range(count):
        contact = Contact(KEYSPACE.random(rng), voter(number))
        overlay.state.answered(contact, 0.1, 0.0)
        contacts.append(contact)
    return contacts


def test_contacts_stay_as_questionable() -> None:
    place = Place()
    overlay = place.overlays[Family.IPV4]
    contacts = known(overlay, 200)
    before = list(overlay.state.table)
    place.votes(8, HERE, 1.0)
    own_id, table = overlay.own_id, overlay.state.table
    assert table.own_id == own_id
    nearest = sorted(before, key=lambda contact: contact.id ^ own_id)[:8]
    assert set(nearest) <= set(table)
    assert set(table) <= set(before)
    assert {overlay.state.standing(contact, 1.0) for contact in table} == {Standing.QUESTIONABLE}
    # Those without a place are forgotten, and may come again.
    gone = set(contacts) - set(table)
    assert len(overlay.state.meta._records) == len(table)
    assert gone
    for contact in table:
        overlay.state.answered(contact, 0.1, 2.0)
    assert {overlay.state.standing(contact, 2.0) for contact in table} == {Standing.GOOD}


def test_a_contact_with_our_new_id_leaves() -> None:
    place = Place()
    overlay = place.overlays[Family.IPV4]
    [contact] = known(overlay, 1)
    place.overlays.rename(Family.IPV4, contact.id, 1.0)
    assert len(overlay.state.table) == 0
    assert overlay.state.closest(contact.id, 8) == []


def test_a_contact_that_suits_is_checked_last() -> None:
    state, half = Place().overlays[Family.IPV4].state, 1 << 159
    near = [Contact(KEYSPACE.id(ANY ^ distance), voter(100 + distance)) for distance in range(1, 9)]
    far = [Contact(KEYSPACE.id(ANY ^ half ^ distance), voter(distance)) for distance in range(1, 8)]
    # One that suits is in the far bucket, too. It was heard before all others, so it would be the first one.
    ips = (voter(number).ip for number in range(200, 250))
    ids = ((bep42.id_at(ip, Random(0)), ip) for ip in ips)
    id, ip = next((id, ip) for id, ip in ids if (id ^ ANY) & half)
    fits = Contact(id, Endpoint(ip + b"\x1a\xe1"))
    state.answered(fits, 0.1, -1.0)
    for contact in (*near, *far):
        state.answered(contact, 0.1, 0.0)
    assert not any(map(CODEC.traits.suits, far))
    newcomer = Contact(KEYSPACE.id(ANY ^ half ^ 99), voter(99))
    assert state.answered(newcomer, 0.1, MAINLINE.good_for + 1) == Verify(far[0])
