"""Own values: on disk before the node knows of them, and refused if they are not genuine or not the newest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.events import ValuePut
from dhtd.core.ids import Id, packed
from dhtd.core.records import DATA_MAX, SALT_MAX, SEQ_MAX, Immutable, Value
from dhtd.daemon.own_values import OwnValues
from dhtd.daemon.state.saved import SavedOwnValue
from dhtd.errors import Busy, Conflict, InvalidValue, NewerValue, OtherValue, StateError, TooManyValues
from dhtd.wire.native_values import key_of
from tests.daemon.handlers.small_daemon import NOWHERE, Daemon, daemon, two
from tests.daemon.wire import POLICY, Wire
from tests.values import by_owner, forged, hold, squatting

TEXT = Immutable(b"text")
OWN = key_of(by_owner(1))


def own_of(one: Daemon) -> OwnValues:
    return OwnValues(one.driver, one.disk)  # type: ignore[arg-type]  # it stands in for the saver


async def put(
    one: Daemon, value: Value, *, cas: int | None = None, keep: bool = True, name: str | None = None
) -> ValuePut:
    with await own_of(one).put(value, wanted=1, cas=cas, keep=keep, name=name) as publication:
        event = await publication.event()
    assert isinstance(event, ValuePut)
    return event


def kept(one: Daemon) -> dict[Id, Value]:
    return {own.key: own.value for own in one.driver.node.values.own}


async def test_a_put_value_is_kept_and_held(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        event = await put(one, TEXT, name="note")
        assert [contact.id for contact in event.replicas] == [other.driver.node.own_id]
        assert kept(one) == {key_of(TEXT): TEXT}
        assert one.disk.values == {key_of(TEXT): SavedOwnValue(key_of(TEXT), TEXT, 1, "note")}
        assert one.disk.node_had_values == [set()]  # it was on disk before
        assert [held.value for held in other.driver.node.values.held] == [TEXT]
        assert one.driver.labels.name(key_of(TEXT)) == "note"


async def test_a_value_can_be_put_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        assert len((await put(one, TEXT, keep=False)).replicas) == 1
        assert (kept(one), one.disk.values) == ({}, {})
        assert len(other.driver.node.values.held) == 1


async def test_what_replaces_a_kept_value_is_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        await put(one, by_owner(1), name="news")
        await put(one, by_owner(2), keep=False)
        assert kept(one) == {OWN: by_owner(2)}
        assert one.disk.values == {OWN: SavedOwnValue(OWN, by_owner(2), 1, "news")}
        await put(one, by_owner(3), name="latest")
        assert one.driver.labels.value_name(OWN) == "latest"


async def test_a_dropped_value_is_gone(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await put(one, TEXT, name="note")
        assert await own_of(one).drop(key_of(TEXT))
        assert (kept(one), one.disk.values, one.driver.labels.name(key_of(TEXT))) == ({}, {}, None)
        assert not await own_of(one).drop(key_of(TEXT))
        assert len(other.driver.node.values.held) == 1  # until it expires


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (Immutable(bytes(DATA_MAX + 1)), "a value has 1000 bytes at most, and this one 1001"),
        (by_owner(1, bytes(DATA_MAX + 1)), "a value has 1000 bytes at most"),
        (by_owner(1, salt=bytes(SALT_MAX + 1)), "a salt has 64 bytes at most, and this one 65"),
        (by_owner(SEQ_MAX + 1), "a seq is from 0 to"),
        (by_owner(-1), "a seq is from 0 to"),
        (forged(1), "the signature is not by the owner"),
    ],
)
async def test_what_is_no_value_is_not_kept(
    autojump_clock: MockClock, tmp_path: Path, value: Value, complaint: str
) -> None:
    async with daemon(Wire(), tmp_path) as one:
        with pytest.raises(InvalidValue, match=complaint):
            await put(one, value)
        assert (kept(one), one.disk.values) == ({}, {})


@pytest.mark.parametrize("is_own", [True, False])
async def test_a_value_that_is_not_newer_is_refused(autojump_clock: MockClock, tmp_path: Path, *, is_own: bool) -> None:
    async with daemon(Wire(), tmp_path) as one:
        known = by_owner(5)
        if is_own:
            await put(one, known)
        else:
            hold(one.driver.node.values.held, OWN, known, one.driver.udp.listening()[0], one.driver.clock())
        before = kept(one)
        with pytest.raises(NewerValue, match="a newer value: its seq is 5, and not 4"):
            await put(one, by_owner(4))
        with pytest.raises(NewerValue, match="a signed value under this ID"):
            await put(one, squatting(known))
        with pytest.raises(Conflict, match="another value with seq 5"):
            await put(one, by_owner(5, b"other"))
        with pytest.raises(OtherValue, match="has seq 4, and the one that this node knows has 5"):
            await put(one, by_owner(6), cas=4)
        assert kept(one) == before
        await put(one, known)  # again is no harm
        await put(one, by_owner(6), cas=5)
        assert kept(one) == {OWN: by_owner(6)}
        await put(one, by_owner(9), cas=8)  # which only other nodes can have
        assert kept(one) == {OWN: by_owner(9)}


async def test_a_signed_value_replaces_a_squatter(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        await put(one, squatting(by_owner(1)))
        await put(one, by_owner(1), cas=9)
        assert kept(one) == {OWN: by_owner(1)}


async def test_a_disk_that_refuses_keeps_the_old_value(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        await put(one, by_owner(1))
        one.disk.failing = True
        with pytest.raises(StateError):
            await put(one, by_owner(2))
        with pytest.raises(StateError):
            await own_of(one).drop(OWN)
        assert kept(one) == {OWN: by_owner(1)}


async def test_a_full_node_takes_no_further_value(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path, replace(POLICY, own_values=1, operations=1)) as one:
        await put(one, TEXT)
        with pytest.raises(TooManyValues):
            await put(one, Immutable(b"more"))
        one.driver.node.start([NOWHERE], one.driver.clock())  # so that the get waits
        with one.driver.begin(lambda now: one.driver.node.commands.get(OWN, now)), pytest.raises(Busy):
            await put(one, TEXT)
        assert set(one.disk.values) == {key_of(TEXT)}


async def test_a_client_that_leaves_splits_no_put(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        for steps in range(8):
            one.disk.steps = steps
            for patience in range(20):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(put, one, Immutable(b"%d %d" % (steps, patience)))
                        for _ in range(patience):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()
                assert {packed(key) for key in kept(one)} == {packed(key) for key in one.disk.values}
