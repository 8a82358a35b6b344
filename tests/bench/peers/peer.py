"""An implementation in the benchmark: how to start it, and how to speak to it."""

from __future__ import annotations

import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib.util import find_spec
from random import Random
from typing import NamedTuple

from tests.bench.load import Make, Sources

PORT = 1729
K = 8  # nodes in an answer, of all that are measured; `kademlia` is started with as many
KEYS = 4  # keys that are looked up and stored, for each number of endpoints

NEAR_BYTES = 2  # of the server's own ID with which the targets near it begin: in its own, sparse bucket

PING, FIND_NODE, FIND_NEAR, FIND_NONE, FIND_ONE, FIND_FIFTY, STORE, GET, GET_LARGE, PUT = OPERATIONS = (
    "ping",
    "find_node",
    "find_node, near",
    "find_value, none",
    "find_value, 1",
    "find_value, 50",
    "store",
    "get, 100 bytes",
    "get, 1000 bytes",
    "put",
)
HELD = {FIND_ONE: 1, FIND_FIFTY: 50}  # endpoints under the key that is asked for
VALUES = {GET: 100, GET_LARGE: 996, PUT: 100}  # bytes of a value; bencoded, it has 1000 at most (BEP 44)


class Node(NamedTuple):
    """A played node."""

    id: bytes
    ip: bytes
    port: int


class UnexpectedAnswerError(Exception):
    """An implementation gave a wrong answer, or none: its figure would mean something else."""


class Peer(ABC):
    name: str
    module: str | None = None  # its Python module; it is not measured if that is not installed
    operations: Iterable[str] = OPERATIONS
    id_size = 20
    tid_size: int

    def __init__(self, address: str, rng: Random) -> None:
        self.address = address
        self.rng = rng
        self.process: subprocess.Popen[str] | None = None
        self.keys = {operation: [rng.randbytes(self.id_size) for _ in range(KEYS)] for operation in OPERATIONS}
        self.values = {operation: [rng.randbytes(size) for _ in range(KEYS)] for operation, size in VALUES.items()}
        self.ids: list[bytes] = []  # of the sources
        self.own_id = b""

    @classmethod
    def is_there(cls) -> bool:
        return cls.module is None or find_spec(cls.module) is not None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it, and wait until it reports that it listens."""
        self.process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise UnexpectedAnswerError(f"{self.name} does not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()

    def command(self) -> list[str]:
        """Return the command that starts it; it prints a line when it listens."""
        return [sys.executable, "-m", type(self).__module__, self.address]

    def prepare(self, sources: Sources) -> None:
        """Learn its ID, and have it hold the endpoints to be found."""
        if PING in self.operations:
            pong = sources.ask(0, self.make(PING, sources))
            if pong is None:
                raise UnexpectedAnswerError(f"{self.name} does not answer a ping")
            self.own_id = self.sender(pong)
        for operation, endpoints in HELD.items():
            if operation in self.operations:
                for number in range(endpoints):
                    for key in self.keys[operation]:
                        self.store_once(sources, number, key)
        for operation in VALUES:
            if operation in self.operations:
                for value in self.values[operation]:
                    self.put_once(sources, value)

    def unseal(self, data: bytes) -> bytes:
        """Return the content of a sealed answer."""
        return data

    @abstractmethod
    def store_once(self, sources: Sources, number: int, key: bytes) -> None:
        """Store an entry from a source, with everything that this takes."""

    def put_once(self, sources: Sources, value: bytes) -> None:
        """Put a value that never changes, with everything that this takes."""
        raise NotImplementedError

    @abstractmethod
    def sender(self, pong: bytes) -> bytes:
        """Return the ID in a pong."""

    def near(self) -> bytes:
        """Return a target near its own ID."""
        return self.own_id[:NEAR_BYTES] + self.rng.randbytes(self.id_size - NEAR_BYTES)

    @abstractmethod
    def make(self, operation: str, sources: Sources) -> Make:
        """Return the maker of queries for an operation, with tokens if it takes any."""

    @abstractmethod
    def check(self, operation: str, answer: bytes) -> None:
        """Raise `UnexpectedAnswerError` unless the answer is complete."""

    # The part of a neighbour, so that tables fill

    @abstractmethod
    def hello(self, me: Node, tid: bytes) -> bytes:
        """Return a query that makes a node known."""

    @abstractmethod
    def reply(self, data: bytes, me: Node, source: tuple[str, int]) -> bytes | None:
        """Return a neighbour's answer to a query; None for anything else."""


def expect(condition: object, answer: object) -> None:
    """Raise unless the condition holds."""
    if not condition:
        raise UnexpectedAnswerError(f"not what was asked for: {answer!r}")
