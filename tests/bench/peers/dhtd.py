"""This daemon, as it is installed, with all its protections."""

from __future__ import annotations

import socket
import sys
import tempfile
from pathlib import Path
from random import Random

from dhtd.core.codec import Room
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import (
    VALUE_LASTS,
    Contact,
    Find,
    FindNode,
    FindValue,
    Found,
    Get,
    Ping,
    Put,
    Query,
    Reply,
    Request,
)
from dhtd.core.records import Immutable
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import TID_SIZE
from tests.bench.load import Make, Sources
from tests.bench.peers.peer import (
    FIND_FIFTY,
    FIND_NEAR,
    FIND_NODE,
    FIND_NONE,
    FIND_ONE,
    GET,
    GET_LARGE,
    HELD,
    PING,
    PORT,
    PUT,
    STORE,
    VALUES,
    K,
    Node,
    Peer,
    UnexpectedAnswerError,
    expect,
)
from tests.records import to_store

_FINDS = (FIND_NONE, FIND_ONE, FIND_FIFTY)
_ENTRY_PORT = 3_000


class Dhtd(Peer):
    name = "dhtd"
    id_size = NATIVE.width
    tid_size = TID_SIZE

    def __init__(self, address: str, rng: Random) -> None:
        super().__init__(address, rng)
        self._codec = self.make_codec()
        self._directory = tempfile.TemporaryDirectory(prefix="dhtd-bench-")

    def make_codec(self) -> NativeCodec:
        return NativeCodec()

    def command(self) -> list[str]:
        where = Path(self._directory.name)
        program = Path(sys.executable).with_name("dhtd")
        return [
            str(program),
            "start",
            f"--bind={self.address}",
            f"--port={PORT}",
            f"--state={where / 'state.db'}",
            f"--socket={where / 'dhtd.sock'}",
            "--log-level=error",
        ]

    def stop(self) -> None:
        """End it, and remove its files."""
        super().stop()
        self._directory.cleanup()

    def store_once(self, sources: Sources, number: int, key: bytes) -> None:
        found = self._find(sources, number, FindValue(_id(key)))
        stored = sources.ask(number, self._maker(to_store(_id(key), _ENTRY_PORT, found.token or b"")))
        expect(stored is not None and isinstance(self._codec.decode(stored), Reply), stored)

    def put_once(self, sources: Sources, value: bytes) -> None:
        put = sources.ask(0, self._maker(self._put(sources, 0, value)))
        expect(put is not None and isinstance(self._codec.decode(put), Reply), put)

    def sender(self, pong: bytes) -> bytes:
        sender = self._codec.decode(pong).sender
        assert sender is not None
        return NATIVE.to_bytes(sender)

    def make(self, operation: str, sources: Sources) -> Make:
        rng, encode = self.rng, self._codec.encode_query
        senders = [_id(id) for id in self.ids]
        if operation == STORE:
            keys = [_id(key) for key in self.keys[STORE]]
            tokens = [
                [self._find(sources, number, FindValue(key)).token or b"" for key in keys]
                for number in range(len(senders))
            ]

            def store(number: int, tid: bytes) -> bytes:
                which = rng.randrange(len(keys))
                return encode(tid, senders[number], to_store(keys[which], _ENTRY_PORT, tokens[number][which]))

            return store
        if operation == PUT:
            puts = [[self._put(sources, number, value) for value in self.values[PUT]] for number in range(len(senders))]
            return lambda number, tid: encode(tid, senders[number], rng.choice(puts[number]))
        if operation in (GET, GET_LARGE):
            gets = [Get(self._codec.key_of(Immutable(value))) for value in self.values[operation]]
            return lambda number, tid: encode(tid, senders[number], rng.choice(gets))
        if operation in HELD:
            held = [_id(key) for key in self.keys[operation]]
            return lambda number, tid: encode(tid, senders[number], FindValue(rng.choice(held)))
        if operation == FIND_NONE:
            return lambda number, tid: encode(tid, senders[number], FindValue(NATIVE.random(rng)))
        if operation == FIND_NEAR:
            return lambda number, tid: encode(tid, senders[number], FindNode(_id(self.near())))
        if operation == FIND_NODE:
            return lambda number, tid: encode(tid, senders[number], FindNode(NATIVE.random(rng)))
        return lambda number, tid: encode(tid, senders[number], Ping())

    def check(self, operation: str, answer: bytes) -> None:
        """Check for a reply, with K nodes and with all endpoints if there should be any."""
        message = self._codec.decode(answer)
        if not isinstance(message, Reply):
            raise UnexpectedAnswerError(f"{operation}: {message}")
        if operation in (PING, STORE, PUT):
            expect(message.body == [], message)
            return
        if operation in (GET, GET_LARGE):
            got = self._codec.decode_result(Get(Id(0)), message.body)
            assert isinstance(got, Found)
            expect(isinstance(got.held, Immutable) and len(got.held.data) == VALUES[operation], got)
            expect(len(got.contacts) == K or got.more, got)
            return
        request = FindNode(Id(0)) if operation in (FIND_NODE, FIND_NEAR) else FindValue(Id(0))
        found = self._codec.decode_result(request, message.body)
        assert isinstance(found, Found)
        expect(len(found.contacts) == K and not found.more, found)
        expect(len(found.endpoints) == HELD.get(operation, 0), found)

    def hello(self, me: Node, tid: bytes) -> bytes:
        return self._codec.encode_query(tid, _id(me.id), Ping())

    def reply(self, data: bytes, me: Node, source: tuple[str, int]) -> bytes | None:
        """Answer pings, and find queries with nothing."""
        message = self._codec.decode(data)
        if not isinstance(message, Query):
            return None
        observed = Endpoint.of(*source)
        if isinstance(message.request, Get):
            nobody = self._codec.pack_contacts([])
            return self._codec.encode_got(message, _id(me.id), observed, b"token", nobody, Room(1_200), None, 0)
        if isinstance(message.request, FindNode | FindValue):
            nobody = self._codec.pack_contacts([Contact(_id(me.id), Endpoint.of(socket.inet_ntoa(me.ip), me.port))])
            return self._codec.encode_found(message, _id(me.id), observed, b"token", nobody, Room(1_200))
        return self._codec.encode_acknowledged(message.tid, _id(me.id), observed)

    def _put(self, sources: Sources, number: int, data: bytes) -> Put:
        value = Immutable(data)
        key = self._codec.key_of(value)
        return Put(key, self._find(sources, number, Get(key)).token or b"", value, None, VALUE_LASTS)

    def _find(self, sources: Sources, number: int, request: Find) -> Found:
        answer = sources.ask(number, self._maker(request))
        if answer is None:
            raise UnexpectedAnswerError("no answer to a find")
        message = self._codec.decode(answer)
        assert isinstance(message, Reply)
        found = self._codec.decode_result(request, message.body)
        assert isinstance(found, Found)
        return found

    def _maker(self, request: Request) -> Make:
        return lambda number, tid: self._codec.encode_query(tid, _id(self.ids[number]), request)


def _id(packed: bytes) -> Id:
    return Id(int.from_bytes(packed, "big"))
