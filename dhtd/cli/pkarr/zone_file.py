"""From a zone file to the packet that is put. Imports dnspython, so it is imported where a zone file is.

The names in the file are relative to the public key, or end in it. The packet is an answer without a question and with
the flag QR alone, like those of the Rust crate `pkarr`.
"""

from __future__ import annotations

import re
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
import dns.rrset
import dns.tokenizer
import dns.transaction
import dns.ttl
import dns.zonefile

from dhtd.cli.pkarr.extra import HEADER_SIZE
from dhtd.cli.public_keys import PREFIX, format_public_key
from dhtd.errors import InvalidValue
from dhtd.words import count

TTL_MAX: Final = 2**31 - 1  # RFC 2181, section 8

_RECORDS_MAX: Final = 500  # more than fit into a value: each has 11 bytes and more
_PACKET_MAX: Final = 65_535  # bytes: dnspython makes no larger one
_PLACE: Final = re.compile(r"^:\d+: ")  # what dnspython puts before a message
_BAD_TTL: Final = f"a TTL is a number of seconds from 0 to {TTL_MAX}"
# A number in the place of a type was to be a TTL.
_NO_TTL: Final = re.compile(r"unknown rdatatype '-?\d\w*'|TTL should be .*|DNS TTL value .*")

_MALFORMED: Final = "this is not NAME TTL TYPE DATA, or the data are not of the type"
# What dnspython says, and what tells more.
_CLEARER: Final = {
    "RR class is not zone's class": "the class of a record is IN, and no other",
    "Missing default TTL value": "the record has no TTL, and none is above it: write one behind its name, or $TTL 300"
    " into the first line",
    "Text input is malformed.": _MALFORMED,
    "generic rdata does not start with \\#": _MALFORMED,
    "add() has non-origin SOA": "a SOA record stands at @ alone",
}


def origin_of(key: bytes) -> dns.name.Name:
    """Return the name that all names of a public key end in."""
    return dns.name.from_text(format_public_key(key).removeprefix(PREFIX))


def packet_of(text: str, key: bytes, path: str, most: int) -> bytes:
    """Return the packet with the records of a zone file; raise `InvalidValue`."""
    packet = dns.message.Message(id=0)
    packet.flags = dns.flags.QR
    packet.answer = _records(text, origin_of(key), path)
    try:
        data = packet.to_wire(max_size=_PACKET_MAX)
    except dns.exception.TooBig:
        raise InvalidValue(f"{path}: a packet has {most} bytes at most, and this one {_PACKET_MAX} and more") from None
    if len(data) > most:
        raise InvalidValue(
            f"{path}: the records take {len(data)} bytes, {count(len(data) - most, 'byte')} more than the {most} of a"
            " value"
        )
    return data


def is_empty(packet: bytes) -> bool:
    """Whether a packet of `packet_of` has no records."""
    return len(packet) == HEADER_SIZE


def _records(text: str, origin: dns.name.Name, path: str) -> list[dns.rrset.RRset]:
    manager, tokens = dns.zonefile.RRSetsReaderManager(origin), _Tokens(text, "")
    try:
        with manager.writer(replacement=True) as transaction:
            transaction.check_put_rdataset(_check)
            transaction.check_put_rdataset(_Counter())
            reader = dns.zonefile.Reader(tokens, dns.rdataclass.IN, transaction, allow_directives=("$ORIGIN", "$TTL"))
            reader.zone_origin = dns.name.root  # else names elsewhere are passed over in silence
            reader.read()
    except (dns.exception.DNSException, ValueError) as error:
        raise InvalidValue(f"{path}:{tokens.began}: {_told(error)}") from None
    found = []
    for each in manager.rrsets:
        # Other readers compare bytes, so the key is written as it is, whatever the case in the file.
        name = each.name.relativize(origin).derelativize(origin)
        # One record each: dnspython shuffles the records of an RRset, and one file is to be one packet.
        found += [dns.rrset.from_rdata(name, each.ttl, record) for record in each]
    return found


class _Tokens(dns.tokenizer.Tokenizer):
    """Knows where a record begins: dnspython counts a line more once it has read the end of one."""

    began = 1

    def get(self, want_leading: bool = False, want_comment: bool = False) -> dns.tokenizer.Token:
        if want_comment:  # the reader asks for comments where a record or a directive may begin
            self.began = self.where()[1]
        return super().get(want_leading, want_comment)


class _Counter:
    """Ends the reading of a long file early: dnspython takes seconds for some thousands of records."""

    def __init__(self) -> None:
        self._records = 0

    def __call__(
        self, transaction: dns.transaction.Transaction, name: dns.name.Name, records: dns.rdataset.Rdataset
    ) -> None:
        self._records += 1
        if self._records > _RECORDS_MAX:
            raise dns.exception.SyntaxError(f"more than {_RECORDS_MAX} records do not fit into a value")


def _check(transaction: dns.transaction.Transaction, name: dns.name.Name, records: dns.rdataset.Rdataset) -> None:
    """Raise `SyntaxError` for records that do not belong under the key."""
    origin, _, _ = transaction.manager.origin_information()
    assert origin is not None
    if not name.is_subdomain(origin):
        raise dns.exception.SyntaxError(
            f"{name} is not under the key: its names end in {origin}, or have no dot at the end"
        )
    if dns.rdatatype.is_metatype(records.rdtype):
        raise dns.exception.SyntaxError(f"{dns.rdatatype.to_text(records.rdtype)} is for questions, and no record")
    if records.ttl > TTL_MAX:
        raise dns.ttl.BadTTL


def _told(error: Exception) -> str:
    """Return what is wrong, in a sentence."""
    said = _PLACE.sub("", str(error))
    said = "".join(character if character.isprintable() else "?" for character in said)
    if isinstance(error, dns.zonefile.CNAMEAndOtherData):
        return "a name with a CNAME record has no other records"
    if _NO_TTL.fullmatch(said):
        return _BAD_TTL
    # The data of the record are at fault where dnspython has wrapped another exception.
    context = error.__context__
    if context is not None and context.__cause__ is not None:
        return f"{_MALFORMED}: {said}" if said else _MALFORMED
    return _CLEARER.get(said, said) or _MALFORMED
