"""The networks that this machine is in: a /24 or a /64 of each address that it is reached by.

They are others after a laptop has moved, when the network comes up after the daemon, or when a router has announced its
prefix. So they are looked at again when the kernel says that an address has come or gone, and now and then anyway.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final

from dhtd.core.address_groups import network_of
from dhtd.core.endpoint import Endpoint, Family
from dhtd.daemon.sockets.links import local_addresses

# Of ranges for documentation (RFC 5737, RFC 3849), which nobody has: routed as the rest of the internet is.
_FAR_OFF: Final = {Family.IPV4: Endpoint.of("192.0.2.1", 9), Family.IPV6: Endpoint.of("2001:db8::1", 9)}


def own_addresses(listening: Iterable[Endpoint]) -> frozenset[Endpoint]:
    """Return where this machine is: at the endpoints that are bound, or, where these are wildcards, at all it has.

    Where the kernel does not list them, at the address that it would send from to somewhere far off. No datagram is
    sent for that. Loopback and link-local addresses do not count, except where they are bound.
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
    """Whether a datagram to `endpoint` comes to one of the endpoints that are bound here. `zone` is of link-local ones.

    Where a wildcard is bound, the kernel says so. Those that it lists are not link-local, and it does not list them
    everywhere; but to an address of its own it mostly sends from that address. All of 127/8 is the machine itself.
    """
    wildcard = Endpoint(bytes(len(endpoint.ip)) + endpoint[-2:])
    return any(
        bound == endpoint or (bound == wildcard and (endpoint.is_loopback or _has_address(endpoint, zone)))
        for bound in listening
    )


def _has_address(endpoint: Endpoint, zone: int | None) -> bool:
    return endpoint.ip in (local_addresses() or ()) or source_towards(endpoint, zone) == endpoint.host


def networks_of(addresses: Iterable[Endpoint]) -> tuple[bytes, ...]:
    """Return the networks that these addresses are in."""
    return tuple(sorted({network_of(address) for address in addresses}))


def source_towards(endpoint: Endpoint, zone: int | None = None) -> str | None:
    """Return the address that the kernel would send from to `endpoint`; None where there is no route."""
    family = socket.AF_INET if endpoint.is_ipv4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((endpoint.host, endpoint.port) if zone is None else (endpoint.host, endpoint.port, 0, zone))
            host: str = probe.getsockname()[0]
    except OSError:
        return None
    return host.partition("%")[0]
