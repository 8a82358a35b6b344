"""How many own entries a node takes: so many in all, and so many ports of one ID."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dhtd.core.counters import OWN_ENTRIES, OWN_PORTS
from dhtd.core.ids import unpacked
from dhtd.core.policy import Policy
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.records import RecordKey
from dhtd.errors import TooManyEntries


def check_room(record_keys: Iterable[RecordKey], records: OwnRecords, policy: Policy, caps_hit: dict[str, int]) -> None:
    """Raise `TooManyEntries` if these own entries are not all taken. One that is there always is."""
    most, ports = policy.own_entries, policy.own_ports
    new = {record_key for record_key in record_keys if record_key not in records}
    if new and len(records) + len(new) > most:
        caps_hit[OWN_ENTRIES] += 1
        raise TooManyEntries(f"this node has entered as many entries as it takes ({most}): delete some")
    for packed_key, many in Counter(record_key.packed_key for record_key in new).items():
        if len(records.ports(unpacked(packed_key))) + many > ports:
            caps_hit[OWN_PORTS] += 1
            raise TooManyEntries(f"this node has entered this ID on as many ports as it takes ({ports}): delete some")
