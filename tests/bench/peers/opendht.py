"""OpenDHT (C++), without limits on its rate. What it stores are values of its own kind: only finding is measured."""

from __future__ import annotations

import sys
import time
from typing import Any

import msgpack

from tests.bench.load import Make, Sources
from tests.bench.peers.peer import (
    FIND_NEAR,
    FIND_NODE,
    FIND_NONE,
    PING,
    PORT,
    K,
    Node,
    Peer,
    UnexpectedAnswerError,
    expect,
)

_NODE_SIZE = 26


class OpenDht(Peer):
    """It speaks the message names of BEP 5, in msgpack."""

    name = "opendht"
    module = "opendht"
    operations = (PING, FIND_NODE, FIND_NEAR, FIND_NONE)
    tid_size = 3  # and a byte before it, so that it is packed as four

    def store_once(self, sources: Sources, number: int, key: bytes) -> None:
        """Hold nothing."""

    def sender(self, pong: bytes) -> bytes:
        id: bytes = msgpack.unpackb(pong)["r"]["id"]
        return id

    def make(self, operation: str, sources: Sources) -> Make:
        rng, size = self.rng, self.id_size
        if operation == FIND_NONE:
            return lambda number, tid: self._query(number, tid, "get", h=rng.randbytes(size))
        if operation == FIND_NEAR:
            return lambda number, tid: self._query(number, tid, "find", target=self.near())
        if operation == FIND_NODE:
            return lambda number, tid: self._query(number, tid, "find", target=rng.randbytes(size))
        return lambda number, tid: self._query(number, tid, "ping")

    def check(self, operation: str, answer: bytes) -> None:
        """Check for a reply, with K nodes if there should be any."""
        body = msgpack.unpackb(answer)
        if body.get("y") != "r":
            raise UnexpectedAnswerError(f"{operation}: {body}")
        if operation != PING:
            expect(len(body["r"].get("n4", b"")) == K * _NODE_SIZE, body)

    def hello(self, me: Node, tid: bytes) -> bytes:
        return _encode_query(tid, "ping", {"id": me.id})

    def reply(self, data: bytes, me: Node, source: tuple[str, int]) -> bytes | None:
        """Answer pings, and find queries with ourselves."""
        query = msgpack.unpackb(data)
        if query.get("y") != "q":
            return None
        body: dict[str, Any] = {"id": me.id, "sa": bytes(4)}
        if query["q"] != "ping":
            body["n4"] = me.id + me.ip + me.port.to_bytes(2, "big")
        packed: bytes = msgpack.packb({"r": body, "t": query["t"], "y": "r", "v": "RNG1"})
        return packed

    def _query(self, number: int, tid: bytes, method: str, **arguments: bytes) -> bytes:
        return _encode_query(tid, method, {"id": self.ids[number], **arguments})


def _encode_query(tid: bytes, method: str, arguments: dict[str, bytes]) -> bytes:
    transaction = int.from_bytes(b"\x80" + tid, "big")
    packed: bytes = msgpack.packb({"a": arguments, "q": method, "t": transaction, "y": "q", "v": "RNG1"})
    return packed


def main() -> None:
    import opendht

    config = opendht.DhtConfig()
    config.setRateLimit(1 << 30, 1 << 30)
    runner = opendht.DhtRunner()
    runner.run(ipv4=sys.argv[1], ipv6="", port=PORT, config=config)
    print("ready", flush=True)
    while runner:
        time.sleep(3_600)


if __name__ == "__main__":
    main()
