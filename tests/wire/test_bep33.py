"""The filters of a scrape."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.wire import bep33

# The vector of BEP 33: 192.0.2.0 to 192.0.2.255, and 2001:db8:: to 2001:db8::3e7.
VECTOR = bytes.fromhex(
    "f6c3f5eaa07ffd91bde89f777f26fb2bff37bdb8fb2bbaa2fd3ddde7bacfff75ee7ccbaefe5eedb1fbfaff67f6abff5e43ddbca3fd9b9ffd"
    "f4ffd3e9dff12d1bdf59db53dbe9fa5b7ff3b8fdfcde1afb8bedd7be2f3ee71ebbbfe93bcdeefe148246c2bc5dbff7e7efdcf24fd8dc7adf"
    "fd8fffdfddfff7a4bbeedf5cb95ce81fc7fcff1ff4ffffdfe5f7fdcbb7fd79b3fa1fc77bfe07fff905b7b7ffc7fefeffe0b8370bb0cd3f5b"
    "7f2bd93feb4386cfdd6f7fd5bfaf2e9ebffffeecd67adbf7c67f17efd5d75eba6ffeba7fff47a91eb1bfbb53e8abfb5762abe8ff237279bf"
    "efbfeef5ffc5febfdfe5adffadfee1fb737ffffbfd9f6aeffeee76b6fd8f72ef"
)


def test_the_filter_is_that_of_the_bep() -> None:
    ipv4 = [ip_address("192.0.2.0").packed[:3] + bytes([last]) for last in range(256)]
    ipv6 = [ip_address(f"2001:db8::{last:x}").packed for last in range(0x3E8)]
    assert bep33.filter_of([*ipv4, *ipv6]) == VECTOR
    assert bep33.estimate(VECTOR) == pytest.approx(1224.9308)


def test_none_are_none_and_full_is_full() -> None:
    assert bep33.filter_of([]) == bytes(256)
    assert bep33.estimate(bytes(256)) == pytest.approx(0.5, abs=0.01)
    assert bep33.estimate(b"\xff" * 256) > 6_000


@given(st.lists(st.binary(min_size=4, max_size=4), max_size=20), st.lists(st.binary(min_size=16, max_size=16)))
def test_two_filters_make_the_one_of_both(some: list[bytes], others: list[bytes]) -> None:
    both = (a | b for a, b in zip(bep33.filter_of(some), bep33.filter_of(others), strict=True))
    assert bep33.filter_of([*some, *others]) == bytes(both)
