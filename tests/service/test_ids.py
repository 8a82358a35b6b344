"""IDs in requests: they have the digits of the network of the daemon."""

from __future__ import annotations

import pytest

from dhtd.core.ids import MAINLINE, NATIVE, Keyspace
from dhtd.errors import InvalidId
from dhtd.service.entries import LOOKUP
from dhtd.service.watch import WATCH

INFO_HASH, ID = "ab" * 20, "ab" * 32


@pytest.mark.parametrize(("keyspace", "ours", "other"), [(NATIVE, ID, INFO_HASH), (MAINLINE, INFO_HASH, ID)])
def test_an_id_of_another_network_is_said_to_be(keyspace: Keyspace, ours: str, other: str) -> None:
    assert LOOKUP.read({"id": ours}, keyspace).id == keyspace.parse(ours)
    reason = r"it is an ID of another network than the one of this daemon\. For a name, say dht --network as well"
    for method, given in ((LOOKUP, {"id": other}), (WATCH, {"ids": [{"id": other}]})):
        with pytest.raises(InvalidId, match=reason):
            method.read(given, keyspace)
    with pytest.raises(InvalidId, match=r"has 41 characters$"):
        LOOKUP.read({"id": INFO_HASH + "a"}, keyspace)
