"""The limit in Python: a blocking loop that sends back what it receives, and knows nothing."""

from __future__ import annotations

import socket
import sys

from tests.bench.load import Make, Sources
from tests.bench.peers.peer import FIND_NODE, PORT, Node, Peer, expect

SIZE = 184  # bytes: a find_node of dhtd


class Echo(Peer):
    name = "echo"
    operations = (FIND_NODE,)
    tid_size = 8

    def store_once(self, sources: Sources, number: int, key: bytes) -> None:
        """Hold nothing."""

    def sender(self, pong: bytes) -> bytes:
        """It has no ID."""
        return b""

    def make(self, operation: str, sources: Sources) -> Make:
        """Return what makes datagrams of the size of a query."""
        return lambda number, tid: tid + bytes(SIZE - len(tid))

    def check(self, operation: str, answer: bytes) -> None:
        """Check for the same length."""
        expect(len(answer) == SIZE, answer)

    def hello(self, me: Node, tid: bytes) -> bytes:
        """Return anything."""
        return tid

    def reply(self, data: bytes, me: Node, source: tuple[str, int]) -> bytes | None:
        """It asks nothing."""
        return None


def main() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((sys.argv[1], PORT))
        print("ready", flush=True)
        while True:
            data, address = bound.recvfrom(2_049)
            bound.sendto(data, address)


if __name__ == "__main__":
    main()
