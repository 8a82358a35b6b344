"""The records of the zone, and answers made of them, as bytes: dnspython takes twenty times as long for a hundred."""

from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from dns.rcode import Rcode
from dns.rdatatype import RdataType

from dhtd.core.endpoint import split_host_port
from dhtd.dns.wire import HEADER_SIZE, Answer, Body
from dhtd.dns.zone import ADDRESSES, Address, Part, label_of

NEGATIVE_TTL: Final = 5  # seconds for which a resolver may say that there is nothing: a service may come at any time
_IN: Final = 1
_NOBODY: Final = b"\6nobody\7invalid\0"  # who is responsible for the zone (RFC 2606)
_TIMES: Final = struct.pack("!5L", 1, 3_600, 600, 86_400, NEGATIVE_TTL)  # serial, refresh, retry, expire, minimum
_RECORD: Final = struct.Struct("!HHLH")  # type, class, TTL, size of the data
_SERVICE: Final = struct.Struct("!HHH")  # priority, weight, port
_POINTER: Final = 0xC000
_FARTHEST: Final = 0x3FFF  # to where a pointer reaches
_RFC_8482: Final = b"\7RFC8482\0"  # HINFO: what is said to who asks for everything is little


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

    name: bytes  # as it was sent, without compression
    kind: int  # its type


class Records:
    """Makes the answers of a zone."""

    def __init__(self, domain: str, servers: Sequence[Address]) -> None:
        """`servers` are the addresses at which the zone is served."""
        self._origin = b"".join(_label(label) for label in domain.split(".")) + b"\0"
        self._servers = servers
        self._soa = self._name(servers[0]) + _NOBODY + _TIMES

    def nothing(self, question: Question, *, is_there: bool) -> Answer:
        """Answer that there is no such record, or no such name."""
        start = HEADER_SIZE + len(question.name) - len(self._origin)  # of the domain, in the question
        body = _Writer(question)
        body.add((_POINTER | start).to_bytes(2, "big"), RdataType.SOA, self._soa)
        return Answer(Rcode.NOERROR if is_there else Rcode.NXDOMAIN, (body.done(0, 1, 0),))

    def apex(self, question: Question) -> Answer:
        """Answer what the domain itself is asked for."""
        match question.kind:
            case RdataType.SOA:
                return _answer(question, [self._soa])
            case RdataType.NS:
                return self._with_addresses(question, [(b"", address) for address in self._servers])
            case _:
                return self.address(question, None)

    def address(self, question: Question, address: Address | None) -> Answer:
        """Answer what the name of an address is asked for, or another name that is there."""
        if question.kind == RdataType.ANY:
            return _answer(question, [_RFC_8482], RdataType.HINFO)
        if address is not None and question.kind == _kind(address):
            return _answer(question, [address.packed])
        return self.nothing(question, is_there=True)

    def entry(self, question: Question, part: Part, places: Sequence[Place]) -> Answer:
        """Answer what the name of an entry is asked for. Each answer has its records in another order."""
        if not places:
            return self.nothing(question, is_there=False)
        mixed = random.sample(places, len(places))
        known = [(place.address, place.port) for place in mixed if place.address is not None]
        match part, question.kind:
            case (_, RdataType.ANY):
                return _answer(question, [_RFC_8482], RdataType.HINFO)
            case (Part.WHOLE | Part.SERVICE, RdataType.SRV) if known:
                return self._with_addresses(question, [(_SERVICE.pack(0, 0, port), address) for address, port in known])
            case (Part.WHOLE, RdataType.A | RdataType.AAAA):
                addresses = dict.fromkeys(address for address, _ in known if _kind(address) == question.kind)
                if addresses:
                    return _answer(question, [address.packed for address in addresses])
            case (Part.WHOLE, RdataType.TXT):
                return _answer(question, [_label(place.text) for place in mixed])
            case _:
                pass
        return self.nothing(question, is_there=True)

    def _with_addresses(self, question: Question, records: Sequence[tuple[bytes, Address]]) -> Answer:
        """Answer with records that end in the name of an address, and the addresses, which askers can do without."""
        whole, lean = _Writer(question), _Writer(question)
        names: dict[Address, bytes] = {}  # where the name of each address stands first
        for data, address in records:
            name = self._name(address)
            start = whole.add(_OWNER, question.kind, data + name) + len(data)
            lean.add(_OWNER, question.kind, data + name)
            names.setdefault(address, name if start > _FARTHEST else (_POINTER | start).to_bytes(2, "big"))
        for address, name in names.items():
            whole.add(name, _kind(address), address.packed)
        return Answer(Rcode.NOERROR, (whole.done(len(records), 0, len(names)), lean.done(len(records), 0, 0)))

    def _name(self, address: Address) -> bytes:
        return _label(label_of(address)) + _label(ADDRESSES) + self._origin


class _Writer:
    """Writes what stands behind a question."""

    def __init__(self, question: Question) -> None:
        self._start = HEADER_SIZE + len(question.name) + 4
        self._data = bytearray()
        self._ttls: list[int] = []

    def add(self, owner: bytes, kind: int, data: bytes) -> int:
        """Add a record; return where in the answer its data stand."""
        self._ttls.append(len(self._data) + len(owner) + 4)
        self._data += owner + _RECORD.pack(kind, _IN, 0, len(data)) + data
        return self._start + len(self._data) - len(data)

    def done(self, answers: int, authorities: int, additional: int) -> Body:
        """Return the records, which are so many in each section."""
        return Body(self._data, self._ttls, answers, authorities, additional)


_OWNER: Final = (_POINTER | HEADER_SIZE).to_bytes(2, "big")  # the name of the question


def _answer(question: Question, records: Iterable[bytes], kind: int | None = None) -> Answer:
    """Answer with records of the type of the question, or of another one."""
    writer = _Writer(question)
    many = 0
    for data in records:
        writer.add(_OWNER, question.kind if kind is None else kind, data)
        many += 1
    return Answer(Rcode.NOERROR, (writer.done(many, 0, 0),))


def _kind(address: Address) -> RdataType:
    return RdataType.A if address.version == 4 else RdataType.AAAA


def _label(text: str) -> bytes:
    data = text.encode()
    return bytes([len(data)]) + data
