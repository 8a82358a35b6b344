"""A door: a way by which programs reach a daemon, beside the control socket.

The daemon opens its doors, serves them, and closes them. It knows no more of them than this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dhtd.core.ids import Keyspace
from dhtd.service.method import Handler


@dataclass(frozen=True, slots=True)
class House:
    """The part of a daemon that lies behind its doors."""

    handler: Handler  # serves any method of the table
    keyspace: Keyspace  # of the daemon's network
    is_token: Callable[[str], bool]  # whether a text is the token of the owner
    note: Callable[[str], None]  # called with a description of a defect while its exception is handled


class Door(Protocol):
    """One door."""

    def open(self) -> list[str]:
        """Take the places where programs knock, and return them for people.

        Raises a `DhtdError` if one cannot be had; then none is taken.
        """

    async def serve(self, house: House) -> None:
        """Let programs in until cancelled."""

    def close(self) -> None:
        """Give the places back."""
