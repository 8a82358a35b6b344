"""Own values change here: on disk and in the node together, one change at a time.

A change is on disk before the node knows of it, and before anybody hears of it. A caller that goes away in the middle
leaves no half of it.
"""

from __future__ import annotations

import logging

import trio

from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.records import DATA_MAX, SALT_MAX, SEQ_MAX, Immutable, Mutable, Value
from dhtd.daemon.driver import Driver, Ongoing
from dhtd.daemon.state.saved import SavedOwnValue
from dhtd.daemon.state.saver import Saver
from dhtd.errors import Conflict, InvalidValue, NewerValue, OtherValue, StateError

log = logging.getLogger("dhtd.state")


class OwnValues:
    """The values that one node keeps in the network, with their names."""

    def __init__(self, driver: Driver, saver: Saver) -> None:
        self._driver = driver
        self._node = driver.node
        self._labels = driver.labels
        self._saver = saver

    def key_of(self, value: Value) -> Id:
        """Return the key of a value, once it has proved itself; raise `InvalidValue`."""
        _check(value)
        if not self._node.codec.is_genuine(value):
            raise InvalidValue(
                "the signature is not by the owner of the public key, or is of another salt, seq or value"
            )
        return self._node.codec.key_of(value)

    async def put(self, value: Value, *, wanted: int, cas: int | None, keep: bool, name: str | None = None) -> Ongoing:
        """Keep a value, if that is said, and begin to publish it; return the publication, which ends with `ValuePut`.

        - A kept value is on disk when this returns. Without a name, its ID keeps the name that it has.
        - A value that takes the place of a kept one is kept in any case. But with a `cas`, other nodes say first
          whether it does: see `propose`.

        Raises `InvalidValue`; `OtherValue`, `NewerValue` or `Conflict` if this node itself knows better; `Busy`,
        `TooManyValues`, or `StateError` if the disk refuses.
        """
        key = self.key_of(value)
        async with self._saver.own_entries:
            self._check_known(key, value, cas)
            keep = keep or (cas is None and self._node.values.own.get(key) is not None)
            if keep:
                self._node.commands.check_value_room(key)
            self._node.commands.check_free()
            with trio.CancelScope(shield=True):
                if keep:
                    await self._write(key, value, wanted, name)
                    self._name(key, name)
                publication = self._begin(key, value, wanted=wanted, cas=cas, keep=keep)
        return publication

    async def propose(self, value: Value, *, wanted: int, cas: int, name: str | None = None) -> Ongoing:
        """Write a value to disk, and begin to publish it in place of the value with the seq `cas`.

        What this node keeps stays as it is until `adopt`. If other nodes refuse the value, `retract` it. Else this node
        would go on to put what they have refused, and overwrite what the `cas` protects. After a crash in between, the
        value is kept. Raises as `put` does.
        """
        key = self.key_of(value)
        async with self._saver.own_entries:
            self._check_known(key, value, cas)
            self._node.commands.check_value_room(key)
            self._node.commands.check_free()
            with trio.CancelScope(shield=True):
                await self._write(key, value, wanted, name)
                publication = self._begin(key, value, wanted=wanted, cas=cas, keep=False)
        return publication

    async def adopt(self, value: Value, replicas: tuple[Contact, ...], *, wanted: int, name: str | None = None) -> None:
        """Keep a proposed value, which these nodes have taken. Raises as `put` does."""
        key = self.key_of(value)
        async with self._saver.own_entries:
            self._check_known(key, value, None)
            self._node.commands.check_value_room(key)
            with trio.CancelScope(shield=True):
                await self._write(key, value, wanted, name)  # somebody may have changed it meanwhile
                self._name(key, name)
                self._node.commands.keep_value(key, value, replicas, self._driver.clock(), wanted=wanted)
        self._driver.flush()

    async def retract(self, key: Id) -> None:
        """Have the disk say again what this node keeps under `key`. If the disk refuses, the saver asks it again."""
        async with self._saver.own_entries:
            own = self._node.values.own.get(key)
            try:
                if own is None:
                    await self._saver.drop_value(key)
                else:
                    await self._write(key, own.value, own.wanted, None)
            except StateError as error:
                log.error("%s; a value that was not put is in it until then", error)
                self._node.values.own.changed.add(packed(key))

    async def _write(self, key: Id, value: Value, wanted: int, name: str | None) -> None:
        name = self._labels.value_name(key) if name is None else name
        await self._saver.keep_value(SavedOwnValue(key, value, wanted, name))

    def _name(self, key: Id, name: str | None) -> None:
        if name is not None:
            self._labels.name_value(key, name)

    def _begin(self, key: Id, value: Value, *, wanted: int, cas: int | None, keep: bool) -> Ongoing:
        put = self._node.commands.put
        return self._driver.begin(lambda now: put(key, value, now, wanted=wanted, cas=cas, keep=keep))

    async def drop(self, key: Id) -> bool:
        """Keep the value under `key` no longer; return whether one was kept. Its copies expire.

        Raises `StateError` if the disk refuses.
        """
        async with self._saver.own_entries:
            if self._node.values.own.get(key) is None:
                return False
            with trio.CancelScope(shield=True):
                await self._saver.drop_value(key)
                self._labels.name_value(key, None)
                self._node.commands.drop_value(key, self._driver.clock())
        self._driver.flush()
        return True

    def _check_known(self, key: Id, value: Value, cas: int | None) -> None:
        """Raise if this node itself knows a value that the new one does not replace.

        The value with the seq `cas` may be newer than the known one: then other nodes have it.
        """
        found = self._node.values.known.get(key, self._driver.clock())
        known = None if found is None else found[0]
        if not isinstance(known, Mutable) or known == value:
            return
        if cas is not None and cas < known.seq:
            raise OtherValue(f"the value to replace has seq {cas}, and the one that this node knows has {known.seq}")
        if isinstance(value, Immutable):
            raise NewerValue(
                "this node knows a signed value under this ID, which counts instead of one without signature"
            )
        if value.seq == known.seq:
            raise Conflict(f"this node knows another value with seq {known.seq}: a newer one has a higher seq")
        if value.seq < known.seq:
            raise NewerValue(f"this node knows a newer value: its seq is {known.seq}, and not {value.seq}")


def _check(value: Value) -> None:
    if len(value.data) > DATA_MAX:
        raise InvalidValue(f"a value has {DATA_MAX} bytes at most, and this one {len(value.data)}")
    if isinstance(value, Mutable):
        if len(value.salt) > SALT_MAX:
            raise InvalidValue(f"a salt has {SALT_MAX} bytes at most, and this one {len(value.salt)}")
        if not 0 <= value.seq <= SEQ_MAX:
            raise InvalidValue(f"a seq is from 0 to {SEQ_MAX}, and not {value.seq}")
