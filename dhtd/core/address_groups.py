"""Parties behind addresses: limits count networks, since one party may have many addresses.

- The owner of one address of an IPv4 /24, or of an IPv6 /64, may well have all of them. So these are one party.
- The owner of one /64 may well have the 65,536 of a /48, a *site*, as providers give them to customers (RFC 6177). So a
  site is limited as well, to twice as many.
- In a private range addresses tell nothing: a whole network of honest nodes may be on one /24, and no stranger can be
  there. The policy says which ranges are exempt.
- Our own networks are those in which this machine has a public address, such as the one /64 of a LAN. The nodes beside
  us may well be the whole swarm, but a stranger can rent a machine there. So each address in them is a network for
  itself: it has one place, and takes none of its neighbours'.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, Endpoint

Party = tuple[bytes, ...]  # an address, the network that it is in, and of IPv6 the site


class Networks:
    """Tells the parties behind endpoints."""

    __slots__ = ("_exempt", "_own", "_own_sites", "_sites", "_whole")

    def __init__(self, exempt: Iterable[str], own: Iterable[bytes] = (), *, sites: bool = True) -> None:
        # By the size of an endpoint and the first byte of its address: that tells most apart, and it is asked often.
        self._exempt: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._whole: set[tuple[int, int]] = set()  # those of which every address is exempt, as in 10/8
        for network in map(ipaddress.ip_network, exempt):
            shift = network.max_prefixlen - network.prefixlen
            prefix = int(network.network_address) >> shift
            size = IPV4_SIZE if network.version == 4 else IPV6_SIZE
            for first in range(network.network_address.packed[0], network.broadcast_address.packed[0] + 1):
                self._exempt.setdefault((size, first), []).append((shift, prefix))
                if network.prefixlen <= _BYTE:
                    self._whole.add((size, first))
        self._sites = sites
        self._own = frozenset(own)
        self._own_sites = frozenset(site_of(network) for network in self._own if len(network) > _SITE)

    def is_exempt(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint is in a range that limits by address leave alone."""
        kind = len(endpoint), endpoint[0]
        ranges = self._exempt.get(kind)
        if ranges is None:
            return False
        if kind in self._whole:
            return True
        number = int.from_bytes(endpoint[:-2], "big")
        for shift, prefix in ranges:  # noqa: SIM110 - `any` takes three times as long
            if number >> shift == prefix:
                return True
        return False

    def party(self, endpoint: Endpoint) -> Party | None:
        """Return the party that the endpoint counts for; None where it is exempt.

        Addresses and networks of both families, and the networks of one address in our own, all differ in length. So
        they can be keys of one table.
        """
        if self.is_exempt(endpoint):
            return None
        ip, network = endpoint[:-2], network_of(endpoint)
        if network in self._own:
            return ip, ip + b"/"
        if len(endpoint) == IPV4_SIZE or not self._sites or (site := site_of(endpoint)) in self._own_sites:
            return ip, network
        return ip, network, site

    def witness(self, endpoint: Endpoint) -> bytes:
        """Return what has one vote about us: a range as a provider has it, a /16 or /32; where exempt, an address."""
        if self.is_exempt(endpoint):
            return endpoint[:-2]
        return endpoint[:2] if len(endpoint) == IPV4_SIZE else endpoint[:4]


def network_of(endpoint: Endpoint) -> bytes:
    """Return the /24 or /64 that an endpoint is in."""
    return endpoint[:3] if len(endpoint) == IPV4_SIZE else endpoint[:8]


def is_beside(endpoint: Endpoint, own_networks: Iterable[bytes]) -> bool:
    """Whether a public address is in a /64 of our own: a LAN of IPv6 has these, and private ones of IPv4."""
    return len(endpoint) == IPV6_SIZE and network_of(endpoint) in own_networks


def site_of(endpoint: bytes) -> bytes:
    """Return the /48 that an endpoint of IPv6, or a /64, is in."""
    return endpoint[:_SITE]


_SITE = 6  # bytes
_BYTE = 8  # bits


@lru_cache(maxsize=64)
def outside(exempt: tuple[str, ...], own: tuple[bytes, ...] = (), *, sites: bool = True) -> Networks:
    """Return the networks outside these ranges; made once for all nodes that have the same policy."""
    return Networks(exempt, own, sites=sites)
