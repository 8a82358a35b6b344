"""The networks of this machine: the /24 or the /64 of each of its addresses.

They change when a laptop moves, when the network comes up after the daemon, and when a router announces its prefix. So
they are looked at again after news of an address, and now and then.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final

from dhtd.core.address_groups import network_of
from dhtd.core.endpoint import Endpoint, Family
from dhtd.daemon.sockets.links import local_addresses

# From ranges for documentation (RFC 5737, RFC 3849): nobody has them, and they are routed like the rest of the
# internet.
_FAR_OFF: Final = {Family.IPV4: Endpoint.of("192.0.2.1", 9), Family.IPV6: Endpoint.of("2001:db8::1", 9)}


def own_addresses(listening: Iterable[Endpoint]) -> frozenset[Endpoint]:
    """Return the endpoints of this machine: the bound ones, and all its addresses for a wildcard.

    If the kernel does not list its addresses, the one from which it would send far off counts. No datagram is sent for
    that. Loopback and link-local addresses count only if they are bound.
    """
    found: set[Endpoint] = set()
    for bound in listening:
        if any(bound.ip):
            found.add(bound)
            continue
        listed = local_addresses()
        source = source_towards(_FAR_OFF[bound.family]) if listed is None else None
        for ip in listed or ([] if source is None else [Endpoint.of(source, bound.port).ip]):
            if len(ip) + 2 == bound.family:
                found.add(Endpoint(ip + bound[-2:]))
    return frozenset(found)


def is_ours(endpoint: Endpoint, listening: Iterable[Endpoint], zone: int | None = None) -> bool:
    """Whether a datagram to `endpoint` arrives at a socket that is bound here. A link-local address has a `zone`.

    For a wildcard, the kernel decides. Its list has no link-local addresses, and not every system has a list. But a
    kernel mostly sends to its own address from that address. All of 127/8 is the machine itself.
    """
    wildcard = Endpoint(bytes(len(endpoint.ip)) + endpoint[-2:])
    return any(
        bound == endpoint or (bound == wildcard and (endpoint.is_loopback or _has_address(endpoint, zone)))
        for bound in listening
    )


def _has_address(endpoint: Endpoint, zone: int | None) -> bool:
    return endpoint.ip in (local_addresses() or ()) or source_towards(endpoint, zone) == endpoint.host


def networks_of(addresses: Iterable[Endpoint]) -> tuple[bytes, ...]:
    return tuple(sorted({network_of(address) for address in addresses}))


def source_towards(endpoint: Endpoint, zone: int | None = None) -> str | None:
    """Return the address from which the kernel would send to `endpoint`; None without a route."""
    family = socket.AF_INET if endpoint.is_ipv4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((endpoint.host, endpoint.port) if zone is None else (endpoint.host, endpoint.port, 0, zone))
            host: str = probe.getsockname()[0]
    except OSError:
        return None
    return host.partition("%")[0]
