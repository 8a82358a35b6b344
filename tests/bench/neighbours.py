"""Played nodes that fill tables: they say hello to the measured node, and answer its queries."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterable, Sequence
from random import Random

from tests.bench.peers.peer import PORT, Node, Peer

_PAUSE = 0.5  # seconds from one hello to the next


def fill(peers: Iterable[Peer], addresses: Sequence[str], seconds: float, rng: Random) -> None:
    """Have a node at each address greet each peer, and answer it, for so many seconds; then they fall silent.

    Servers do not take everybody at once: dhtd pings eight strangers a second.
    """
    played: dict[socket.socket, tuple[Peer, Node]] = {}
    for peer in peers:
        for address in addresses:
            bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            bound.bind((address, 0))
            bound.setblocking(False)
            node = Node(rng.randbytes(peer.id_size), socket.inet_aton(address), bound.getsockname()[1])
            played[bound] = peer, node
    try:
        _play(played, seconds, rng)
    finally:
        for bound in played:
            bound.close()


def _play(played: dict[socket.socket, tuple[Peer, Node]], seconds: float, rng: Random) -> None:
    until = time.monotonic() + seconds
    with select.epoll() as ready:
        by_number = {bound.fileno(): bound for bound in played}
        for number in by_number:
            ready.register(number, select.EPOLLIN)
        greet_at = 0.0
        while (now := time.monotonic()) < until:
            if now >= greet_at:
                greet_at = now + _PAUSE
                for bound, (peer, node) in played.items():
                    bound.sendto(peer.hello(node, rng.randbytes(peer.tid_size)), (peer.address, PORT))
            for number, _ in ready.poll(greet_at - now):
                bound = by_number[number]
                peer, node = played[bound]
                data, source = bound.recvfrom(65_536)
                reply = peer.reply(data, node, source)
                if reply is not None:
                    bound.sendto(reply, source)
