"""dht-protocol(7) against the code: its numbers, its names and its examples."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from random import Random

import pytest

import dhtd.core.messages
from dhtd.core.codec import Room
from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, PORT_MAX
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import (
    CHANGED_MAX,
    LEASE_MAX,
    SESSION_SIZE,
    VALUE_LASTS,
    VERSION_MAX,
    Changed,
    FindNode,
    FindValue,
    Found,
    Get,
    Ping,
    Put,
    Query,
    Renew,
    Renewed,
    Reply,
    Request,
    Store,
    Watch,
    Watched,
)
from dhtd.core.policy import DEFAULT
from dhtd.core.records import DATA_MAX, PUBLIC_KEY_SIZE, SALT_MAX, SEQ_MAX, SIGNATURE_SIZE, Immutable, Mutable
from dhtd.core.storage.value_shares import VALUE_WEIGHT
from dhtd.wire import sealed
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import (
    FIND_NODE_SIZE,
    FIND_NODE_SIZE_DUAL,
    FIND_VALUE_SIZE,
    GET_SIZE,
    MAGIC,
    PUT_SIZE_MAX,
    TID_SIZE,
    TOKEN_MAX,
)
from dhtd.wire.network_key import FORM, KEY_SIZE, NetworkKey
from dhtd.wire.sealed import Seal
from dhtd.wire.signatures import bencoded, signable
from tests.records import SESSION, to_store, to_withdraw
from tests.wire.vectors import SEALED_FILE, VECTORS, unhex

PAGE = Path(__file__).parent.parent.parent / "man" / "dht-protocol.7"
SOURCE = PAGE.read_text()
CODEC = NativeCodec()
GOLDEN = tomllib.loads(SEALED_FILE.read_text())
SEALED_VECTORS = {golden["name"]: unhex(golden["hex"]) for golden in GOLDEN["datagram"]}
NODE4_SIZE, NODE6_SIZE = NATIVE.width + IPV4_SIZE, NATIVE.width + IPV6_SIZE


def section(name: str) -> str:
    return SOURCE.split(f"\n.Sh {name}\n")[1].split("\n.Sh ")[0]


def prose(source: str) -> str:
    """Return the words of mdoc source, without its macros, on one line."""
    words = []
    for line in source.splitlines():
        if line.startswith('.\\"'):
            continue
        words += re.sub(r"^\.(?:[A-Z][a-z]\b *)+", "", line).split()
    return re.sub(r" ([.,;:])(?= |$)", r"\1", " ".join(words))


WORDS = prose(SOURCE)


def rows(source: str) -> dict[str, str]:
    """Return the rows of a table of two columns, without its head."""
    return dict(re.findall(r"^\.It ((?!Em).+?) Ta (.+)$", source, re.MULTILINE))


def seconds(value: float) -> str:
    """Return a time in the words of the page."""
    if value < 1:
        return f"{value * 1000:g} ms"
    return f"{value:g} s" if value < 60 else f"{value / 60:g} min"


def test_the_table_of_constants_is_the_policy() -> None:
    assert rows(section("BEHAVIOUR")) == {
        "contacts in a bucket and nodes that hold an entry": str(DEFAULT.k),
        "queries of one lookup in flight": str(DEFAULT.alpha),
        "a query has failed after": seconds(DEFAULT.query_timeout),
        "no query is called slow before": seconds(DEFAULT.slow_floor),
        "no query is called late before": seconds(DEFAULT.late_floor),
        "nodes that one lookup asks, at most": str(DEFAULT.search_queries),
        "a good contact turns questionable after": seconds(DEFAULT.good_for),
        "consecutive timeouts that are forgiven": str(DEFAULT.bad_after),
        "a bucket without activity is looked up after": seconds(DEFAULT.bucket_refresh),
        "contacts that wait for a full bucket": str(DEFAULT.replacements),
        "contacts at one IP address, at most": str(DEFAULT.contacts_per_ip),
        "contacts of one network, at most": str(DEFAULT.contacts_per_network),
        "contacts of one network in a bucket, at most": str(DEFAULT.contacts_per_network_in_bucket),
        "a contact whose ID is claimed is pinged after": seconds(DEFAULT.claim_after),
        "nodes at one IP address that a lookup asks": str(DEFAULT.lookup_per_ip),
        "nodes of one network that a lookup asks": str(DEFAULT.lookup_per_network),
        "contacts asked before it ends with nothing found": str(DEFAULT.search_opinions),
        "networks that must agree on a public address": str(DEFAULT.external_quorum),
        "own entries are published again after, at first": seconds(DEFAULT.republish_first),
        "own entries are published again after, at most": seconds(DEFAULT.republish),
        "a holder of own entries is asked to renew every": seconds(DEFAULT.heartbeat),
        "a withdrawal that failed is repeated after, at first": seconds(DEFAULT.withdraw_retry),
        "a withdrawal that failed is repeated after, at most": seconds(DEFAULT.withdraw_retry_max),
        "a withdrawal is confirmed after": seconds(DEFAULT.withdraw_confirm),
        "withdrawals that are not acknowledged, at most": str(DEFAULT.withdrawals),
        "stored entries, at most": str(DEFAULT.store_entries),
        "stored entries under one key, at most": str(DEFAULT.store_entries_per_key),
        "stored entries from one source, at most": str(DEFAULT.store_entries_per_source),
        "stores and withdrawals taken in 60 seconds, at most": str(DEFAULT.changes),
        "stores and withdrawals from one source in 60 seconds, at most": str(DEFAULT.changes_per_source),
        "own values are published again after": seconds(DEFAULT.value_republish),
        "a value that too few nodes took is put again after, at first": seconds(DEFAULT.value_retry),
        "a value that too few nodes took is put again after, at most": seconds(DEFAULT.value_retry_max),
        "a holder that has heard nothing of a value puts it after": seconds(DEFAULT.replicate),
        "stored values, at most": str(DEFAULT.values),
        "stored values from one source, at most": str(DEFAULT.values_per_source),
        "their bytes, at most": f"{DEFAULT.value_kib} KiB",
        "their bytes from one source, at most": f"{DEFAULT.value_kib_per_source} KiB",
        "signatures verified a second, at most": f"{DEFAULT.signatures:g}",
        "signatures verified a second for one source, at most": f"{DEFAULT.signatures_per_source:g}",
        "queries a second from one source, at most": f"{DEFAULT.rate_limit:g}",
        "queries a second from all sources, at most": f"{DEFAULT.rate_limit_total:g}",
        "contacts whose silence in a row is an outage": str(DEFAULT.outage_witnesses),
        "pause before joining again, at first": seconds(DEFAULT.rejoin_first),
        "pause before joining again, at most": seconds(DEFAULT.rejoin_max),
    }


def test_the_error_codes_are_those_of_the_code() -> None:
    codes = {value for name, value in vars(dhtd.core.messages).items() if name.startswith("ERROR_")}
    table = rows(section("ERROR CODES"))
    assert {int(code) for code in table} == codes
    assert f"more than {DATA_MAX} bytes" in table["205"]
    assert f"more than {SALT_MAX} bytes" in table["207"]
    for code, word in {202: "full", 203: "bad token", 204: "unknown method", 206: "signature", 301: "cas"}.items():
        assert word in table[str(code)]


def test_the_page_has_the_methods_and_elements() -> None:
    requests: tuple[Request, ...] = (
        Ping(),
        FindNode(Id(1), b"t"),
        FindValue(Id(1), b"t"),
        to_store(Id(1), 1, b"t"),
        to_withdraw(Id(1), 1, b"t"),
        Renew(SESSION, 1, b"t"),
        Watch(Id(1), b"t", 1, SESSION),
        Changed(Id(1), 1, (), ()),
        Get(Id(1), b"t", 1),
        Put(Id(1), b"t", Immutable(b""), None, 1),
    )
    at, room = VECTORS["ping-reply"].observed, Room(1_200, proved=True)
    table = re.findall(r"^(\w+) +arguments +\[(.*)\]\n +result +\[(.*)\]$", section("METHODS"), re.MULTILINE)
    assert len(table) == len(requests)
    for request, (method, arguments, result) in zip(requests, table, strict=True):
        fields = msgpack_fields(CODEC.encode_query(bytes(8), Id(1), request))
        assert fields[3] == method
        assert len(fields[4]) == len(re.findall(r"\w+(?: or nil)?", arguments))
        if isinstance(request, FindNode | FindValue):
            query = Query(bytes(8), Id(1), request)
            packed = CODEC.pack_contacts([])
            answer = CODEC.encode_found(query, Id(1), at, b"t", packed, room)
        elif isinstance(request, Get):
            query, packed = Query(bytes(8), Id(1), request), CODEC.pack_contacts([])
            answer = CODEC.encode_got(query, Id(1), at, b"t", packed, room, None, 0)
        elif isinstance(request, Renew):
            answer = CODEC.encode_renewed(bytes(8), Id(1), at, b"t", None)
        elif isinstance(request, Watch):
            answer, _ = CODEC.encode_watched(Query(bytes(8), Id(1), request), Id(1), at, b"t", 0, room, ())
        else:
            answer = CODEC.encode_acknowledged(bytes(8), Id(1), at)
        assert len(msgpack_fields(answer)[4]) == len(re.findall(r"\w+(?: or nil)?", result))


def msgpack_fields(datagram: bytes) -> list[list[object]]:
    import msgpack  # noqa: PLC0415 - a witness that is not the codec

    fields: list[list[object]] = msgpack.unpackb(datagram[4:])
    return fields


@pytest.mark.parametrize(
    "fact",
    [
        f"{NATIVE.bits} bits: {NATIVE.width} bytes",
        f"{IPV4_SIZE} bytes for IPv4, {IPV6_SIZE} bytes for IPv6",
        f"{NODE4_SIZE} bytes for IPv4, {NODE6_SIZE} bytes for IPv6",
        f"the four bytes {MAGIC.hex(' ')} DHT and the version, {MAGIC[3]}",
        f"must not send a datagram of more than {DEFAULT.datagram_sent_max} bytes",
        f"may drop one of more than {DEFAULT.datagram_received_max} bytes unread",
        f"The transaction ID, a bin of {TID_SIZE} bytes",
        f"a bin of {IPV4_SIZE} or {IPV6_SIZE} bytes",
        f"An integer from 1 to {PORT_MAX}",
        f"A bin of 1 to {TOKEN_MAX} bytes",
        f"An integer from 1 to {LEASE_MAX}, in seconds; for a renew and a watch from 0",
        f"of exactly {SESSION_SIZE} bytes",
        f"A session is secret: {SESSION_SIZE} random bytes",
        f"An integer from 0 to {VERSION_MAX}.",
        f"with a lease of {DEFAULT.heartbeats_in_lease * DEFAULT.heartbeat:g} seconds",
        f"and renew every {DEFAULT.heartbeat:g} seconds",
        f"at most {DEFAULT.heartbeat_rate:g} renewals a second",
        f"renew once with a lease of {DEFAULT.farewell} seconds",
        f"with at most {CHANGED_MAX} elements in both together",
        f"More than {CHANGED_MAX} endpoints need several",
        f"Integers from 0 to {SEQ_MAX}.",
        f"An integer of at most {VALUE_LASTS}, in seconds.",
        f"a bin of at most {DATA_MAX} bytes",
        f"(RFC 8032), a bin of {PUBLIC_KEY_SIZE} bytes",
        f"A bin of at most {SALT_MAX} bytes. It tells several values",
        f"signature A bin of {SIGNATURE_SIZE} bytes",
        "an array of exactly five elements",
        f"[{', '.join(Mutable._fields)}]",
        f"A get without a token should be padded in the same way to exactly {GET_SIZE} bytes",
        f"puts the value at {DEFAULT.k} of the nearest nodes, for {VALUE_LASTS} seconds",
        f"bytes count, and {VALUE_WEIGHT} more for each value",
        f"the {PUBLIC_KEY_SIZE} to {PUBLIC_KEY_SIZE + SALT_MAX} bytes of a public key and a salt",
        f"A node should name {DEFAULT.k} in all of each family",
        f"pad its find_node to exactly {FIND_NODE_SIZE_DUAL} bytes instead",
        f"padded to exactly {FIND_NODE_SIZE} bytes and a find_value without a token to exactly {FIND_VALUE_SIZE} bytes",
        f"no answer may be longer than {DEFAULT.amplification} times its query",
        f"a full datagram of {DEFAULT.datagram_sent_max} bytes to a find_value",
        f"for at least {DEFAULT.token_rotation:g} seconds and for no more than {2 * DEFAULT.token_rotation:g}",
        f"{DEFAULT.token_size} bytes of a keyed BLAKE2s",
        f"replaced every {DEFAULT.token_rotation:g} seconds",
        f"one of the {DEFAULT.k} nodes nearest to the node itself",
        f"bad after {DEFAULT.bad_after + 1} consecutive timeouts",
        f"the {DEFAULT.k} nearest nodes that have neither failed nor turned late",
        f"among the {DEFAULT.alpha} in flight",
        f"From one answer no more than {2 * DEFAULT.k} nodes should be taken of each family",
        f"stores the entry on {DEFAULT.k} of them",
        f"repeats this {DEFAULT.republish_first / 60:g} minutes later, give or take a tenth",
        f"doubles the interval, up to {DEFAULT.republish / 60:g} minutes",
        f"doubles from {DEFAULT.rejoin_first:g} seconds up to {DEFAULT.rejoin_max / 60:g} minutes",
        f"at most {DEFAULT.amplification} times the size of its query",
        f"the four bytes {sealed.MAGIC.hex(' ')} DHS and the version, {sealed.MAGIC[3]}",
        f"a nonce of {sealed.NONCE_SIZE} bytes, a tag of {sealed.TAG_SIZE} bytes",
        f"grows by {sealed.OVERHEAD} bytes, and a query by {sealed.OVERHEAD + sealed.TAIL_SIZE}",
        f"a tail of {sealed.TAIL_SIZE} bytes: the first {sealed.RECIPIENT_SIZE} of the ID",
        f"more than {sealed.WINDOW:g} seconds before or after",
        f"at least {2 * sealed.WINDOW:g} seconds",
        f"at most {DEFAULT.datagram_sent_max - sealed.OVERHEAD} bytes are sealed",
        f"share a key of {KEY_SIZE} bytes",
        f"the word {FORM}, a blank, and {2 * KEY_SIZE} hexadecimal digits",
    ],
)
def test_the_page_says_what_the_code_does(fact: str) -> None:
    assert fact in WORDS


def test_the_page_has_the_longest_datagrams() -> None:
    """A put at its largest, and the answer with such a value over IPv6; both with a token of any size."""
    at, value = VECTORS["ping-reply-ipv6"].observed, Mutable(bytes(32), bytes(64), SEQ_MAX, bytes(1_000), bytes(64))
    query, packed, room = Query(bytes(8), Id(1), Get(Id(1), b"t")), CODEC.pack_contacts([]), Room(1_200, proved=True)
    for size in (DEFAULT.token_size, TOKEN_MAX):
        answer = CODEC.encode_got(query, Id(1), at, bytes(size), packed, room, value, VALUE_LASTS)
        put = CODEC.encode_query(bytes(8), Id(1), Put(Id(1), bytes(size), value, SEQ_MAX, VALUE_LASTS))
        longest = max(len(answer), len(put))
        assert f"at most {longest - size} bytes and those of the token" in WORDS
        assert PUT_SIZE_MAX - len(put) == TOKEN_MAX - size


def test_the_page_has_the_form_that_is_signed() -> None:
    section_of_values = section("METHODS").split(".Ss Values\n")[1]
    without, with_salt = re.findall(r"^(?:4:salt<.*)?3:seqi<.*$", section_of_values, re.MULTILINE)
    value = VECTORS["get-reply"].held
    assert isinstance(value, Mutable)

    def filled(form: str) -> str:
        form = form.replace("<seq>", str(value.seq)).replace("<data>", value.data.decode())
        form = form.replace("salt<length>:<salt>", f"salt{len(value.salt)}:{value.salt.decode()}")
        return form.replace("<length>", str(len(value.data)))

    assert filled(without).encode() == signable(b"", value.seq, bencoded(value.data))
    assert filled(with_salt).encode() == signable(value.salt, value.seq, bencoded(value.data))
    assert f"\n{filled(with_salt)}\n" in section_of_values
    for fact in (f"the salt status, the seq {value.seq} and the data out of paper", "the salt status. Alice asks Bob"):
        assert fact in WORDS


def test_a_tenth_is_the_jitter() -> None:
    assert DEFAULT.republish_jitter == 0.1


EXAMPLES = re.findall(r'^\.\\" datagram: (\S+)\n\.Bd .*\n((?:.*\n)*?)\.Ed$', SOURCE, re.MULTILINE)


def test_there_is_a_worked_example() -> None:
    assert [name for name, _ in EXAMPLES] == [
        "sealed-ping",
        "find-value-token",
        "find-value-reply",
        "store",
        "ping-reply",
        "error-protocol",
        "renew",
        "renew-reply",
        "watch",
        "watch-reply",
        "changed",
        "get-token",
        "get-reply",
        "put-cas",
        "error-seq",
    ]


@pytest.mark.parametrize(("name", "dump"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_an_example_is_a_golden_datagram(name: str, dump: str) -> None:
    data = b"".join(bytes.fromhex(line.partition("  ")[0]) for line in dump.splitlines())
    assert data == (VECTORS[name].data if name in VECTORS else SEALED_VECTORS[name])


def test_the_sealed_example_has_its_key() -> None:
    key = NetworkKey.parse(re.sub(r" \\e\n", " ", re.search(r"^dhtd-network-key-1 \\e\n\w+$", SOURCE, re.MULTILINE)[0]))  # type: ignore[index]
    seal = Seal([key], NATIVE.parse(GOLDEN["own"]), Random(1), 0.0)
    assert seal.open(SEALED_VECTORS["sealed-ping"], GOLDEN["now"]) == VECTORS["ping"].data
    assert f"{key.fingerprint} is the fingerprint" in WORDS


def test_the_example_tells_one_story() -> None:
    """The answer fits the question, and the store uses the token from the answer."""
    asked, told, stored = (
        CODEC.decode(VECTORS[name].data) for name in ("find-value-token", "find-value-reply", "store")
    )
    assert isinstance(asked, Query)
    assert isinstance(told, Reply)
    assert isinstance(stored, Query)
    result = CODEC.decode_result(asked.request, told.body)
    assert isinstance(result, Found)
    assert isinstance(stored.request, Store)
    assert result.token == stored.request.token
    assert (asked.tid, asked.sender) == (told.tid, stored.sender)
    assert told.observed is not None
    assert f"at {told.observed}, asks Bob" in WORDS
    assert f"Carol at {result.contacts[0].endpoint}" in WORDS
    assert f"on port {stored.request.port}" in WORDS
    assert f"holds {told.observed.with_port(stored.request.port)} from now on" in WORDS
    assert NATIVE.digest(b"printer") == stored.request.key


def test_the_example_goes_on() -> None:
    """Each renewal has a token of its own, and the changed follows the answer to the watch."""
    renewed, told, watch, watched, changed = (
        CODEC.decode(VECTORS[name].data) for name in ("renew", "renew-reply", "watch", "watch-reply", "changed")
    )
    stored = VECTORS["store"].request
    assert isinstance(stored, Store)
    assert isinstance(renewed, Query)
    assert isinstance(told, Reply)
    assert isinstance(renewed.request, Renew)
    result = CODEC.decode_result(renewed.request, told.body)
    assert isinstance(result, Renewed)
    assert (renewed.request.session, renewed.request.lease) == (stored.session, stored.lease)
    assert result.token != renewed.request.token
    assert result.held == 3
    assert isinstance(watch, Query)
    assert isinstance(watched, Reply)
    assert isinstance(watch.request, Watch)
    named = CODEC.decode_result(watch.request, watched.body)
    assert isinstance(named, Watched)
    assert (watch.request.key, watch.request.session) == (stored.key, stored.session)
    assert isinstance(changed, Query)
    assert isinstance(changed.request, Changed)
    assert changed.sender == watched.sender
    assert changed.request.version == named.version + 1
    assert set(changed.request.removed) <= set(named.endpoints)
    assert not set(changed.request.added) & set(named.endpoints)


def test_the_example_ends_with_a_value() -> None:
    """The answer fits the question, and the put replaces the value in it."""
    asked, told, replaced = (CODEC.decode(VECTORS[name].data) for name in ("get-token", "get-reply", "put-cas"))
    assert isinstance(asked, Query)
    assert isinstance(told, Reply)
    assert isinstance(replaced, Query)
    found = CODEC.decode_result(asked.request, told.body)
    assert isinstance(asked.request, Get)
    assert isinstance(replaced.request, Put)
    assert isinstance(found, Found)
    held, newer = found.held, replaced.request.value
    assert isinstance(held, Mutable)
    assert isinstance(newer, Mutable)
    assert f"for another {found.lasts} seconds" in WORDS
    assert CODEC.key_of(held) == asked.request.key == replaced.request.key
    assert replaced.request.cas == held.seq < newer.seq
    assert (replaced.request.token, replaced.request.lasts) == (found.token, VALUE_LASTS)
    assert CODEC.is_genuine(held)
    assert CODEC.is_genuine(newer)


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_the_page_is_clean() -> None:
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True, check=False)
    assert lint.stdout == ""
