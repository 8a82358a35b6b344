"""Answers questions: at once from what is kept, or by asking the network.

dnspython reads a question that was not asked before. What it cannot read is answered by a header alone, and what is no
question by nothing: no datagram brings a longer answer to somebody who did not ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Final, NamedTuple

import dns.exception
import dns.message
import dns.name
import dns.opcode
import dns.rdataclass
from dns.rcode import Rcode
from dns.rdatatype import RdataType

from dhtd.dns.finding import Finder, UnansweredError
from dhtd.dns.known import TTL, Answers, Known
from dhtd.dns.records import Question, Records
from dhtd.dns.wire import HEADER_SIZE, TCP_MAX, UDP_PLAIN, Answer, Head, bad_version, plain, refusal, room_of
from dhtd.dns.zone import OfAddress, OfEntry, OfZone, Zone

_IS_ANSWER: Final = 0x80  # in the third byte
_DO: Final = 0x8000
_TRANSFERS: Final = {RdataType.AXFR, RdataType.IXFR}
_META: Final = range(128, 256)  # types of questions, and of no record (RFC 6895)
_FAILED: Final = Answer(Rcode.SERVFAIL, (), is_ours=False)
_REFUSED: Final = Answer(Rcode.REFUSED, (), is_ours=False)
_CUT: Final = Answer(Rcode.NOERROR, (), is_ours=False)
_UNKNOWN: Final = Answer(Rcode.NOTIMP, (), is_ours=False)


class Asked(NamedTuple):
    """A question that the network is asked about."""

    head: Head
    question: Question
    entry: OfEntry


class Responder:
    """Answers for one zone. `finder` is there while the door is served."""

    def __init__(self, zone: Zone, records: Records, finder: Finder) -> None:
        self.answers = Answers()
        self._by_key = self.answers.by_key
        self._zone = zone
        self._records = records
        self._finder = finder
        self._clock: Callable[[], float] = finder.clock

    def respond(self, data: bytes, *, is_tcp: bool = False) -> bytes | Asked | None:
        """Return the answer to a datagram; None for silence, and what to `find` if it takes the network."""
        head = plain(data, is_tcp=is_tcp)
        if head is not None:
            kept = self._by_key.get(head.key)
            if kept is not None:
                answer, known = kept
                now = self._clock()
                if known.until > now:
                    known.asked += 1
                    if now >= known.due:
                        self._finder.renew(known, now)
                    return answer.to(head, known.ttl(now))
        return self._read(data, is_tcp=is_tcp)

    async def find(self, asked: Asked) -> bytes:
        """Return the answer to a question that takes the network."""
        try:
            known = await self._finder.find(asked.entry.id)
        except UnansweredError:
            return _FAILED.to(asked.head)
        return self._of_entry(asked, known)

    def fail(self, asked: Asked) -> bytes:
        """Return the answer where there is no room to ask the network."""
        return _FAILED.to(asked.head)

    def cut(self, data: bytes) -> bytes | None:
        """Return an answer that tells to come by TCP, to a question of the usual form."""
        head = plain(data, is_tcp=False)
        return None if head is None else _CUT.cut(head)

    def _read(self, data: bytes, *, is_tcp: bool) -> bytes | Asked | None:
        """Read a message by dnspython, and answer what needs nobody else."""
        if len(data) < HEADER_SIZE or data[2] & _IS_ANSWER:
            return None
        id, flags = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        if dns.opcode.from_flags(flags) != dns.opcode.QUERY:
            return refusal(id, flags, Rcode.NOTIMP)
        try:
            message = dns.message.from_wire(data)
        except (dns.exception.DNSException, ValueError):
            return refusal(id, flags, Rcode.FORMERR)
        if message.edns > 0:
            return bad_version(id, flags)
        if len(message.question) != 1 or message.answer or message.authority:
            return refusal(id, flags, Rcode.FORMERR)
        [asked] = message.question
        name = asked.name.to_wire()
        assert name is not None
        question = Question(name, asked.rdtype)
        wire = name + int(asked.rdtype).to_bytes(2, "big") + int(asked.rdclass).to_bytes(2, "big")
        has_edns = message.edns == 0
        room = room_of(message.payload, is_tcp=is_tcp) if has_edns else TCP_MAX if is_tcp else UDP_PLAIN
        head = Head(id, flags, wire, message.ednsflags & _DO if has_edns else None, room)
        if asked.rdclass != dns.rdataclass.IN or question.kind in _TRANSFERS:
            return _REFUSED.to(head)
        return self._answer(head, question, asked.name.labels[:-1])

    def _answer(self, head: Head, question: Question, labels: Sequence[bytes]) -> bytes | Asked:
        meaning = self._zone.meaning(labels)
        if meaning is OfZone.OUTSIDE:
            return _REFUSED.to(head)
        if question.kind in _META and question.kind != RdataType.ANY:
            return _UNKNOWN.to(head)
        match meaning:
            case OfZone.APEX:
                return self._keep(head, self._records.apex(question), Known(None, (), inf))
            case OfZone.ROOM:
                return self._records.address(question, None).to(head, TTL)
            case OfAddress(address):
                return self._records.address(question, address).to(head, TTL)
            case OfEntry():
                asked = Asked(head, question, meaning)
                known = self._finder.peek(meaning.id)
                return asked if known is None else self._of_entry(asked, known)
            case _:
                return self._records.nothing(question, is_there=False).to(head, TTL)

    def _of_entry(self, asked: Asked, known: Known) -> bytes:
        answer = self._records.entry(asked.question, asked.entry.part, known.places)
        if known.is_kept:
            return self._keep(asked.head, answer, known)
        return answer.to(asked.head, known.ttl(self._clock()))

    def _keep(self, head: Head, answer: Answer, known: Known) -> bytes:
        self.answers.keep(head.key, answer, known)
        return answer.to(head, known.ttl(self._clock()))
