"""libtorrent on loopback: a session that does nothing but the DHT, and what it tells."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, Self

import libtorrent as lt

from tests.e2e.daemons import DEADLINE, POLL

_SEARCH = 2.0  # seconds that a search has


class Torrents:
    """A session of libtorrent at one address. It joins by the endpoints that it is given, and by nothing else."""

    def __init__(self, address: str, *join: str, port: int = 6881) -> None:
        self.endpoint = f"{address}:{port}"
        self._alerts: list[Any] = []
        self.session = lt.session(
            {
                "listen_interfaces": self.endpoint,
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
            return self._taken("dht_get_peers_reply_alert", lambda alert: str(alert.info_hash) == info_hash)

        return [f"{host}:{port}" for host, port in self._wait(found, "peers").peers()]

    def announce(self, info_hash: str, port: int, *, is_seed: bool = False) -> None:
        """Say that it serves an info hash."""
        self.session.dht_announce(lt.sha1_hash(bytes.fromhex(info_hash)), port, 1 if is_seed else 0)

    def put(self, value: Any) -> tuple[str, int]:
        """Put a value that never changes; return its key, and how many nodes have taken it."""
        key = str(self.session.dht_put_immutable_item(value))
        done = self._next("dht_put_alert", lambda alert: str(alert.target) == key)
        return key, int(done.num_success)

    def get(self, key: str) -> Any:
        """Return the value that never changes under a key."""
        self.session.dht_get_immutable_item(lt.sha1_hash(bytes.fromhex(key)))
        return self._next("dht_immutable_item_alert", lambda alert: str(alert.target) == key).item

    def _next(self, kind: str, fits: Callable[[Any], bool]) -> Any:
        return self._wait(lambda: self._taken(kind, fits), kind)

    def _taken(self, kind: str, fits: Callable[[Any], bool]) -> Any:
        """Take the first alert of a kind that fits; None if there is none yet."""
        self._alerts += self.session.pop_alerts()
        for alert in self._alerts:
            if type(alert).__name__ == kind and fits(alert):
                self._alerts.remove(alert)
                return alert
        return None

    def _wait(self, found: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + DEADLINE
        while (value := found()) is None:
            assert time.monotonic() < deadline, f"no {what} at {self.endpoint}"
            time.sleep(POLL)
        return value
