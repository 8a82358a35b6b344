"""Bytes that come back for each byte sent from an unproved address: dhtd beside others.

Run it with `python3 dev.py bench amplification` (Linux). An attacker that forges the source of a query directs the
answers at somebody else. So each query goes out once, from a new address that never answers, and all bytes that arrive
there in a while count: the answer, and pings to the sender.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from random import Random

import msgpack

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE
from dhtd.core.messages import METHODS, FindNode, FindValue, Found, Ping, Query, Reply
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import MAGIC
from tests.bench.__main__ import PEERS, SOURCES, _address, _machine, _running, _versions
from tests.bench.load import Sources
from tests.bench.neighbours import fill
from tests.bench.peers.dhtd import Dhtd
from tests.bench.peers.dhtd_sealed import DhtdSealed
from tests.bench.peers.echo import Echo
from tests.bench.peers.peer import OPERATIONS, PORT, PUT, STORE, Peer, UnexpectedAnswerError
from tests.records import to_store

LIMIT = 3  # dhtd's promise for all answers to a query
LEFT_OUT = (Echo.name, DhtdSealed.name)  # one sends back what it receives; nobody forges a query for the other


@dataclass(frozen=True, slots=True)
class Row:
    """The answer to one query of one implementation."""

    operation: str
    implementation: str
    query: int  # bytes
    answer: int
    all: int
    datagrams: int

    @property
    def factor(self) -> float:
        """Bytes of the answer for each byte of the query."""
        return self.answer / self.query

    @property
    def in_all(self) -> float:
        """Bytes of everything sent for each byte of the query."""
        return self.all / self.query


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table. The status is 1 if dhtd breaks its promise."""
    options = _parser().parse_args(arguments)
    kinds = [
        kind for name, kind in PEERS.items() if name not in LEFT_OUT and (name in options.peer or not options.peer)
    ]
    missing = [kind.name for kind in kinds if not kind.is_there()]
    if missing:
        print(f"not installed, and so not measured: {', '.join(missing)}", file=sys.stderr)
    rng = Random(1)
    try:
        with _running([kind for kind in kinds if kind.is_there()], rng) as peers:
            addresses = [_address(1 + number // 250, 1 + number % 250) for number in range(options.neighbours)]
            fill(peers, addresses, options.fill, rng)
            rows = list(_measure(peers, options.wait, rng))
    except UnexpectedAnswerError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"machine": _machine(), "versions": _versions(), "rows": [asdict(row) for row in rows]}))
    else:
        _print(rows, options.wait)
    return int(any(row.in_all > LIMIT for row in rows if row.implementation == Dhtd.name))


def _measure(peers: Sequence[Peer], wait: float, rng: Random) -> Iterator[Row]:
    with ExitStack() as stack:
        loads = []
        for peer in peers:
            peer.ids = [rng.randbytes(peer.id_size) for _ in range(SOURCES)]
            addresses = [_address(9 + number // 250, 1 + number % 250) for number in range(SOURCES)]
            sources = stack.enter_context(Sources((peer.address, PORT), addresses, peer.tid_size, rng))
            peer.prepare(sources)
            loads.append((peer, sources))
        unused = iter(range(1, 250))
        for operation in OPERATIONS:
            for peer, sources in loads:
                if operation in peer.operations:
                    make = peer.make(operation, sources)
                    if operation in (STORE, PUT):  # it takes a token, which is for the address that has asked for it
                        sources.drain(0)
                        yield _ask(operation, peer, sources.sockets[0], make(0, rng.randbytes(peer.tid_size)), wait)
                        continue
                    data = make(0, rng.randbytes(peer.tid_size))
                    yield _ask_unproved(operation, peer, next(unused), data, wait)
                    if isinstance(peer, Dhtd) and operation != OPERATIONS[0]:
                        yield _ask_unproved(f"{operation}, unpadded", peer, next(unused), unpadded(data), wait)
        for peer in peers:
            if isinstance(peer, Dhtd):
                yield _ask_unproved("unknown method", peer, next(unused), unknown(rng), wait)
                yield from _ask_as_contact(peer, next(unused), rng, wait)


def _ask_as_contact(peer: Peer, number: int, rng: Random, wait: float) -> Iterator[Row]:
    """Become a contact by answering the ping to a query; then ask like an attacker that forges the address.

    The attacker uses another ID, the shortest possible queries, and a key with more endpoints than fit an answer.
    """
    codec, key = NativeCodec(), NATIVE.random(rng)
    with ExitStack() as stack:
        for source in range(1, 201):
            owner = _bound(stack, peer, _address(21, source))
            find = codec.encode_query(rng.randbytes(8), NATIVE.random(rng), FindNode(key))
            found = codec.decode(_answer(owner, find))
            assert isinstance(found, Reply)
            told = codec.decode_result(FindNode(key), found.body)
            assert isinstance(told, Found)
            assert told.token
            owner.send(codec.encode_query(rng.randbytes(8), NATIVE.random(rng), to_store(key, 80, told.token)))
        contact = _bound(stack, peer, _address(20, number))
        own_id = NATIVE.random(rng)
        contact.send(codec.encode_query(rng.randbytes(8), own_id, Ping()))
        contact.settimeout(wait)
        with suppress(TimeoutError):
            while True:
                message = codec.decode(contact.recv(65_536))
                if isinstance(message, Query):
                    at = Endpoint.of(peer.address, PORT)
                    contact.send(codec.encode_acknowledged(message.tid, own_id, at))
        for request in (FindNode(key), FindValue(key)):
            data = unpadded(codec.encode_query(rng.randbytes(8), NATIVE.random(rng), request))
            yield _ask(f"{METHODS[type(request)]}, contact's address forged", peer, contact, data, wait)


def _bound(stack: ExitStack, peer: Peer, address: str) -> socket.socket:
    bound = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    bound.bind((address, 0))
    bound.connect((peer.address, PORT))
    return bound


def _answer(bound: socket.socket, data: bytes) -> bytes:
    bound.settimeout(5.0)
    bound.send(data)
    return bound.recv(65_536)


def unpadded(data: bytes) -> bytes:
    """Return dhtd's shortest query with the same question."""
    kind, tid, sender, method, args = msgpack.unpackb(data[4:])
    return MAGIC + bytes(msgpack.packb([kind, tid, sender, method, args[: 3 if method == "get" else 2]]))


def unknown(rng: Random) -> bytes:
    """Return dhtd's shortest query that gets an answer."""
    return MAGIC + bytes(msgpack.packb([0, rng.randbytes(8), rng.randbytes(32), "", []]))


def _ask_unproved(operation: str, peer: Peer, number: int, data: bytes, wait: float) -> Row:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((_address(20, number), 0))
        bound.connect((peer.address, PORT))
        return _ask(operation, peer, bound, data, wait)


def _ask(operation: str, peer: Peer, bound: socket.socket, data: bytes, wait: float) -> Row:
    bound.send(data)
    sizes: list[int] = []
    until = time.monotonic() + wait
    with suppress(TimeoutError):
        while (left := until - time.monotonic()) > 0:
            bound.settimeout(left)
            sizes.append(len(bound.recv(65_536)))
    bound.settimeout(None)  # as it was: others are asked by the same socket
    if not sizes:
        raise UnexpectedAnswerError(f"{peer.name} does not answer {operation}")
    return Row(operation, peer.name, len(data), sizes[0], sum(sizes), len(sizes))


def _print(rows: Sequence[Row], wait: float) -> None:
    print(f"{_machine()}; {', '.join(f'{name} {number}' for name, number in _versions().items())}")
    print(f"bytes for one query from an address that has proved nothing; all that comes within {wait:g} s\n")
    head = f"{'operation':<38} {'implementation':<15} {'query':>6} {'answer':>7} {'factor':>7}"
    print(f"{head} {'in all':>7} {'factor':>7} {'datagrams':>10}")
    for row in rows:
        answer = f"{row.query:>6} {row.answer:>7} {row.factor:>7.2f}"
        print(
            f"{row.operation:<38} {row.implementation:<15} {answer} {row.all:>7} {row.in_all:>7.2f} {row.datagrams:>10}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench amplification", description="Measure answers to forged queries.")
    parser.add_argument("--neighbours", type=int, default=200, metavar="N", help="nodes that fill the tables (200)")
    parser.add_argument("--fill", type=float, default=40.0, metavar="S", help="seconds in which they do (40)")
    parser.add_argument("--wait", type=float, default=5.0, metavar="S", help="seconds after each query (5)")
    names = sorted(PEERS.keys() - LEFT_OUT)
    parser.add_argument("--peer", action="append", choices=names, default=[], help="only this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
