"""A link between two machines that delays and loses packets: by the kernel's netem, or by hand without it.

By hand, the ends are two TUN devices, and a thread carries packets from one to the other. It drops some, by its seed,
and delays the rest.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import select
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from random import Random
from typing import Final

from tests.netns.lab import Lab, LabError, Machine, run

DELAY: Final = 0.1  # seconds, one way
LOSS: Final = 0.05  # of packets, one way

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_PACKET_MAX: Final = 2_048

_names = count(1)


@contextmanager
def by_kernel(lab: Lab, one: Machine, address: str, other: Machine, other_address: str) -> Iterator[tuple[str, str]]:
    """Yield the names of the ends of a wire that netem makes slow; raise `LabError` without netem."""
    ends = lab.wire(one, address, other, other_address)
    for machine, end in ((one, ends[0]), (other, ends[1])):
        machine.run(f"tc qdisc add dev {end} root netem delay {DELAY * 1000:.0f}ms loss {LOSS:.0%}")
    yield ends


@contextmanager
def by_hand(
    lab: Lab,
    one: Machine,
    address: str,
    other: Machine,
    other_address: str,
    *,
    delay: float = DELAY,
    loss: float = LOSS,
) -> Iterator[tuple[str, str]]:
    """Yield the names of the ends; raise `LabError` without TUN devices."""
    stop = threading.Event()
    descriptors: list[int] = []
    names = []
    try:
        for machine, given in ((one, address), (other, other_address)):
            name = f"t{os.getpid()}x{next(_names)}"
            descriptors.append(_open(name))
            names.append(name)
            run("ip", "link", "set", name, "netns", machine.name)
            machine.run(f"ip address add {given} dev {name}")
            machine.run(f"ip link set {name} up")
        carrier = threading.Thread(target=_carry, args=(descriptors[0], descriptors[1], delay, loss, Random(5), stop))
        carrier.start()
        try:
            yield names[0], names[1]
        finally:
            stop.set()
            carrier.join()
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _open(name: str) -> int:
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LabError(f"there are no TUN devices: {error.strerror}") from None
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(descriptor)
        raise LabError(f"cannot make a TUN device: {error.strerror}") from None
    return descriptor


def _carry(one: int, other: int, delay: float, loss: float, rng: Random, stop: threading.Event) -> None:
    """Carry packets both ways until told to stop."""
    on_the_way: list[tuple[float, int, int, bytes]] = []  # time of arrival, number, destination, packet
    numbers = count()
    while not stop.is_set():
        pause = min(0.05, max(0.0, on_the_way[0][0] - time.monotonic())) if on_the_way else 0.05
        readable, _, _ = select.select([one, other], [], [], pause)
        now = time.monotonic()
        for descriptor in readable:
            packet = os.read(descriptor, _PACKET_MAX)
            if rng.random() >= loss:
                to = other if descriptor == one else one
                heapq.heappush(on_the_way, (now + delay, next(numbers), to, packet))
        while on_the_way and on_the_way[0][0] <= now:
            _, _, to, packet = heapq.heappop(on_the_way)
            os.write(to, packet)
