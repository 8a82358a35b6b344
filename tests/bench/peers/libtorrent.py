"""libtorrent (C++): a session that does nothing but the DHT of BEP 5, without limits on its rate."""

from __future__ import annotations

import sys
import time
from hashlib import sha1
from typing import Any

from tests.bench.load import Make, Sources
from tests.bench.peers import bencode
from tests.bench.peers.peer import (
    FIND_NEAR,
    FIND_NODE,
    FIND_NONE,
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

_NODE_SIZE = 26  # BEP 5 "Contact Encoding"
_ENTRY_PORT = 3_000


class Libtorrent(Peer):
    """It speaks BEP 5."""

    name = "libtorrent"
    module = "libtorrent"
    tid_size = 4

    def store_once(self, sources: Sources, number: int, key: bytes) -> None:
        token = self._token(sources, number, key)
        announced = sources.ask(number, lambda number, tid: self._announce(number, tid, key, token))
        expect(announced is not None and bencode.decode(announced)[b"y"] == b"r", announced)

    def put_once(self, sources: Sources, value: bytes) -> None:
        put = sources.ask(0, lambda number, tid: self._put(number, tid, value, self._token_of(sources, number, value)))
        expect(put is not None and bencode.decode(put)[b"y"] == b"r", put)

    def sender(self, pong: bytes) -> bytes:
        id: bytes = bencode.decode(pong)[b"r"][b"id"]
        return id

    def make(self, operation: str, sources: Sources) -> Make:
        rng, size = self.rng, self.id_size
        if operation == STORE:
            keys = self.keys[STORE]
            tokens = [[self._token(sources, number, key) for key in keys] for number in range(len(self.ids))]

            def store(number: int, tid: bytes) -> bytes:
                which = rng.randrange(len(keys))
                return self._announce(number, tid, keys[which], tokens[number][which])

            return store
        if operation == PUT:
            values = self.values[PUT]
            tokens = [[self._token_of(sources, number, value) for value in values] for number in range(len(self.ids))]

            def put(number: int, tid: bytes) -> bytes:
                which = rng.randrange(len(values))
                return self._put(number, tid, values[which], tokens[number][which])

            return put
        if operation in (GET, GET_LARGE):
            targets = [_target(value) for value in self.values[operation]]
            return lambda number, tid: self._query(number, tid, b"get", target=rng.choice(targets))
        if operation in HELD:
            held = self.keys[operation]
            return lambda number, tid: self._query(number, tid, b"get_peers", info_hash=rng.choice(held))
        if operation == FIND_NONE:
            return lambda number, tid: self._query(number, tid, b"get_peers", info_hash=rng.randbytes(size))
        if operation == FIND_NEAR:
            return lambda number, tid: self._query(number, tid, b"find_node", target=self.near())
        if operation == FIND_NODE:
            return lambda number, tid: self._query(number, tid, b"find_node", target=rng.randbytes(size))
        return lambda number, tid: self._query(number, tid, b"ping")

    def check(self, operation: str, answer: bytes) -> None:
        """Check for a reply, with K nodes and with all endpoints if there should be any."""
        body = bencode.decode(answer)
        if body[b"y"] != b"r":
            raise UnexpectedAnswerError(f"{operation}: {body}")
        if operation in (PING, STORE, PUT):
            return
        if operation in (GET, GET_LARGE):
            expect(len(body[b"r"][b"v"]) == VALUES[operation], body)
            return
        values = body[b"r"].get(b"values", [])
        expect(len(values) == HELD.get(operation, 0), body)
        expect(len(body[b"r"][b"nodes"]) == K * _NODE_SIZE, body)

    def hello(self, me: Node, tid: bytes) -> bytes:
        return _encode_query(tid, b"ping", {b"id": me.id})

    def reply(self, data: bytes, me: Node, source: tuple[str, int]) -> bytes | None:
        """Answer pings, and find queries with ourselves."""
        query = bencode.decode(data)
        if query.get(b"y") != b"q":
            return None
        body: dict[bytes, Any] = {b"id": me.id}
        if query[b"q"] != b"ping":
            body |= {b"nodes": me.id + me.ip + me.port.to_bytes(2, "big"), b"token": b"token"}
        return bencode.encode({b"r": body, b"t": query[b"t"], b"y": b"r"})

    def _token(self, sources: Sources, number: int, key: bytes) -> bytes:
        answer = sources.ask(number, lambda number, tid: self._query(number, tid, b"get_peers", info_hash=key))
        if answer is None:
            raise UnexpectedAnswerError("no answer to get_peers")
        token: bytes = bencode.decode(answer)[b"r"][b"token"]
        return token

    def _token_of(self, sources: Sources, number: int, value: bytes) -> bytes:
        target = _target(value)
        answer = sources.ask(number, lambda number, tid: self._query(number, tid, b"get", target=target))
        if answer is None:
            raise UnexpectedAnswerError("no answer to get")
        token: bytes = bencode.decode(answer)[b"r"][b"token"]
        return token

    def _put(self, number: int, tid: bytes, value: bytes, token: bytes) -> bytes:
        return self._query(number, tid, b"put", token=token, v=value)

    def _announce(self, number: int, tid: bytes, key: bytes, token: bytes) -> bytes:
        return self._query(number, tid, b"announce_peer", info_hash=key, port=_ENTRY_PORT, token=token)

    def _query(self, number: int, tid: bytes, method: bytes, **arguments: bytes | int) -> bytes:
        given = {name.encode(): value for name, value in arguments.items()}
        return _encode_query(tid, method, {b"id": self.ids[number], **given})


def _target(value: bytes) -> bytes:
    return sha1(bencode.encode(value), usedforsecurity=False).digest()


def _encode_query(tid: bytes, method: bytes, arguments: dict[bytes, bytes | int]) -> bytes:
    return bencode.encode({b"a": arguments, b"q": method, b"t": tid, b"y": b"q"})


def main() -> None:
    import libtorrent

    session = libtorrent.session(
        {
            "listen_interfaces": f"{sys.argv[1]}:{PORT}",
            "enable_dht": True,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "alert_mask": 0,
            "dht_bootstrap_nodes": "",
            "dht_upload_rate_limit": 1_000_000_000,
            "dht_block_ratelimit": 1_000_000,  # it counts to ten times this in an int
            "dht_restrict_routing_ips": False,
            "dht_restrict_search_ips": False,
            "dht_ignore_dark_internet": False,
            "dht_prefer_verified_node_ids": False,
            "dht_enforce_node_id": False,
        }
    )
    print("ready", flush=True)
    while session is not None:
        time.sleep(3_600)


if __name__ == "__main__":
    main()
