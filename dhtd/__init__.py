"""A DHT node that maps IDs to the endpoints that serve them.

    async with dhtd.connect() as dht:
        async for endpoint in dht.lookup("wiki"): ...

docs/python.md shows all of it. Each name is imported when it is first used: `import dhtd` alone costs nothing.
"""

__version__ = "0.2.0"

TYPE_CHECKING = False  # without `typing`, which takes some ms
if TYPE_CHECKING:
    from dhtd import errors as errors
    from dhtd.api.blocking import BlockingDht as BlockingDht
    from dhtd.api.blocking import connect_blocking as connect_blocking
    from dhtd.api.concurrent import connect as connect
    from dhtd.api.dht import Dht as Dht
    from dhtd.api.hash_ring import HashRing as HashRing
    from dhtd.api.keys import SigningKey as SigningKey
    from dhtd.api.names import Endpoint as Endpoint
    from dhtd.api.names import Id as Id
    from dhtd.api.names import PublicKey as PublicKey
    from dhtd.api.results import Change as Change
    from dhtd.errors import DhtdError as DhtdError

_WHERE = {
    "BlockingDht": "dhtd.api.blocking",
    "Change": "dhtd.api.results",
    "Dht": "dhtd.api.dht",
    "DhtdError": "dhtd.errors",
    "Endpoint": "dhtd.api.names",
    "HashRing": "dhtd.api.hash_ring",
    "Id": "dhtd.api.names",
    "PublicKey": "dhtd.api.names",
    "SigningKey": "dhtd.api.keys",
    "connect": "dhtd.api.concurrent",
    "connect_blocking": "dhtd.api.blocking",
}

__all__ = [
    "BlockingDht",
    "Change",
    "Dht",
    "DhtdError",
    "Endpoint",
    "HashRing",
    "Id",
    "PublicKey",
    "SigningKey",
    "connect",
    "connect_blocking",
    "errors",
]


def __getattr__(name: str) -> object:
    """Import a name that is used for the first time (PEP 562)."""
    from importlib import import_module  # noqa: PLC0415 - `import dhtd` does without

    if name == "errors":
        return import_module("dhtd.errors")
    if name not in _WHERE:
        raise AttributeError(f"module 'dhtd' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
