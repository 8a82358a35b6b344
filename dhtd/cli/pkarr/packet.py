"""What a packet says of a public key. Imports dnspython, so it is imported where a packet is read.

The owner of the key signed the packet, and may have written anything. dnspython reads it, record by record; those that
it cannot read are counted.
"""

from __future__ import annotations

from typing import NamedTuple

import dns.exception
import dns.message
import dns.name
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from dhtd.cli.pkarr.extra import DnsRecords, Record
from dhtd.cli.pkarr.zone_file import origin_of


class Packet(NamedTuple):
    """The records of a key, each an RRset of its own. `foreign` ones have other names, or are not of class IN."""

    origin: dns.name.Name
    records: list[dns.rrset.RRset]
    foreign: int
    unreadable: int

    def body(self) -> DnsRecords:
        """Return the records as they stand in JSON."""
        records = [_record(each) for each in self.records]
        return {
            "origin": str(self.origin),
            "records": records,
            "foreign": self.foreign,
            "unreadable": self.unreadable,
        }

    def lines(self) -> list[str]:
        """Return the lines of a zone file, with names relative to the key."""
        return [each.to_text(origin=self.origin, relativize=True) for each in self.records]


def packet_in(data: bytes, key: bytes) -> Packet | None:
    """Return what a packet says of a public key; None if the bytes are no packet.

    Its owner has no say in other names, so records of those are counted, and left out.
    """
    try:
        message = dns.message.from_wire(data, keyring=False, one_rr_per_rrset=True, continue_on_error=True)
    except dns.exception.DNSException:
        return None
    if message.errors and not message.answer:
        return None
    origin = origin_of(key)
    answers = [each for each in message.answer if each]
    ours = [each for each in answers if each.rdclass == dns.rdataclass.IN and each.name.is_subdomain(origin)]
    return Packet(origin, ours, len(answers) - len(ours), len(message.errors))


def _record(record: dns.rrset.RRset) -> Record:
    return {
        "name": str(record.name),
        "ttl": record.ttl,
        "type": dns.rdatatype.to_text(record.rdtype),
        "data": record[0].to_text(),
    }
