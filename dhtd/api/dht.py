"""The methods of a daemon, for programs. Each has its row in the table `dhtd.service.methods`.

It waits by `Waits` alone, so it serves asynchronous clients and blocking ones. Results are imported with the first
request, while the daemon works.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dhtd.api.asking import Asker
from dhtd.api.lookup import Lookup
from dhtd.api.names import Endpoint, Id, PublicKey, Target, check_target
from dhtd.api.serving import Serving
from dhtd.api.watch import Watch
from dhtd.control.frames import batches
from dhtd.errors import DhtdError, NetworkFailure, NoAnswer, NotFound

if TYPE_CHECKING:
    from dhtd.api.keys import SigningKey
    from dhtd.api.results import (
        Bootstrapped,
        Deletion,
        Diagnosis,
        Dropped,
        Entry,
        FoundNodes,
        FoundValue,
        Health,
        Node,
        Placed,
        Pong,
        Status,
        Stored,
        Value,
    )
    from dhtd.service.info import InfoResult


class Dht(Asker):
    """A daemon, for as long as an `async with` block runs. `dhtd.connect` makes it.

    Any number of tasks may use it. 16 of their requests are under way at once, and the others wait for their turn. If
    the daemon goes away, for example to be restarted, requests wait for it, up to the timeout. Errors are the classes
    in `dhtd.errors`.
    """

    # What a machine serves

    def lookup(self, target: Target, *, first: bool = False) -> Lookup:
        """Look up who serves a name or an ID: iterate over the endpoints, as they come in.

        With `first`, the lookup ends with the first answer that has an endpoint. Raises `NoAnswer` or `NoPeers` where
        nobody knows, because nobody answers.
        """
        return Lookup(self, check_target(target), first=first)

    def serve(self, target: Target, port: int, *, min_replicas: int = 0) -> Serving:
        """Serve a name or an ID on a port of this machine, for as long as the block runs.

        The block has the entry. It is withdrawn at the end of the block, and when the program dies. If the daemon is
        restarted meanwhile, it is entered again. With `min_replicas`, a node without contacts waits for one.
        """
        return Serving(self, check_target(target), port, min_replicas=min_replicas)

    def watch(self, *targets: Target) -> Watch:
        """Watch who serves names or IDs: iterate over the changes. The first one of each ID comes at once.

        One watch of several IDs takes one connection, of which the daemon allows 48 that last.
        """
        if not targets:
            raise TypeError("watch() needs a name or an ID at least")
        return Watch(self, [check_target(target) for target in targets])

    async def enter(
        self,
        target: Target,
        port: int,
        *,
        check: str | None = None,
        every: float | None = None,
        pid: int | None = None,
        wait: bool = True,
        min_replicas: int = 0,
    ) -> Entry:
        """Enter that this machine serves a name or an ID, until `delete`. The entry is on disk when this returns.

        It is published while the `check` passes that is made `every` so many seconds, or while the process `pid` is
        there. With `wait`, return once other nodes hold it. Raises `InvalidCheck`, `InvalidPid`, `TooManyEntries`.
        """
        from dhtd.api.results import Entry  # noqa: PLC0415

        key = self.key(check_target(target))
        params = {"id": key.id, "name": key.name, "port": port, "check": check, "every": every, "pid": pid}
        return await self.ask(Entry, "enter", {**params, **self.patience(wait=wait, min_replicas=min_replicas)})

    async def enter_many(
        self, entries: Iterable[tuple[Target, int]], *, wait: bool = True, min_replicas: int = 0
    ) -> tuple[Entry, ...]:
        """Enter many pairs of a name or an ID and a port. What fits into one request is entered as one, all or none."""
        from dhtd.api.reading import read  # noqa: PLC0415
        from dhtd.api.results import Entry  # noqa: PLC0415

        wanted = []
        for target, port in entries:
            key = self.key(check_target(target))
            wanted.append({"id": key.id, "port": port, **({"name": key.name} if key.name else {})})
        found: list[Entry] = []
        for batch in batches(wanted):
            params = {"entries": batch, **self.patience(wait=wait, min_replicas=min_replicas)}
            *events, _ = await self.answers("enter-many", params, runs_long=True)
            found += [read(Entry, event) for event in events]
        return tuple(found)

    async def delete(self, target: Target, port: int | None = None) -> Deletion:
        """Delete the entries of a name or an ID, or that of one port, and the value that is kept under it.

        Raises `NotTracked` if there is none.
        """
        from dhtd.api.results import Deletion  # noqa: PLC0415

        key = self.key(check_target(target))
        return await self.ask(Deletion, "delete", {"id": key.id, "name": key.name, "port": port}, is_repeatable=False)

    # Values

    async def get(self, place: Id | PublicKey, *, salt: bytes | None = None, first: bool = False) -> Value:
        """Get the newest value under an ID, or of a public key and a salt. With `first`, the first that is found.

        Raises `NotFound`, and `NoAnswer` or `NoPeers` where nobody knows, because nobody answers.
        """
        from dhtd.api.reading import read  # noqa: PLC0415
        from dhtd.api.results import Value  # noqa: PLC0415

        body = await self.answer("get", {**_place(place, salt), "first": first or None})
        if body.get("data") is None:
            raise _no_value(body)
        return read(Value, body)

    async def put(
        self,
        data: bytes,
        *,
        key: SigningKey | None = None,
        salt: bytes = b"",
        seq: int | None = None,
        cas: int | None = None,
        keep: bool = True,
        name: str | None = None,
        min_replicas: int = 0,
    ) -> Placed:
        """Store a value of up to 1000 bytes in the network, and keep it there, unless `keep` is false.

        With a `key` it is signed: the next value of the same key and `salt` takes its place. Its number `seq` is by
        default higher than that of the value that is there. With `cas`, it replaces only the value of that number.
        Raises `InvalidValue`, `NewerValue`, `OtherValue`, `Conflict`, `TooManyValues`.
        """
        from dhtd.api.results import Placed  # noqa: PLC0415

        if not isinstance(data, bytes):
            raise TypeError(f"the data of a value are bytes, not {type(data).__name__}")
        params: dict[str, object] = {"data": _base64(data), "name": name, "keep": keep}
        if key is not None:
            if seq is None:
                seq, cas = await self._next_seq(key.public_key, salt, cas)
            signature = key.sign(data, salt, seq).hex()
            params |= {"public_key": str(key.public_key), "salt": _base64(salt), "seq": seq, "cas": cas}
            params["signature"] = signature
        elif salt or seq is not None or cas is not None:
            raise TypeError("salt, seq and cas are for a signed value: give its key=")
        return await self.ask(
            Placed, "put", {**params, **self.patience(min_replicas=min_replicas)}, is_repeatable=False
        )

    async def keep(
        self, place: Id | PublicKey, *, salt: bytes | None = None, name: str | None = None, min_replicas: int = 0
    ) -> Placed:
        """Get a value of anybody, and keep it in the network from now on."""
        from dhtd.api.results import Placed  # noqa: PLC0415

        more = self.patience(min_replicas=min_replicas)
        return await self.ask(Placed, "keep", {**_place(place, salt), "name": name, **more})

    async def drop(self, place: Id | PublicKey, *, salt: bytes | None = None) -> Dropped:
        """Keep a value no longer; its copies expire. Raises `NotTracked` if it is not kept."""
        from dhtd.api.results import Dropped  # noqa: PLC0415

        return await self.ask(Dropped, "drop", _place(place, salt), is_repeatable=False)

    # Other nodes

    async def ping(self, endpoint: Endpoint | str) -> Pong:
        """Ask a node whether it is there; raise `NoPong` if it does not answer. The host may be a name."""
        from dhtd.api.results import Pong  # noqa: PLC0415

        return await self.ask(Pong, "ping", {"endpoint": str(endpoint)})

    async def find_node(self, endpoint: Endpoint | str, target: Target) -> FoundNodes:
        """Ask one node for the nodes that it knows nearest to an ID."""
        from dhtd.api.results import FoundNodes  # noqa: PLC0415

        return await self.ask(FoundNodes, "find-node", self._at(endpoint, target))

    async def find_value(self, endpoint: Endpoint | str, target: Target) -> FoundValue:
        """Ask one node who serves an ID."""
        from dhtd.api.results import FoundValue  # noqa: PLC0415

        return await self.ask(FoundValue, "find-value", self._at(endpoint, target))

    async def store(self, endpoint: Endpoint | str, target: Target, port: int, token: str) -> Stored:
        """Ask one node, once, to hold the entry that this machine serves an ID. `find_value` gives the token."""
        from dhtd.api.results import Stored  # noqa: PLC0415

        params = {**self._at(endpoint, target), "port": port, "token": token}
        return await self.ask(Stored, "store", params, is_repeatable=False)

    async def bootstrap(self, *endpoints: Endpoint | str) -> Bootstrapped:
        """Join the network through these nodes; raise `NoPeers` if none answers."""
        from dhtd.api.results import Bootstrapped  # noqa: PLC0415

        return await self.ask(Bootstrapped, "bootstrap", {"endpoints": [str(each) for each in endpoints]})

    # This node

    async def node_id(self) -> Node:
        """Return the ID of this node, and where others reach it."""
        from dhtd.api.results import Node  # noqa: PLC0415

        return await self.ask(Node, "node-id", {})

    async def status(self) -> Status:
        """Return whether this node is in its network."""
        from dhtd.api.results import Status  # noqa: PLC0415

        return await self.ask(Status, "status", {})

    async def health(self) -> Health:
        """Return whether other nodes find what this node enters. The first time, this waits for the answer."""
        from dhtd.api.results import Health  # noqa: PLC0415

        return await self.ask(Health, "health", {"within_s": self.answer_within})

    async def doctor(self, target: Target | None = None) -> Diagnosis:
        """Return what is wrong with this node, or with a name or an ID, and the command that mends it."""
        from dhtd.api.reading import read  # noqa: PLC0415
        from dhtd.api.results import Diagnosis  # noqa: PLC0415

        key = None if target is None else self.key(check_target(target))
        params = {} if key is None else {"id": key.id, "name": key.name}
        *_, body = await self.answers("doctor", params, runs_long=True)
        return read(Diagnosis, body)

    async def info(self, section: str | None = None) -> InfoResult:
        """Return the inside of the daemon, or one section of it, as `dht info --json` prints it."""
        from dhtd.service.info import whole  # noqa: PLC0415

        return whole(await self.answers("info", {"section": section}))  # type: ignore[arg-type]  # as the daemon says

    async def _next_seq(self, key: PublicKey, salt: bytes, cas: int | None) -> tuple[int, int | None]:
        """Return the number of the next value of a key, and that of the value that it replaces."""
        from dhtd.api.values import next_seq  # noqa: PLC0415

        try:
            known = (await self.get(key, salt=salt)).seq
        except (NotFound, NetworkFailure):  # a node that is alone keeps it all the same, and puts it later
            known = None
        return next_seq(known, cas, time.time_ns() // 1000), known

    def _at(self, endpoint: Endpoint | str, target: Target) -> dict[str, object]:
        return {"endpoint": str(endpoint), "id": self.key(check_target(target)).id}


def _place(place: Id | PublicKey, salt: bytes | None) -> dict[str, object]:
    """Return where a value stands."""
    if isinstance(place, PublicKey):
        return {"public_key": place.hex, "salt": None if salt is None else _base64(salt)}
    if not isinstance(place, Id):
        raise TypeError(f"a value is found by a dhtd.Id or a dhtd.PublicKey, not by {type(place).__name__}")
    return {"id": place.hex, "salt": None if salt is None else _base64(salt)}


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _no_value(body: Mapping[str, Any]) -> DhtdError:
    """Return why there is no value: an outage is no "no"."""
    answered, silent = body["stats"]["responses"], body["stats"]["timeouts"]
    if not answered:
        return NoAnswer(f"nobody answers, so whether there is a value is not known: {silent} nodes near it were asked")
    if body.get("complete"):
        return NotFound(f"no value is there: {answered} nodes near it answered")
    return NotFound("no value was found, but not all nodes that may hold one were heard")
