"""The networks that a node can be in: our own, and the Mainline network of BitTorrent.

A daemon is in one of them, with files and a port of its own. The wire and the policy of a network are imported when a
daemon asks for them: the client needs neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dhtd.config import paths
from dhtd.core import ids
from dhtd.core.ids import Keyspace

if TYPE_CHECKING:
    from dhtd.core.codec import Codec
    from dhtd.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Network:
    """What differs between networks.

    - `instance` names the files of its daemon, where no other name is given.
    - `config` is the name of its configuration file, where an option or a variable names the network.
    - `values_last`: for how long nodes hold a value after a put, in words.
    - `defaults` are those of settings, by key, that differ from the table of settings.
    - `routers` show the way to newcomers, for those who ask for that: HOST:PORT.
    """

    name: str
    keyspace: Keyspace
    instance: str
    config: str
    values_last: str
    defaults: Mapping[str, object]
    routers: tuple[str, ...] = ()

    def codec(self, *, dual_stack: bool) -> Codec:
        """Return its wire."""
        if self is MAINLINE:
            from dhtd.wire.bep5 import Bep5Codec  # noqa: PLC0415 - the other network needs no bencode

            return Bep5Codec(dual_stack=dual_stack)
        from dhtd.wire.native import NativeCodec  # noqa: PLC0415

        return NativeCodec(dual_stack=dual_stack)

    @property
    def policy(self) -> Policy:
        """What a node does there when no setting says otherwise."""
        from dhtd.core import policy  # noqa: PLC0415 - it takes 2 ms

        return policy.MAINLINE if self is MAINLINE else policy.DEFAULT


NATIVE: Final = Network("native", ids.NATIVE, paths.DEFAULT_INSTANCE, paths.CONFIG_NAME, "a day", {})
MAINLINE: Final = Network(
    "mainline",
    ids.MAINLINE,
    "mainline",
    "mainline.toml",
    "2 hours",
    {"port": 6881, "rate-limit": 16.0, "rate-limit-total": 2_000.0},
    (
        "dht.libtorrent.org:25401",
        "dht.transmissionbt.com:6881",
        "router.bittorrent.com:6881",
    ),
)
NETWORKS: Final = {network.name: network for network in (NATIVE, MAINLINE)}


def network_of(id: str) -> Network:
    """Return the network that an ID is of, by its digits."""
    return MAINLINE if len(id) == 2 * MAINLINE.keyspace.width else NATIVE
