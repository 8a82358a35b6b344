"""The writing half of the Mainline wire: messages to datagrams, and what fits into them.

Any answer has its contacts and its token. Endpoints, samples, filters and values are there as far as the room goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from dhtd.core.codec import NOTHING, Named, PackedContacts, Room
from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, Endpoint, Family
from dhtd.core.ids import MAINLINE, Id, closest
from dhtd.core.latest import Latest
from dhtd.core.messages import NO_OPTIONS, Contact, FindNode, FindValue, Get, Options, Ping, Put, Query, Request, Store
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.wire import bep33
from dhtd.wire.bep5_layout import (
    ERROR_TAIL,
    ID_SIZE,
    IP_HEADS,
    METHOD_HEADS,
    QUERY_HEAD,
    QUERY_TAIL,
    REPLY_TAIL,
    RESULT_END,
    RESULT_HEAD,
    SENDER_HEAD,
    TID_HEADS,
    string,
)
from dhtd.wire.written import Written

_SAMPLES_MAX: Final = 20  # info hashes in one answer
_SCRAPED: Final = 64  # keys whose filters are remembered
_FILTERS_SIZE: Final = 2 * (len(b"4:BFpe256:") + bep33.SIZE)
_REPLY_SIZE: Final = len(RESULT_HEAD + SENDER_HEAD) + ID_SIZE + len(RESULT_END + REPLY_TAIL)  # of what is always there
_READ_ONLY: Final = b"2:roi1e"
_NOT_HERE: Final = "a wire without leases has no such answer"


class Bep5Encoder:
    """Writes datagrams. A `dual_stack` node wants contacts of both families."""

    def __init__(self, *, dual_stack: bool) -> None:
        self._want = b"4:wantl2:n42:n6e" if dual_stack else b""
        self._own_id: Id | None = None  # of the latest answer: nearly always the same node
        self._own = b""  # its field
        self._filters: Latest[bytes, tuple[tuple[tuple[Endpoint, ...], frozenset[Endpoint]], bytes]] = Latest(_SCRAPED)
        self._fields = {size: Written(partial(_values_of, size)) for size in (IPV4_SIZE, IPV6_SIZE)}

    def encode_query(self, tid: bytes, sender: Id, request: Request, options: Options = NO_OPTIONS) -> bytes:
        """Return the datagram."""
        method, arguments = self._arguments(request)
        begin, head = QUERY_HEAD, METHOD_HEADS[method]
        if type(request) is Put and request.cas is not None:
            begin = b"d1:ad3:casi%de2:id20:" % request.cas  # the keys are sorted
        if options.is_read_only:
            head = head[: -len(b"1:t")] + _READ_ONLY + b"1:t"
        own = sender.to_bytes(ID_SIZE, "big")
        return b"".join((begin, own, arguments, head, TID_HEADS[len(tid)], tid, QUERY_TAIL))

    def encode_acknowledged(self, tid: bytes, sender: Id, observed: Endpoint) -> bytes:
        """Return the datagram that answers ping, store and put."""
        return self._encode_reply(tid, sender, observed, b"")

    def pack_contacts(self, contacts: Sequence[Contact]) -> PackedContacts:
        """Return `contacts` with their fields of a result, `nodes` and `nodes6`; one without contacts is not there."""
        return _packed(contacts)

    def encode_found(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        packed: PackedContacts,
        room: Room,
        named: Named = NOTHING,
        others: PackedContacts | None = None,
    ) -> bytes:
        """Return the datagram that answers find_node, get_peers or sample_infohashes."""
        request, options = query.request, query.options
        nodes = packed.wire
        if options is not NO_OPTIONS:
            nodes = _wanted(query, observed, packed, others)
        if type(request) is FindNode:
            if named.sample is None:
                return self._encode_reply(query.tid, sender, observed, nodes)
            before, behind = _sampled(named, room.limit - _size(query, observed) - len(nodes))
            return self._encode_reply(query.tid, sender, observed, before + nodes + behind)
        issued = b"5:token%d:%b" % (len(token), token) if token else b""
        if not named.endpoints:
            return self._encode_reply(query.tid, sender, observed, nodes + issued)
        # Mostly, all fits.
        if not options.scrapes and len(named.endpoints) * len(observed) < room.limit:
            values = self._fields[len(observed)].of(named.endpoints)
            answer = self._encode_reply(query.tid, sender, observed, b"%b%b%b" % (nodes, issued, values))
            if len(answer) <= room.limit:
                return answer
        assert type(request) is FindValue
        left = room.limit - _size(query, observed) - len(nodes) - len(issued)
        if options.scrapes:
            filters = self._filters_of(request.key, named) if left >= _FILTERS_SIZE else b""
            return self._encode_reply(query.tid, sender, observed, nodes + issued, filters)
        values = _some_values(request.key, named, len(observed), left)
        return self._encode_reply(query.tid, sender, observed, b"%b%b%b" % (nodes, issued, values))

    def encode_cut(self, query: Query, sender: Id, observed: Endpoint, token: bytes) -> bytes:
        """Never asked for: an answer of this wire cannot say that it is cut."""
        raise TypeError(_NOT_HERE)

    def encode_got(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        packed: PackedContacts,
        room: Room,
        held: Value | int | None,
        lasts: int,
        others: PackedContacts | None = None,
    ) -> bytes:
        """Return the datagram that answers get.

        Contacts make way for a value in a whole datagram. A value without room is left out, with all its fields.
        """
        nodes = packed.wire
        if query.options is not NO_OPTIONS:
            nodes = _wanted(query, observed, packed, others)
        issued = b"5:token%d:%b" % (len(token), token) if token else b""
        answer = self._encode_reply(query.tid, sender, observed, _got(held, nodes, issued))
        if len(answer) <= room.limit or not isinstance(held, Value):
            return answer
        left = room.limit - (len(answer) - len(nodes))
        if not room.proved or left < 0:
            return self._encode_reply(query.tid, sender, observed, _got(None, nodes, issued))
        # Contacts are to be had from other nodes as well.
        fewer = _fewer(query, observed, packed, others, left)
        return self._encode_reply(query.tid, sender, observed, _got(held, fewer, issued))

    def encode_renewed(self, tid: bytes, sender: Id, observed: Endpoint, token: bytes, held: int | None) -> bytes:
        """Never asked for: this wire has no leases."""
        raise TypeError(_NOT_HERE)

    def encode_watched(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        version: int,
        room: Room,
        endpoints: Sequence[Endpoint],
    ) -> tuple[bytes, int]:
        """Never asked for: this wire has no watches."""
        raise TypeError(_NOT_HERE)

    def encode_error(self, tid: bytes, sender: Id, code: int, text: str, observed: Endpoint | None = None) -> bytes:
        """Return the datagram."""
        ip = b"d" if observed is None else IP_HEADS[len(observed)] + observed
        error = b"1:eli%de%be" % (code, string(text.encode()))
        # The keys are sorted: e, ip, t.
        return b"".join((b"d", error, ip[1:], b"1:t", TID_HEADS[len(tid)], tid, ERROR_TAIL))

    def _filters_of(self, key: Id, named: Named) -> bytes:
        """Return the filters of a scrape. A thousand endpoints take a millisecond, so the latest are remembered."""
        found_by, counted = MAINLINE.to_bytes(key), (tuple(named.endpoints), frozenset(named.seeds))
        known = self._filters.get(found_by)
        if known is None or known[0] != counted:
            known = self._filters[found_by] = counted, _filters(*counted)
        return known[1]

    def _encode_reply(self, tid: bytes, sender: Id, observed: Endpoint, result: bytes, before: bytes = b"") -> bytes:
        """Return a reply; the fields in `result` come behind our ID, and those `before` come before it."""
        if sender is not self._own_id:
            self._own_id, self._own = sender, SENDER_HEAD + sender.to_bytes(ID_SIZE, "big")
        ip, size = IP_HEADS[len(observed)], TID_HEADS[len(tid)]
        return b"".join((ip, observed, RESULT_HEAD, before, self._own, result, RESULT_END, size, tid, REPLY_TAIL))

    def _arguments(self, request: Request) -> tuple[bytes, bytes]:
        """Return the method of a query, and its arguments behind the sender."""
        match request:
            case Ping():
                return b"ping", b""
            case FindNode(target):
                return b"find_node", b"6:target20:%b%b" % (MAINLINE.to_bytes(target), self._want)
            case FindValue(key):
                return b"get_peers", b"9:info_hash20:%b%b" % (MAINLINE.to_bytes(key), self._want)
            case Get(key, _, seq):
                known = b"" if seq is None else b"3:seqi%de" % seq
                return b"get", b"%b6:target20:%b%b" % (known, MAINLINE.to_bytes(key), self._want)
            case Store(key, port, token, _, _, is_seed):
                seed = b"4:seedi1e" if is_seed else b""
                info_hash = MAINLINE.to_bytes(key)
                return b"announce_peer", b"9:info_hash20:%b4:porti%de%b5:token%b" % (
                    info_hash, port, seed, string(token)
                )  # fmt: skip
            case Put():
                return b"put", _put(request)
            case _:
                raise TypeError(_NOT_HERE)


def _put(request: Put) -> bytes:
    """Return the arguments of a put behind the sender. Some nodes take none without the target."""
    value, target = request.value, MAINLINE.to_bytes(request.key)
    behind = b"6:target20:%b5:token%b1:v%b" % (target, string(request.token), value.data)
    if not isinstance(value, Mutable):
        return behind
    salt = b"4:salt%b" % string(value.salt) if value.salt else b""
    return b"1:k32:%b%b3:seqi%de3:sig64:%b%b" % (value.public_key, salt, value.seq, value.signature, behind)


def _size(query: Query, observed: Endpoint) -> int:
    """Return how many bytes a reply without a result has."""
    tid = query.tid
    return _REPLY_SIZE + len(IP_HEADS[len(observed)]) + len(observed) + len(TID_HEADS[len(tid)]) + len(tid)


def _packed(contacts: Sequence[Contact]) -> PackedContacts:
    of_ipv4 = b"".join([_node(contact) for contact in contacts if len(contact.endpoint) == IPV4_SIZE])
    of_ipv6 = b"".join([_node(contact) for contact in contacts if len(contact.endpoint) == IPV6_SIZE])
    nodes = b"5:nodes%b" % string(of_ipv4) if of_ipv4 else b""
    nodes6 = b"6:nodes6%b" % string(of_ipv6) if of_ipv6 else b""
    return PackedContacts(tuple(contacts), nodes + nodes6)


def _node(contact: Contact) -> bytes:
    return contact.id.to_bytes(ID_SIZE, "big") + contact.endpoint


def _wanted(query: Query, observed: Endpoint, packed: PackedContacts, others: PackedContacts | None) -> bytes:
    """Return the contacts of the families that the query wants; `packed` are those of its own one (BEP 32)."""
    families = query.options.families
    if families is None:
        return packed.wire
    own = packed.wire if observed.family in families else b""
    other = Family.IPV6 if observed.is_ipv4 else Family.IPV4
    beside = others.wire if others is not None and other in families else b""
    return own + beside if observed.is_ipv4 else beside + own


def _fewer(query: Query, observed: Endpoint, packed: PackedContacts, others: PackedContacts | None, room: int) -> bytes:
    """Return the nearest contacts that fit into `room` bytes: of one family, its own if the query wants that."""
    request, families = query.request, query.options.families
    assert type(request) is Get
    is_own = bool(packed.contacts) and (families is None or observed.family in families)
    chosen = packed if is_own else others
    assert chosen is not None, "there are contacts, or there would be none to leave out"
    most = max(0, room - len(b"6:nodes6000:")) // (ID_SIZE + len(chosen.contacts[0].endpoint))
    return _packed(closest(chosen.contacts, request.key, most)).wire


def _got(held: Value | int | None, nodes: bytes, issued: bytes) -> bytes:
    """Return the fields of an answer to get behind our ID."""
    if type(held) is Mutable:
        signed = held.public_key, nodes, held.seq, held.signature, issued, held.data
        return b"1:k32:%b%b3:seqi%de3:sig64:%b%b1:v%b" % signed
    if type(held) is Immutable:
        return b"%b%b1:v%b" % (nodes, issued, held.data)
    return nodes + issued if held is None else b"%b3:seqi%de%b" % (nodes, held, issued)


def _values_of(size: int, endpoints: Sequence[Endpoint]) -> bytes:
    """Return the endpoints of this size as a field; nothing if there is none."""
    head = b"%d:" % size
    values = b"".join([head + endpoint for endpoint in endpoints if len(endpoint) == size])
    return b"6:valuesl%be" % values if values else b""


def _some_values(key: Id, named: Named, size: int, room: int) -> bytes:
    """Return as many endpoints of this size as fit into `room` bytes."""
    endpoints: Sequence[Endpoint] = [endpoint for endpoint in named.endpoints if len(endpoint) == size]
    most = max(0, room - len(b"6:valuesle")) // (size + len(b"%d:" % size))
    return _values_of(size, named.choose(key, endpoints, most) if named.choose is not None else endpoints[:most])


def _filters(endpoints: Sequence[Endpoint], seeds: frozenset[Endpoint]) -> bytes:
    """Return the two filters of a scrape, of peers and of seeds."""
    of_peers = bep33.filter_of(endpoint[:-2] for endpoint in endpoints if endpoint not in seeds)
    of_seeds = bep33.filter_of(endpoint[:-2] for endpoint in endpoints if endpoint in seeds)
    return b"4:BFpe256:%b4:BFsd256:%b" % (of_peers, of_seeds)


def _sampled(named: Named, room: int) -> tuple[bytes, bytes]:
    """Return the fields of a sample: those before `nodes`, and those behind, with as many keys as fit into `room`."""
    sample = named.sample
    assert sample is not None
    before, count = b"8:intervali%de" % sample.interval, b"3:numi%de" % sample.total
    left = room - len(before) - len(count) - len(b"7:samples000:")
    most = min(_SAMPLES_MAX, max(0, left) // ID_SIZE)
    keys = b"".join([MAINLINE.to_bytes(key) for key in sample.keys[:most]])
    return before, b"%b7:samples%b" % (count, string(keys))
