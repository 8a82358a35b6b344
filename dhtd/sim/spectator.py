"""Somebody who sees a run while it goes on, and changes nothing of it."""

from __future__ import annotations

from typing import Any, Protocol

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Event, Handle
from dhtd.core.ids import Id
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.saved import Saved


class Spectator(Protocol):
    """What a spectator is told."""

    def came(self, host: Host) -> None:
        """A host has started, for the first time or again."""
        ...

    def went(self, host: Host) -> None:
        """A host was stopped. The network's latest note tells how, if it is about this host."""
        ...

    def wants_steps(self) -> bool:
        """Whether the lookup that begins now is to tell its steps."""
        ...

    def asked(self, host: Host, op: Handle, key: Id, expected: Endpoint | None) -> None:
        """A lookup has begun whose steps are wanted. It should find `expected`; None: nobody knows what it should."""
        ...

    def heard(self, host: Host, event: Event) -> None:
        """A node has told its owner something."""
        ...


class SeenNetwork(Network):
    """A network with a spectator."""

    def __init__(self, seed: int, *, spectator: Spectator, **how: Any) -> None:
        super().__init__(seed, **how)
        self._spectator = spectator

    def add(self, **how: Any) -> Host:
        """Put a host in."""
        host = super().add(**how)
        self._spectator.came(host)
        return host

    def kill(self, host: Host) -> Saved:
        """Stop a host."""
        saved = super().kill(host)
        self._spectator.went(host)
        return saved

    def restart(self, host: Host, saved: Saved | None = None, *, id: Id | None = None) -> None:
        """Start a host that was killed."""
        super().restart(host, saved, id=id)
        self._spectator.came(host)
