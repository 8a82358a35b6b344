"""The records of the zone, and answers made of them. dnspython writes them, and we keep the bytes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rcode import Rcode
from dns.rdatatype import RdataType
from dns.rdtypes.ANY.HINFO import HINFO
from dns.rdtypes.ANY.NS import NS
from dns.rdtypes.ANY.SOA import SOA
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV

from dhtd.core.endpoint import split_host_port
from dhtd.dns.wire import Answer, Body
from dhtd.dns.zone import ADDRESSES, Address, Part, label_of

NEGATIVE_TTL: Final = 5  # seconds for which a resolver may say that there is nothing: a service may come at any time
_IN: Final = dns.rdataclass.IN
_NOBODY: Final = dns.name.from_text("nobody.invalid.")  # who is responsible for the zone (RFC 2606)


class Place(NamedTuple):
    """An endpoint. One that means a machine on one link alone has no address for others."""

    text: str
    address: Address | None
    port: int

    @classmethod
    def of(cls, text: str) -> Place:
        """Return the place of HOST:PORT."""
        host, port = split_host_port(text)
        return cls(text, None if "%" in host else ipaddress.ip_address(host), port)


class Question(NamedTuple):
    """A question, read."""

    name: dns.name.Name
    kind: int  # its type


class Records:
    """Makes the answers of a zone."""

    def __init__(self, domain: str, servers: Sequence[Address]) -> None:
        """`servers` are the addresses at which the zone is served."""
        self._origin = dns.name.from_text(domain)
        self._servers = servers
        names = [self._name(address) for address in servers]
        self._soa = SOA(_IN, RdataType.SOA, names[0], _NOBODY, 1, 3_600, 600, 86_400, NEGATIVE_TTL)
        self._ns = [NS(_IN, RdataType.NS, name) for name in names]

    def nothing(self, question: Question, *, is_there: bool) -> Answer:
        """Answer that there is no such record, or no such name."""
        return self._answer(question, (), authority=self._soa, rcode=Rcode.NOERROR if is_there else Rcode.NXDOMAIN)

    def apex(self, question: Question) -> Answer:
        """Answer what the domain itself is asked for."""
        match question.kind:
            case RdataType.SOA:
                return self._answer(question, [self._soa])
            case RdataType.NS:
                return self._answer(question, self._ns, addresses=self._servers)
            case _:
                return self.address(question, None)

    def address(self, question: Question, address: Address | None) -> Answer:
        """Answer what the name of an address is asked for, or another name that is there."""
        if question.kind == RdataType.ANY:
            return self._answer(question, [_rfc_8482()])
        if address is not None and question.kind == _kind(address):
            return self._answer(question, [_record(address)])
        return self.nothing(question, is_there=True)

    def entry(self, question: Question, part: Part, places: Sequence[Place]) -> Answer:
        """Answer what the name of an entry is asked for."""
        if not places:
            return self.nothing(question, is_there=False)
        known = [place for place in places if place.address is not None]
        match part, question.kind:
            case (_, RdataType.ANY):
                return self._answer(question, [_rfc_8482()])
            case (Part.WHOLE | Part.SERVICE, RdataType.SRV) if known:
                services = [
                    SRV(_IN, RdataType.SRV, 0, 0, place.port, self._name(place.address))
                    for place in known
                    if place.address is not None
                ]
                return self._answer(question, services, addresses=[place.address for place in known if place.address])
            case (Part.WHOLE, RdataType.A | RdataType.AAAA):
                addresses = dict.fromkeys(place.address for place in known if place.address is not None)
                records = [_record(address) for address in addresses if _kind(address) == question.kind]
                if records:
                    return self._answer(question, records)
            case (Part.WHOLE, RdataType.TXT):
                return self._answer(question, [TXT(_IN, RdataType.TXT, [place.text]) for place in places])
            case _:
                pass
        return self.nothing(question, is_there=True)

    def _name(self, address: Address | None) -> dns.name.Name:
        assert address is not None
        return dns.name.Name((label_of(address).encode(), ADDRESSES.encode(), *self._origin.labels))

    def _answer(
        self,
        question: Question,
        records: Sequence[dns.rdata.Rdata],
        *,
        authority: dns.rdata.Rdata | None = None,
        addresses: Iterable[Address] = (),
        rcode: Rcode = Rcode.NOERROR,
    ) -> Answer:
        """Put an answer together. `addresses` are those of the names in its records: askers can do without."""
        message = dns.message.Message(0)
        asked = dns.rrset.RRset(question.name, _IN, RdataType.make(question.kind))
        message.question.append(asked)
        if records:
            message.answer.append(dns.rrset.from_rdata_list(question.name, 0, records))
        if authority is not None:
            message.authority.append(dns.rrset.from_rdata_list(self._origin, 0, [authority]))
        size = len(question.name.to_wire() or b"") + 4
        bodies = [Body(message.to_wire(max_size=65_535), size)]
        for address in dict.fromkeys(addresses):
            message.additional.append(dns.rrset.from_rdata(self._name(address), 0, _record(address)))
        if message.additional:
            bodies.insert(0, Body(message.to_wire(max_size=65_535), size))
        return Answer(rcode, tuple(bodies))


def _kind(address: Address) -> RdataType:
    return RdataType.A if address.version == 4 else RdataType.AAAA


def _record(address: Address) -> dns.rdata.Rdata:
    return A(_IN, RdataType.A, str(address)) if address.version == 4 else AAAA(_IN, RdataType.AAAA, str(address))


def _rfc_8482() -> dns.rdata.Rdata:
    """Return what is said to who asks for everything: little."""
    return HINFO(_IN, RdataType.HINFO, "RFC8482", "")
