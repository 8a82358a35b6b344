"""Our lease: how long it is, and which nodes have renewed it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.ids import NATIVE
from dhtd.core.messages import LEASE_MAX
from dhtd.core.policy import DEFAULT
from dhtd.core.publishing.own_lease import _SLACK, OwnLease
from dhtd.sim.json_codec import JsonCodec
from dhtd.wire.native import TRAITS
from tests.core.small import contact
from tests.records import SESSION


def lease() -> OwnLease:
    return OwnLease(SESSION, TRAITS, DEFAULT)


@pytest.mark.parametrize(
    ("holders", "period", "seconds"),
    [
        *((0, 20.0, 60), (190, 20.0, 60), (209, 22.0, 66), (950, 100.0, 300)),
        *((5_225, 550.0, 1_650), (950_000, 100_000.0, LEASE_MAX)),
    ],
)
def test_a_lease_is_stretched_by_many_holders(holders: int, period: float, seconds: int) -> None:
    ours = lease()
    assert (ours.period, ours.seconds) == (20.0, 60)
    ours.has_holders(holders)
    assert ours.period == pytest.approx(period)
    assert ours.seconds == ours.lasts == seconds
    ours.has_holders(0)
    assert (ours.period, ours.seconds) == (20.0, 60)


def test_on_a_wire_without_leases_a_copy_lasts_an_hour() -> None:
    ours = OwnLease(SESSION, JsonCodec(NATIVE, bare=True).traits, replace(DEFAULT, store_expiry=100.0))
    ours.has_holders(10**6)
    assert (ours.session, ours.seconds, ours.lasts, ours.is_renewed) == (b"", 0, 100.0, False)


def test_the_latest_renewal_says_until_when() -> None:
    ours = lease()
    assert ours.until(contact(1)) == float("-inf")
    for until in (70.0, 90.0, 80.0):
        ours.renewed(contact(1), until, 10.0)
        assert ours.until(contact(1)) == until


def test_expired_renewals_take_no_memory() -> None:
    ours = lease()
    for number in range(10 * _SLACK):
        ours.renewed(contact(number), number + 60.0, float(number))
        assert len(ours._until) <= 2 * 60 + 2 * _SLACK
        assert ours.until(contact(number)) == number + 60.0


def test_expired_renewals_go_when_they_are_many() -> None:
    ours = lease()
    for number in range(64):
        ours.renewed(contact(number), 70.0, 10.0)
    assert len(ours._until) == 64
    ours.renewed(contact(64), 71.0, 70.0)
    assert len(ours._until) == 1
    for many in range(2, 67):  # and twice as many may be there as are good, and 64
        ours.renewed(contact(many, machine=200), 72.0, 71.0)
        assert len(ours._until) == many
    ours.renewed(contact(99), 73.0, 71.0)
    assert len(ours._until) == 66
