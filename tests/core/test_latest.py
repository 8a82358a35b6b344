"""A dictionary of the latest items."""

from __future__ import annotations

from dhtd.core.latest import Latest


def test_the_first_item_gives_way() -> None:
    latest: Latest[int, str] = Latest(2)
    latest[1], latest[2] = "one", "two"
    latest[1] = "another"  # it is there, so nothing gives way
    assert latest == {1: "another", 2: "two"}
    latest[3] = "three"
    assert latest == {2: "two", 3: "three"}
