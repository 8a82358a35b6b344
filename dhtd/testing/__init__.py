"""Networks of real nodes on loopback, for the tests of programs that use dhtd.

    async with dhtd.testing.testnet(8) as net, dhtd.connect(net[0].socket) as dht:
        ...

`testnet` is for asyncio and trio, and `testnet_blocking` for the rest. pytest has the fixture `dhtd_testnet`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dhtd.testing.networks import BlockingNetwork as BlockingNetwork
    from dhtd.testing.networks import Network as Network
    from dhtd.testing.networks import testnet as testnet
    from dhtd.testing.networks import testnet_blocking as testnet_blocking
    from dhtd.testing.swarm import Member as Member

_WHERE = {
    "BlockingNetwork": "dhtd.testing.networks",
    "Member": "dhtd.testing.swarm",
    "Network": "dhtd.testing.networks",
    "testnet": "dhtd.testing.networks",
    "testnet_blocking": "dhtd.testing.networks",
}

__all__ = ["BlockingNetwork", "Member", "Network", "testnet", "testnet_blocking"]


def __getattr__(name: str) -> object:
    """Import a name that is used for the first time: the daemon takes 200 ms, and pytest loads our plugin each time."""
    from importlib import import_module  # noqa: PLC0415

    if name not in _WHERE:
        raise AttributeError(f"module 'dhtd.testing' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return found
