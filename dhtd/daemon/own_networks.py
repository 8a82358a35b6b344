"""The networks that this machine is in: a /24 or a /64 of each address family that is spoken.

Of a socket that is bound to all addresses, the kernel is asked which one it would send from to somewhere far off. No
datagram is sent for that. Where there is no way to anywhere, there is nothing to tell, and nobody needs it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.networks import network_of

# Of ranges for documentation (RFC 5737, RFC 3849), which nobody has: routed as the rest of the internet is.
_FAR_OFF: Final = {
    Family.IPV4: (socket.AF_INET, Endpoint.of("192.0.2.1", 9)),
    Family.IPV6: (socket.AF_INET6, Endpoint.of("2001:db8::1", 9)),
}


def own_networks(listening: Iterable[Endpoint]) -> tuple[bytes, ...]:
    """Return the networks of the endpoints that are bound, or, where these are wildcards, of those behind them."""
    networks: dict[bytes, None] = {}
    for bound in listening:
        own = bound if any(bound.ip) else _sends_from(bound.family)
        if own is not None:
            networks[network_of(own)] = None
    return tuple(networks)


def _sends_from(family: Family) -> Endpoint | None:
    kind, far_off = _FAR_OFF[family]
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect((far_off.host, far_off.port))
            host, port = probe.getsockname()[:2]
    except OSError:
        return None
    return Endpoint.of(host.partition("%")[0], port)
