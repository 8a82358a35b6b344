"""This daemon in a private network: each datagram sealed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Choose, Message, PackedContacts, Query, Request
from dhtd.core.metric import Id
from dhtd.daemon import key_file
from dhtd.wire.native import NativeCodec
from dhtd.wire.network_key import KEY_SIZE, NetworkKey
from dhtd.wire.sealed import Seal
from tests.bench.peers.dhtd import Dhtd


class SealedCodec(NativeCodec):
    """What the nodes that are played say, sealed. What they hear may have been opened before."""

    def __init__(self, seal: Seal) -> None:
        super().__init__()
        self.seal = seal

    def decode(self, data: bytes) -> Message:
        """Return the message."""
        opened = self.seal.open(data)
        return super().decode(data if opened is None else opened)

    def encode_query(self, tid: bytes, sender: Id, request: Request) -> bytes:
        """Return the datagram."""
        return self.seal.seal(super().encode_query(tid, sender, request))

    def encode_acknowledged(self, tid: bytes, sender: Id, observed: Endpoint) -> bytes:
        """Return the datagram."""
        return self.seal.seal(super().encode_acknowledged(tid, sender, observed))

    def encode_found(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        packed: PackedContacts,
        endpoints: Sequence[Endpoint],
        limit: int,
        proved: bool,
        others: PackedContacts | None = None,
        choose: Choose | None = None,
    ) -> bytes:
        """Return the datagram."""
        found = super().encode_found(query, sender, observed, token, packed, endpoints, limit, proved, others, choose)
        return self.seal.seal(found)

    def encode_cut(self, query: Query, sender: Id, observed: Endpoint, token: bytes) -> bytes:
        """Return the datagram."""
        return self.seal.seal(super().encode_cut(query, sender, observed, token))


class DhtdSealed(Dhtd):
    """`dhtd start --network-key`."""

    name = "dhtd-sealed"

    def __init__(self, address: str, rng: Random) -> None:
        self._seal = Seal([NetworkKey(Random(1).randbytes(KEY_SIZE))], rng)
        super().__init__(address, rng)

    def make_codec(self) -> NativeCodec:
        """Return what makes and reads datagrams."""
        return SealedCodec(self._seal)

    def command(self) -> list[str]:
        """Return the daemon's command line."""
        path = Path(self._directory.name) / "network.key"
        assert (key_file.make(path, Random(1)),) == self._seal.keys
        return [*super().command(), f"--network-key={path}"]

    def unseal(self, data: bytes) -> bytes:
        """Return what an answer says."""
        opened = self._seal.open(data)
        return data if opened is None else opened
