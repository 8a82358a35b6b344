"""A swarm of daemons on one loop of trio. Each is a whole one, as a guest: see `dhtd.daemon.guest`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import trio

from dhtd.api.names import Endpoint, Id
from dhtd.config.networks import NETWORKS
from dhtd.config.settings import SETTINGS, Settings
from dhtd.daemon.app import Ready
from dhtd.daemon.guest import Guest
from dhtd.errors import DhtdError, NotJoined

JOIN_WITHIN: Final = 30.0  # seconds; a fraction of one is usual
HOST: Final = "127.0.0.1"
BOOTSTRAP: Final = 8  # nodes by which one joins


class Member:
    """A node of the network. It keeps its ID, its endpoint and its socket over a restart."""

    def __init__(self, number: int, socket: Path) -> None:
        self.number = number
        self.socket = socket
        self.endpoint = Endpoint(HOST, 0)  # the kernel chooses the port
        self.guest: Guest | None = None
        self._id = ""

    @property
    def node_id(self) -> Id:
        """Its ID."""
        return Id(self._id)

    @property
    def is_running(self) -> bool:
        """Whether it runs: it was not killed or stopped."""
        return self.guest is not None and not self.guest.has_ended.is_set()

    def take(self, ready: Ready) -> None:
        """Take note of what a daemon announces."""
        self._id = ready.node_id
        self.endpoint = Endpoint.parse(ready.endpoints[0])

    def __repr__(self) -> str:
        return f"<Member {self.number} at {self.endpoint}{'' if self.is_running else ', not running'}>"


class Swarm:
    """The members of a network, with their files in one directory. All of it is for one loop."""

    def __init__(self, directory: Path, network: str, nursery: trio.Nursery) -> None:
        self.members: list[Member] = []
        self._directory = directory
        self._network = NETWORKS[network]
        self._nursery = nursery

    async def grow(self, count: int) -> list[Member]:
        """Start so many further members; return them once all members have joined."""
        numbers = range(len(self.members), len(self.members) + count)
        new = [Member(number, self._directory / f"{number}.sock") for number in numbers]
        self.members += new
        for member in new:  # one after another: the next ones join by those before
            await self._start(member)
        await self._all_joined()
        return new

    async def restart(self, member: Member) -> None:
        """Stop a member if it runs, and start it again; return once it has joined again."""
        await self.stop(member)
        await self._start(member)
        await self._all_joined()

    async def stop(self, member: Member) -> None:
        """Have a member say goodbye, save and end."""
        if member.guest is not None:
            member.guest.stop()
            await member.guest.has_ended.wait()

    async def kill(self, *members: Member) -> None:
        """End members at once, as `kill -9` does."""
        guests = [member.guest for member in members if member.guest is not None]
        for guest in guests:
            guest.vanish()
        for guest in guests:
            await guest.has_ended.wait()

    async def _start(self, member: Member) -> None:
        guest = member.guest = Guest(self._settings(member))
        announced = trio.Event()

        def announce(ready: Ready) -> None:
            member.take(ready)
            announced.set()

        self._nursery.start_soon(_live, guest, announce)
        await _either(announced.wait, guest.has_ended.wait)
        if guest.failure is not None:
            raise guest.failure

    async def _all_joined(self) -> None:
        """Wait until all that run have joined. A node that is alone has nobody to join."""
        guests = [member.guest for member in self.members if member.guest is not None and member.is_running]
        if len(guests) < 2:
            return
        with trio.move_on_after(JOIN_WITHIN):
            for guest in guests:
                await _either(guest.has_joined, guest.has_ended.wait)
            return
        raise NotJoined(f"a network on loopback was not joined within {JOIN_WITHIN:g} s")

    def _settings(self, member: Member) -> Settings:
        """Return settings of no file and no variable: whatever daemon the user has is another one."""
        others = [str(each.endpoint) for each in self.members if each is not member and each.is_running]
        values: dict[str, Any] = {setting.field: setting.default for setting in SETTINGS}
        values |= {key.replace("-", "_"): value for key, value in self._network.defaults.items()}
        values |= {
            "network": self._network.name,
            "bind": (HOST,),
            "port": member.endpoint.port,
            "bootstrap": tuple(others[:BOOTSTRAP]),
            "state": self._directory / f"{member.number}.db",
            "socket": member.socket,
        }
        return Settings(**values, origins={})


async def _live(guest: Guest, announce: Callable[[Ready], None]) -> None:
    with suppress(DhtdError):  # it is the guest's `failure`
        await guest.run(announce)


async def _either(*waits: Callable[[], Awaitable[object]]) -> None:
    """Return as soon as one of them returns."""
    async with trio.open_nursery() as nursery:

        async def wait(for_it: Callable[[], Awaitable[object]]) -> None:
            await for_it()
            nursery.cancel_scope.cancel()

        for each in waits:
            nursery.start_soon(wait, each)
