"""What must hold of every node at any moment, whatever its network does to it. The node's own code has no part in it.

A breach is an `AssertionError`. The simulation adds its seed and the number of the event.
"""

from __future__ import annotations

from dhtd.sim.host import Host

_SLACK = 1e-6  # seconds: clocks that have jumped are sums, and sums are rounded


def check_host(host: Host, now: float) -> None:
    """What a live host knows and holds is in order, and no timer is forgotten."""
    host.overlay.check(host.member, host.endpoints, host.clock(now), has_jumped=bool(host.ahead))
    deadline = host.member.poll_timeout()
    planned = host.wake_at
    assert deadline is None or (planned is not None and planned <= deadline - host.ahead + _SLACK), (
        "a timer is forgotten"
    )
