"""libtorrent on loopback: a session that does nothing but the DHT, and what it tells."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import libtorrent as lt
from nacl.signing import SigningKey

from tests.e2e.daemons import DEADLINE, POLL
from tests.mainline.payload import Payload, magnet

PORT = 6881

_SEARCH = 2.0  # seconds that a search has

# What an alert tells: the key, and the rest.
_TOLD: dict[str, Callable[[Any], tuple[str, Any]]] = {
    "dht_get_peers_reply_alert": lambda alert: (
        str(alert.info_hash),
        [f"{host}:{port}" for host, port in alert.peers()],
    ),
    "dht_put_alert": lambda alert: (_hex(alert.public_key) if alert.seq else str(alert.target), alert.num_success),
    "dht_mutable_item_alert": lambda alert: (_hex(alert.key, alert.authoritative), (alert.item, alert.seq)),
    "dht_immutable_item_alert": lambda alert: (str(alert.target), alert.item),
}


def _hex(public_key: Any, is_last: object = True) -> str:
    """Return the key by which alerts about a signed value are found, once a search is over."""
    return bytes(public_key).hex() if is_last else ""


def session(listen: str, *join: str) -> Any:
    """Return a session that does nothing but the DHT: one node at each endpoint of `listen`, which commas part."""
    return lt.session(
        {
            "listen_interfaces": listen,
            "enable_dht": True,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "dht_bootstrap_nodes": ",".join(join),
            "alert_mask": lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification,
            # It answers 25 queries a second by default, and takes addresses side by side for one party.
            "dht_upload_rate_limit": 10_000_000,
            "dht_block_ratelimit": 100_000,
            "dht_restrict_routing_ips": False,
            "dht_restrict_search_ips": False,
            "dht_ignore_dark_internet": False,
            "dht_prefer_verified_node_ids": False,
            "allow_multiple_connections_per_ip": True,
        }
    )


class Torrents:
    """A session of libtorrent at one address. It joins by the endpoints that it is given, and by nothing else."""

    def __init__(self, address: str, *join: str, port: int = PORT) -> None:
        self.endpoint = f"{address}:{port}"
        self._told: list[tuple[str, str, Any]] = []
        self.session = session(self.endpoint, *join)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.pause()
        del self.session

    def join(self, *endpoints: str) -> None:
        """Have it know these nodes."""
        for endpoint in endpoints:
            host, _, port = endpoint.rpartition(":")
            self.session.add_dht_node((host, int(port)))

    def wait_for_nodes(self, count: int) -> None:
        """Wait until it knows so many nodes."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._wait(lambda: self.session.status().dht_nodes >= count or None, f"{count} nodes")

    def peers(self, info_hash: str) -> list[str]:
        """Return the first peers that a search finds. One that finds none is not told, so it is begun again."""
        asked_at = -_SEARCH

        def found() -> Any:
            nonlocal asked_at
            if time.monotonic() >= asked_at + _SEARCH:
                asked_at = time.monotonic()
                self.session.dht_get_peers(lt.sha1_hash(bytes.fromhex(info_hash)))
            return self._taken("dht_get_peers_reply_alert", info_hash)

        return list(self._wait(found, "peers"))

    def announce(self, info_hash: str, port: int, *, is_seed: bool = False) -> None:
        """Say that it serves an info hash."""
        self.session.dht_announce(lt.sha1_hash(bytes.fromhex(info_hash)), port, 1 if is_seed else 0)

    def download(self, payload: Payload, directory: Path) -> None:
        """Fetch a payload from those that the DHT names: begin with a magnet link.

        It asks when it begins, and again after minutes: so it waits until it knows somebody.
        """
        self.wait_for_nodes(1)
        self.session.add_torrent(magnet(payload, directory))

    def put(self, value: Any) -> tuple[str, int]:
        """Put a value that never changes; return its key, and how many nodes have taken it."""
        key = str(self.session.dht_put_immutable_item(value))
        return key, int(self._next("dht_put_alert", key))

    def get(self, key: str) -> Any:
        """Return the value that never changes under a key."""
        self.session.dht_get_immutable_item(lt.sha1_hash(bytes.fromhex(key)))
        return self._next("dht_immutable_item_alert", key)

    def put_signed(self, seed: bytes, text: bytes, salt: bytes) -> int:
        """Put a value with the key of a seed, newer than the one that is there; return how many nodes have taken it."""
        secret = bytearray(hashlib.sha512(seed).digest())
        secret[0], secret[31] = secret[0] & 0xF8, secret[31] & 0x7F | 0x40  # as Ed25519 has it (RFC 8032)
        public = bytes(SigningKey(seed).verify_key)
        self.session.dht_put_mutable_item(bytes(secret), public, text, salt)
        return int(self._next("dht_put_alert", public.hex()))

    def get_signed(self, public_key: bytes, salt: bytes) -> tuple[Any, int]:
        """Return the newest value of a public key, and its seq."""
        self.session.dht_get_mutable_item(public_key, salt)
        value, seq = self._next("dht_mutable_item_alert", public_key.hex())
        return value, int(seq)

    def _next(self, kind: str, key: str) -> Any:
        return self._wait(lambda: self._taken(kind, key), kind)

    def _taken(self, kind: str, key: str) -> Any:
        """Take what the first alert of a kind tells of a key; None if there is none yet."""
        for alert in self.session.pop_alerts():  # the next call frees them
            name = type(alert).__name__
            if name in _TOLD:
                self._told.append((name, *_TOLD[name](alert)))
        for told in self._told:
            if told[:2] == (kind, key):
                self._told.remove(told)
                return told[2]
        return None

    def _wait(self, found: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + DEADLINE
        while (value := found()) is None:
            assert time.monotonic() < deadline, f"no {what} at {self.endpoint}"
            time.sleep(POLL)
        return value
