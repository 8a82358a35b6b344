"""This daemon in a private network: each datagram sealed."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

from dhtd.config import key_file
from dhtd.core.codec import NOTHING, Named, PackedContacts, Room
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import NO_OPTIONS, Message, Options, Query, Request
from dhtd.core.records import Value
from dhtd.wire.native import NativeCodec
from dhtd.wire.network_key import KEY_SIZE, NetworkKey
from dhtd.wire.sealed import ANSWERS, TAIL_SIZE, Seal
from tests.bench.peers.dhtd import Dhtd


class SealedCodec(NativeCodec):
    """The sealed datagrams of played nodes. Those that they hear may have been opened before."""

    def __init__(self, seal: Seal) -> None:
        super().__init__()
        self.seal = seal

    def decode(self, data: bytes) -> Message:
        return super().decode(opened(self.seal, data))

    def encode_query(self, tid: bytes, sender: Id, request: Request, options: Options = NO_OPTIONS) -> bytes:
        return self.seal.seal_query(super().encode_query(tid, sender, request), None, time.time())

    def encode_acknowledged(self, tid: bytes, sender: Id, observed: Endpoint) -> bytes:
        return self.seal.seal_answer(super().encode_acknowledged(tid, sender, observed))

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
        found = super().encode_found(query, sender, observed, token, packed, room, named, others)
        return self.seal.seal_answer(found)

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
        got = super().encode_got(query, sender, observed, token, packed, room, held, lasts, others)
        return self.seal.seal_answer(got)

    def encode_cut(self, query: Query, sender: Id, observed: Endpoint, token: bytes) -> bytes:
        return self.seal.seal_answer(super().encode_cut(query, sender, observed, token))


class DhtdSealed(Dhtd):
    name = "dhtd-sealed"

    def __init__(self, address: str, rng: Random) -> None:
        self._seal = Seal([NetworkKey(Random(1).randbytes(KEY_SIZE))], Id(0), rng, 0.0)
        super().__init__(address, rng)

    def make_codec(self) -> NativeCodec:
        return SealedCodec(self._seal)

    def command(self) -> list[str]:
        path = Path(self._directory.name) / "network.key"
        assert (key_file.make(path, Random(1)),) == self._seal.keys
        return [*super().command(), f"--network-key={path}"]

    def unseal(self, data: bytes) -> bytes:
        """Return the content of an answer."""
        return opened(self._seal, data)


def opened(seal: Seal, data: bytes) -> bytes:
    """Return the content, for any of the played nodes; an unsealed datagram as it is."""
    plain = seal.decrypt(data)
    if plain is None:
        return data
    return plain if plain[4:6] in ANSWERS else plain[:-TAIL_SIZE]
