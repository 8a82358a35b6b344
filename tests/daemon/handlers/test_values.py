"""The methods about values: what a client is told, and what it is refused."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.core.codec import Codec
from dhtd.core.commands import Commands
from dhtd.core.events import Handle, ValuePut
from dhtd.core.ids import NATIVE, Id, packed
from dhtd.core.messages import ERROR_CAS, ERROR_PROTOCOL, ERROR_SEQ, Contact, Error
from dhtd.core.policy import DEFAULT
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.errors import (
    Conflict,
    InvalidValue,
    NewerValue,
    NoAnswer,
    NoPeers,
    NotFound,
    NotTracked,
    OtherValue,
    StateError,
)
from dhtd.service.entries import DeleteRequest, EnterRequest
from dhtd.service.info import CompleteRequest, InfoRequest
from dhtd.service.values import DropRequest, GetEvent, GetRequest, KeepRequest, PutRequest
from dhtd.wire.bep5 import Bep5Codec
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_values import key_of
from tests.daemon.handlers.small_daemon import Daemon, daemon, matches, two
from tests.daemon.wire import POLICY, Wire, joined
from tests.values import by_owner, forged, hold, squatting

TEXT = Immutable(b"hello")
ID = key_of(TEXT)
OWNER = by_owner(1).public_key
OWN = key_of(by_owner(1))


@pytest.mark.parametrize(("codec", "most"), [(NativeCodec(), 1_000), (Bep5Codec(), 996)])
async def test_a_value_has_so_many_bytes(codec: Codec, most: int, autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(codec), tmp_path) as one:
        assert (await one.ask(PutRequest(b"x" * most)))["kept"]
        for size in range(most + 1, 1_001):
            with pytest.raises(InvalidValue, match=f"^a value has {most} bytes at most here, and this one has {size}$"):
                await one.ask(PutRequest(b"x" * size))


@asynccontextmanager
async def three(directory: Path) -> AsyncIterator[tuple[Daemon, Daemon, Daemon]]:
    """Run three daemons that know each other."""
    wire = Wire()
    async with daemon(wire, directory) as one, daemon(wire, directory) as two, daemon(wire, directory) as third:
        for other in (two, third):
            await joined(other.driver, one.driver)
        await joined(two.driver, third.driver)
        yield one, two, third


def put_of(value: Value, **more: Any) -> PutRequest:
    """Return a request to put a value."""
    if isinstance(value, Mutable):
        return PutRequest(value.data, value.public_key, value.salt, value.seq, value.signature, **more)
    return PutRequest(value.data, **more)


def let_hold(one: Daemon, value: Value) -> None:
    """Have a node hold a value, as if somebody had put it."""
    hold(one.driver.node.values.held, key_of(value), value, one.driver.udp.listening()[0], one.driver.clock())


def held(one: Daemon) -> list[Value]:
    return [held.value for held in one.driver.node.values.held]


def kept(one: Daemon) -> dict[Id, Value]:
    return {own.key: own.value for own in one.driver.node.values.own}


def replica(one: Daemon) -> dict[str, str]:
    return {"node_id": one.id, "endpoint": one.endpoint}


def shown(value: Value) -> dict[str, Any]:
    """Return what clients see of a value with a text."""
    signed: dict[str, Any] = dict.fromkeys(("public_key", "seq", "salt", "signature"))
    if isinstance(value, Mutable):
        signed = {
            "public_key": value.public_key.hex(),
            "seq": value.seq,
            "salt": b64encode(value.salt).decode(),
            "signature": value.signature.hex(),
        }
    return {**signed, "data": b64encode(value.data).decode(), "text": value.data.decode(), "bencoded": False}


async def test_a_put_value_is_got_elsewhere(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with three(tmp_path) as (one, other, third):
        result = await one.ask(put_of(TEXT, name="note"))
        replicas = result.pop("replicas")
        assert sorted(map(str, replicas)) == sorted(map(str, (replica(other), replica(third))))
        assert POLICY.value_republish / 2 < result.pop("refresh_in_s") < POLICY.value_republish * 2
        whose = {"public_key": None, "seq": None, "salt": None}
        assert result == {"id": NATIVE.format(ID), **whose, "kept": True, "name": "note"}
        assert held(other) == held(third) == [TEXT]
        assert one.disk.values.keys() == {ID}
        got = await third.ask(GetRequest(ID))
        stats = got.pop("stats")
        assert stats["elapsed_ms"] >= 0
        assert got == {
            "id": NATIVE.format(ID),
            **shown(TEXT),
            "copies": [],
            "stale": [],
            "conflict": False,
            "local": True,
            "complete": True,
            "values": [],
        }
        [event] = third.events
        assert matches(event, GetEvent)
        assert {**event, "stats": None} == {**shown(TEXT), "stats": None}


async def test_bytes_that_are_no_text_have_none(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(put_of(Immutable(b"\xff\x00")))
        got = await other.ask(GetRequest(key_of(Immutable(b"\xff\x00"))))
        assert (got["data"], got["text"]) == ("/wA=", None)


async def test_a_value_can_be_put_and_not_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        result = await one.ask(put_of(TEXT, keep=False))
        assert (result["kept"], result["refresh_in_s"], len(result["replicas"])) == (False, None, 1)
        assert not kept(one)
        assert not one.disk.values
        assert held(other) == [TEXT]


async def test_a_signed_value_is_found_by_its_key(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with three(tmp_path) as (one, other, third):
        value = by_owner(7, salt=b"news")
        result = await one.ask(put_of(value))
        assert (result["public_key"], result["seq"], result["salt"]) == (OWNER.hex(), 7, "bmV3cw==")
        for request in (GetRequest(key_of(value)), GetRequest(public_key=OWNER, salt=b"news")):
            got = await third.ask(request)
            assert {key: got[key] for key in shown(value)} == shown(value)
            assert got["copies"] == [replica(other)] or replica(other) in got["copies"]
        assert (await third.ask(GetRequest(public_key=OWNER)))["data"] is None  # under another salt


async def test_a_squatter_is_no_value_of_the_key(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        squatter = squatting(by_owner(1))
        let_hold(other, squatter)
        assert (await one.ask(GetRequest(OWN)))["seq"] is None
        assert (await one.ask(GetRequest(public_key=OWNER)))["data"] is None


async def test_the_newest_is_got_and_brought_to_others(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with three(tmp_path) as (one, other, third):
        new, old = by_owner(2, b"new"), by_owner(1, b"old")
        let_hold(other, old)
        let_hold(third, new)
        got = await one.ask(GetRequest(OWN, all=True))
        assert (got["seq"], got["text"], got["conflict"], got["local"], got["complete"]) == (
            2,
            "new",
            False,
            False,
            True,
        )
        assert got["copies"] == [replica(third)]
        assert got["stale"] == [{**replica(other), "seq": 1}]
        assert got["values"] == [
            {**shown(new), "holders": [replica(third)]},
            {**shown(old), "holders": [replica(other)]},
        ]
        await trio.sleep(1)
        assert held(other) == [new]


async def test_two_values_with_one_seq_are_told(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with three(tmp_path) as (one, other, third):
        rivals = by_owner(1, b"a"), by_owner(1, b"b")
        let_hold(other, rivals[0])
        let_hold(third, rivals[1])
        got = await one.ask(GetRequest(public_key=OWNER, all=True))
        assert got["conflict"]
        assert got["stale"] == []
        assert {value["text"] for value in got["values"]} == {"a", "b"}
        assert got["values"][0]["text"] == got["text"]
        assert got["values"][0]["holders"] == got["copies"]
        got = await one.ask(GetRequest(public_key=OWNER))
        assert (got["conflict"], got["values"]) == (True, [])


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_conflict_with_the_own_copy_is_told(
    autojump_clock: MockClock, tmp_path: Path, *, is_kept: bool
) -> None:
    async with three(tmp_path) as (one, other, third):
        mine, theirs = by_owner(1, b"a"), by_owner(1, b"b")
        if is_kept:
            one.driver.node.values.keeping.restore(OWN, mine, 1, one.driver.clock())
        else:
            let_hold(one, mine)
        let_hold(other, theirs)
        let_hold(third, theirs)
        got = await one.ask(GetRequest(OWN, all=True))
        assert (got["text"], got["conflict"], got["local"]) == ("b", True, False)
        holders = {value["text"]: len(value["holders"]) for value in got["values"]}
        assert holders == {"a": 0, "b": 2}


async def test_the_first_value_may_end_a_get(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        let_hold(one, by_owner(1, b"old"))
        let_hold(other, by_owner(2, b"new"))
        got = await one.ask(GetRequest(OWN, first=True))
        assert (got["text"], got["complete"], got["copies"], got["local"]) == ("old", False, [], True)
        assert len(one.events) == 1
        let_hold(other, squatting(by_owner(1, salt=b"news")))
        assert not (await one.ask(GetRequest(key_of(by_owner(1, salt=b"news")), first=True)))["local"]
        assert (await one.ask(GetRequest(OWN)))["text"] == "new"
        assert not one.driver.node.handles.open


async def test_without_a_value_a_get_is_no_error(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        got = await one.ask(GetRequest(ID))
        assert (got["data"], got["text"], got["complete"], got["stats"]["responses"]) == (None, None, True, 1)
        assert one.events == []
    async with daemon(Wire(), tmp_path) as alone:
        with pytest.raises(NoPeers, match="this node knows no other node"):
            await alone.ask(GetRequest(ID))


@pytest.mark.parametrize("value", [forged(1), by_owner(1)._replace(seq=2), by_owner(1)._replace(salt=b"other")])
async def test_what_its_owner_has_not_signed_is_refused(
    value: Mutable, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with two(tmp_path) as (one, other):
        with pytest.raises(InvalidValue, match="the signature is not by the owner of the public key"):
            await one.ask(put_of(value))
        assert not kept(one)
        assert not held(other)


async def test_a_newer_value_elsewhere_refuses_a_put(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        let_hold(other, by_owner(5, b"new"))
        with pytest.raises(NewerValue, match="a newer value is there, with seq 5: get it, and put again"):
            await one.ask(put_of(by_owner(4)))
        assert kept(one) == {OWN: by_owner(5, b"new")}
        assert held(other) == [by_owner(5, b"new")]


async def test_other_holders_refuse_a_put(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        let_hold(other, by_owner(5))
        with pytest.raises(OtherValue, match=r"1 node refused it, and 0 took it: 'the seq is 5'. Get the value"):
            await one.ask(put_of(by_owner(6), cas=4, keep=False))
        with pytest.raises(
            Conflict, match=r"1 node refused it, and 0 took it: 'another value is held'. Put again, with"
        ):
            await one.ask(put_of(by_owner(5, b"other"), keep=False))
        assert held(other) == [by_owner(5)]


async def test_a_refused_cas_is_not_put_again(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What the holders refuse is not kept: a later put of this node, without the cas, would overwrite theirs."""
    async with two(tmp_path) as (one, other):
        let_hold(other, by_owner(5))
        with pytest.raises(OtherValue):
            await one.ask(put_of(by_owner(9), cas=4))
        assert not kept(one)
        await trio.sleep(DEFAULT.value_retry_max)
        assert held(other) == [by_owner(5)]


async def test_a_cas_that_fits_is_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        let_hold(other, by_owner(5))
        result = await one.ask(put_of(by_owner(9), cas=5))
        assert (result["kept"], len(result["replicas"])) == (True, 1)
        assert kept(one) == {OWN: by_owner(9)}
        assert held(other) == [by_owner(9)]


async def test_a_cas_is_on_disk_before_it_is_sent(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        let_hold(other, by_owner(5))
        one.disk.failing = True
        with pytest.raises(StateError):
            await one.ask(put_of(by_owner(9), cas=5))
        assert held(other) == [by_owner(5)]
        one.disk.failing = False
        result = await one.ask(put_of(by_owner(9), cas=5, name="news"))
        assert result["refresh_in_s"] > DEFAULT.value_retry_max  # it is placed, and need not be put again
        assert (result["name"], one.disk.values[OWN].value) == ("news", by_owner(9))


async def test_a_refused_cas_leaves_all_as_it_was(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Neither what this node holds for others changes, nor what it keeps, nor what the others hold."""
    async with two(tmp_path) as (one, other):
        let_hold(one, by_owner(5))
        let_hold(other, by_owner(6))
        with pytest.raises(OtherValue):
            await one.ask(put_of(by_owner(9), cas=5))
        assert (held(one), held(other), one.disk.values) == ([by_owner(5)], [by_owner(6)], {})
        assert (await one.ask(GetRequest(OWN)))["seq"] == 6
        await one.ask(put_of(by_owner(7)))
        let_hold(other, by_owner(8))
        with pytest.raises(OtherValue):
            await one.ask(put_of(by_owner(9), cas=7, name="other"))
        assert (kept(one), one.disk.values[OWN].value) == ({OWN: by_owner(7)}, by_owner(7))
        assert (one.driver.labels.value_name(OWN), one.disk.values[OWN].name) == (None, None)


async def test_a_cas_that_nobody_waits_for_is_dropped(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        await joined(one.driver, other.driver)
        wire.cut = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.ask, put_of(by_owner(9), cas=5))
            await wait_all_tasks_blocked()
            assert one.disk.values[OWN].value == by_owner(9)
            nursery.cancel_scope.cancel()
        assert (kept(one), one.disk.values) == ({}, {})


async def test_a_cas_that_stays_unanswered_is_not_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What is kept is put again without the cas, and would overwrite what that protects."""
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        await joined(one.driver, other.driver)
        let_hold(other, by_owner(5))
        wire.cut = True
        with pytest.raises(NoAnswer, match=r"in 0\.1 s, .* with seq 4, so it is not kept"):
            await one.ask(put_of(by_owner(9), cas=4, within_s=0.1))
        wire.cut = False
        await trio.sleep(DEFAULT.value_retry_max)
        assert (held(other), kept(one), one.disk.values) == ([by_owner(5)], {}, {})


async def test_a_disk_that_cannot_go_back_is_told(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        await joined(one.driver, other.driver)
        wire.cut = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.ask, put_of(by_owner(9), cas=5))
            await wait_all_tasks_blocked()
            one.disk.failing = True
            nursery.cancel_scope.cancel()
        assert one.driver.node.values.own.changed == {packed(OWN)}  # the saver tries again
        assert "a value that was not put is in it until then" in caplog.text


async def test_a_conflict_is_not_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        let_hold(other, by_owner(5))
        with pytest.raises(Conflict):
            await one.ask(put_of(by_owner(5, b"other")))
        assert not kept(one)
        assert held(other) == [by_owner(5)]


@pytest.mark.parametrize(
    ("took", "codes", "error"),
    [
        (8, (), None),
        (2, (ERROR_CAS,), None),
        (1, (ERROR_CAS,), OtherValue),
        (0, (ERROR_SEQ,), Conflict),
        (3, (ERROR_SEQ, ERROR_SEQ, ERROR_PROTOCOL), None),
        (2, (ERROR_SEQ, ERROR_SEQ), Conflict),
        (0, (ERROR_PROTOCOL,), None),
    ],
)
async def test_a_minority_refuses_nothing(
    took: int,
    codes: tuple[int, ...],
    error: type[Exception] | None,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
    tmp_path: Path,
) -> None:
    """Nodes that have missed the latest value refuse the next one, too."""
    async with daemon(Wire(), tmp_path) as one:
        node = one.driver.node

        def put(self: Commands, key: Id, value: Value, now: float, **more: Any) -> Handle:
            op = node.handles.begin()
            replicas = (Contact(node.own_id, one.driver.udp.listening()[0]),) * took
            node.handles.tell(
                ValuePut(op, key, replicas, 8, tuple(Error(b"", None, code, "no") for code in codes)), now
            )
            return op

        monkeypatch.setattr(Commands, "put", put, raising=False)
        if error is None:
            assert len((await one.ask(put_of(by_owner(1))))["replicas"]) == took
        else:
            with pytest.raises(error):
                await one.ask(put_of(by_owner(1)))


async def test_a_put_returns_in_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        await joined(one.driver, other.driver)
        wire.cut = True
        begun = trio.current_time()
        result = await one.ask(put_of(TEXT, within_s=0.5))
        assert trio.current_time() == begun + 0.5
        assert (result["replicas"], result["kept"]) == ([], True)
        assert kept(one) == {ID: TEXT}
        wire.cut = False
        await trio.sleep(3_600)
        assert held(other) == [TEXT]


async def test_a_put_that_is_deleted_says_so(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        await joined(one.driver, other.driver)
        wire.cut = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused, one)
            await wait_all_tasks_blocked()
            await one.ask(DropRequest(ID))
        assert not kept(one)


async def test_two_may_put_the_same_at_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _), trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(one.ask, put_of(TEXT))
            nursery.start_soon(one.ask, put_of(by_owner(2), cas=1))


async def refused(one: Daemon) -> None:
    with pytest.raises(NotTracked, match="deleted or replaced while it was being placed"):
        await one.ask(put_of(TEXT))


async def test_a_full_disk_refuses_a_value(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        one.disk.failing = True
        with pytest.raises(StateError):
            await one.ask(put_of(TEXT))
        assert not held(other)


async def test_the_value_of_another_is_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with three(tmp_path) as (one, other, third):
        value = by_owner(3, salt=b"news")
        let_hold(other, value)
        result = await one.ask(KeepRequest(public_key=OWNER, salt=b"news", name="news", min_replicas=2))
        assert (result["seq"], result["kept"], result["name"], len(result["replicas"])) == (3, True, "news", 2)
        assert kept(one) == {key_of(value): value}
        assert one.disk.values[key_of(value)].wanted == 2
        assert held(third) == [value]
        again = await one.ask(KeepRequest(key_of(value)))
        assert (again["kept"], again["name"]) == (True, "news")
        [row] = (await one.ask(InfoRequest("values")))["values"]
        assert row["name"] == "news"


async def test_nothing_cannot_be_kept(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        with pytest.raises(NoPeers):
            await one.ask(KeepRequest(ID))
        await joined(one.driver, other.driver)
        with pytest.raises(NotFound, match="no value is there to keep: 1 node near it answered"):
            await one.ask(KeepRequest(ID))
        wire.cut = True
        with pytest.raises(NoAnswer, match="nobody answers, so whether there is a value is not known"):
            await one.ask(KeepRequest(ID))
        assert not kept(one)


async def test_a_dropped_value_is_kept_no_longer(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(put_of(by_owner(1)))
        dropped = await one.ask(DropRequest(public_key=OWNER))
        assert dropped == {"id": NATIVE.format(OWN), "public_key": OWNER.hex(), "seq": 1, "salt": ""}
        assert not kept(one)
        assert not one.disk.values
        assert held(other) == [by_owner(1)]
        with pytest.raises(NotTracked, match="this node keeps no value under this ID"):
            await one.ask(DropRequest(OWN))


@pytest.mark.parametrize("has_entry", [True, False])
async def test_delete_takes_back_the_value_as_well(
    autojump_clock: MockClock, tmp_path: Path, *, has_entry: bool
) -> None:
    async with two(tmp_path) as (one, _):
        await one.ask(put_of(TEXT))
        if has_entry:
            await one.ask(EnterRequest(ID, 80, name="note"))
            by_port = await one.ask(DeleteRequest(ID, 80))
            assert (by_port["removed"], by_port["value"]) == ([80], False)
            await one.ask(EnterRequest(ID, 81, name="note"))
        deleted = await one.ask(DeleteRequest(ID))
        assert (deleted["removed"], deleted["value"]) == ([81] if has_entry else [], True)
        assert deleted["name"] == ("note" if has_entry else None)
        assert not kept(one)
        with pytest.raises(NotTracked, match="has not entered this ID, and keeps no value under it"):
            await one.ask(DeleteRequest(ID))
        with pytest.raises(NotTracked, match="has not entered this ID on port 80"):
            await one.ask(DeleteRequest(ID, 80))


async def test_the_ids_of_values_are_offered(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(put_of(TEXT))
        let_hold(one, by_owner(1))
        own, all_ = [NATIVE.format(ID)], sorted(map(NATIVE.format, (ID, OWN)))
        assert (await one.ask(CompleteRequest("own-id", "")))["words"] == own
        assert (await one.ask(CompleteRequest("value-id", "")))["words"] == all_
        assert (await one.ask(CompleteRequest("id", "")))["words"] == []
        assert (await other.ask(CompleteRequest("value-id", own[0][:5])))["words"] == own
        assert (await other.ask(CompleteRequest("own-id", "")))["words"] == []
