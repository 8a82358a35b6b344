"""The package `kademlia` (Python, asyncio): one value a key, no tokens, and no limits.

It is measured twice: as it comes, with answers of 20 nodes, and with answers as long as those of all the others.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from typing import Any

import msgpack

from tests.bench.load import Make, Sources
from tests.bench.peers.peer import (
    FIND_NEAR,
    FIND_NODE,
    FIND_NONE,
    FIND_ONE,
    PING,
    PORT,
    STORE,
    K,
    Node,
    Peer,
    UnexpectedAnswerError,
    expect,
)

_QUERY, _REPLY = b"\0", b"\1"


class Kademlia(Peer):
    """It speaks msgpack behind a byte and a transaction ID (the package `rpcudp`)."""

    name = "kademlia"
    module = "kademlia"
    ksize = 20  # its default
    operations = (PING, FIND_NODE, FIND_NEAR, FIND_NONE, FIND_ONE, STORE)
    tid_size = 20

    def command(self) -> list[str]:
        return [*super().command(), str(self.ksize)]

    def store_once(self, sources: Sources, number: int, key: bytes) -> None:
        """Store a value as long as an endpoint."""
        stored = sources.ask(number, lambda number, tid: self._query(number, tid, "store", key, bytes(6)))
        expect(stored is not None and _result(stored) is True, stored)

    def sender(self, pong: bytes) -> bytes:
        """Return the ID in a pong, which is nothing else."""
        id: bytes = _result(pong)
        return id

    def make(self, operation: str, sources: Sources) -> Make:
        rng, size = self.rng, self.id_size
        keys = self.keys[operation]
        if operation == FIND_NEAR:
            return lambda number, tid: self._query(number, tid, "find_node", self.near())
        if operation == STORE:
            return lambda number, tid: self._query(number, tid, "store", rng.choice(keys), bytes(6))
        if operation == FIND_ONE:
            return lambda number, tid: self._query(number, tid, "find_value", rng.choice(keys))
        if operation == FIND_NONE:
            return lambda number, tid: self._query(number, tid, "find_value", rng.randbytes(size))
        if operation == FIND_NODE:
            return lambda number, tid: self._query(number, tid, "find_node", rng.randbytes(size))
        return lambda number, tid: self._query(number, tid, "ping")

    def check(self, operation: str, answer: bytes) -> None:
        """Check for the answer, with all nodes or with the value if there should be one."""
        result = _result(answer)
        if operation == PING:
            expect(isinstance(result, bytes), result)
        elif operation == STORE:
            expect(result is True, result)
        elif operation == FIND_ONE:
            expect(result == {"value": bytes(6)}, result)
        else:
            expect(isinstance(result, list) and len(result) == self.ksize, result)

    def hello(self, me: Node, tid: bytes) -> bytes:
        return _encode_query(tid, "ping", me.id)

    def reply(self, data: bytes, me: Node, source: tuple[str, int]) -> bytes | None:
        """Answer pings, and find queries with ourselves."""
        if data[:1] != _QUERY:
            return None
        method, _ = msgpack.unpackb(data[21:])
        result: Any = me.id if method == "ping" else [(me.id, socket.inet_ntoa(me.ip), me.port)]
        return _REPLY + data[1:21] + _pack(result)

    def _query(self, number: int, tid: bytes, method: str, *arguments: bytes) -> bytes:
        return _encode_query(tid, method, self.ids[number], *arguments)


class Kademlia8(Kademlia):
    """With buckets and answers of the same size as the others."""

    name = "kademlia, K = 8"
    ksize = K


def _encode_query(tid: bytes, method: str, *arguments: bytes) -> bytes:
    return _QUERY + tid + _pack([method, list(arguments)])


def _result(answer: bytes) -> Any:
    if answer[:1] != _REPLY:
        raise UnexpectedAnswerError(f"not an answer: {answer!r}")
    return msgpack.unpackb(answer[21:])


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


async def serve() -> None:
    from kademlia.network import Server

    logging.disable(logging.CRITICAL)
    server = Server(ksize=int(sys.argv[2]))
    await server.listen(PORT, interface=sys.argv[1])
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve())
