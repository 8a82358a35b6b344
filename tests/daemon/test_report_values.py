"""What info tells of values: own ones with their replicas, and those of others with their sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trio.testing import MockClock

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import VALUE_LASTS
from dhtd.core.policy import DEFAULT
from dhtd.core.records import Immutable, Value
from dhtd.daemon.own_values import OwnValues
from dhtd.daemon.report import SLICE
from dhtd.service.info import HeldValueInfo, InfoRequest, OwnValueInfo
from dhtd.wire.bep5 import Bep5Codec
from dhtd.wire.native_values import key_of
from tests.daemon.handlers.small_daemon import Daemon, daemon, matches, two
from tests.daemon.wire import Wire
from tests.values import by_owner, hold

TEXT, NEWS = Immutable(b"text"), by_owner(7, b"news")


async def put(one: Daemon, value: Value, wanted: int = 1, name: str | None = None) -> None:
    own = OwnValues(one.driver, one.disk)  # type: ignore[arg-type]  # it stands in for the saver
    with await own.put(value, wanted=wanted, cas=None, keep=True, name=name) as publication:
        await publication.event()


async def section(one: Daemon, name: str) -> Any:
    return (await one.ask(InfoRequest(name)))[name]


async def test_own_values_are_told_with_replicas(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await put(one, TEXT, name="note")
        await put(one, NEWS, wanted=3)
        text, news = await section(one, "values")
        assert matches(text, OwnValueInfo)
        assert text["refresh_in_s"] > 0.8 * DEFAULT.value_republish
        assert 0 < news["refresh_in_s"] <= DEFAULT.value_retry  # too few nodes hold it
        assert [{**told, "refresh_in_s": None} for told in (text, news)] == [
            {
                "id": NATIVE.format(key_of(TEXT)),
                "name": "note",
                "public_key": None,
                "seq": None,
                "bytes": 4,
                "replicas": 1,
                "min_replicas": 1,
                "refresh_in_s": None,
            },
            {
                "id": NATIVE.format(key_of(NEWS)),
                "name": None,
                "public_key": NEWS.public_key.hex(),
                "seq": 7,
                "bytes": 4,
                "replicas": 1,
                "min_replicas": 3,
                "refresh_in_s": None,
            },
        ]
        assert (await section(one, "node"))["values"] == {"own": 2, "unheld": 0, "held": 0, "held_bytes": 0}
        size = other.driver.node.values.held.size
        assert (await section(other, "node"))["values"] == {"own": 0, "unheld": 0, "held": 2, "held_bytes": size}
        assert size > len(TEXT.data + NEWS.data + NEWS.signature)


async def test_a_value_that_nobody_holds_is_counted(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        await put(one, TEXT)
        assert (await section(one, "node"))["values"]["unheld"] == 1
        assert [told["replicas"] for told in await section(one, "values")] == [0]


async def test_held_values_are_told_with_sources(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        hosts = {"10.0.0.9": "10.0.0.9", "2001:db8::9": "2001:db8::/64", "fd00::9": "fd00::9"}
        for number, host in enumerate(hosts):
            value = NEWS if number else TEXT
            hold(one.driver.node.values.held, Id(number), value, Endpoint.of(host, 80), one.driver.clock(), VALUE_LASTS)
        told = await section(one, "held_values")
        assert matches(told[0], HeldValueInfo)
        assert [each["source"] for each in told] == list(hosts.values())
        assert [(each["seq"], each["bytes"]) for each in told] == [(None, 4), (7, 4), (7, 4)]
        assert [each["public_key"] for each in told] == [None, NEWS.public_key.hex(), NEWS.public_key.hex()]
        assert VALUE_LASTS - 1 <= told[0]["expires_in_s"] <= VALUE_LASTS


async def test_wrapped_values_are_as_long_as_given(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(Bep5Codec()), tmp_path) as one:
        for number, data in enumerate((b"4:text", b"d1:ai1ee")):
            hold(
                one.driver.node.values.held, Id(number), Immutable(data), Endpoint.of("10.0.0.9", 80), 0.0, VALUE_LASTS
            )
            await put(one, Immutable(data))
        for name in ("values", "held_values"):
            assert sorted(each["bytes"] for each in await section(one, name)) == [4, 8]


async def test_long_lists_of_values_come_in_parts(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What goes while a client reads is left out, and what comes is not told."""
    async with daemon(Wire(), tmp_path) as one:
        held, own = one.driver.node.values.held, one.driver.node.values.own
        now, source = one.driver.clock(), Endpoint.of("10.0.0.9", 80)
        for number in range(SLICE + 2):
            hold(held, Id(number), TEXT, source, now, lasts=60 if number == SLICE else VALUE_LASTS)
            own.keep(Id(number), TEXT, 1)
        parts = {name: one.report.info(name) for name in ("values", "held_values")}
        first = {name: next(rows) for name, rows in parts.items()}
        assert {name: len(rows[name]) for name, rows in first.items()} == dict.fromkeys(parts, SLICE)  # type: ignore[literal-required]
        autojump_clock.jump(61)
        own.drop(Id(SLICE))
        held._drop(held.by_key[next(iter(reversed(held.by_key)))])
        last = {name: list(_rest(rows)) for name, rows in parts.items()}
        assert [each["id"] for each in last["values"]] == [NATIVE.format(Id(SLICE + 1))]
        assert last["held_values"] == []


def _rest(rows: Any) -> Any:
    try:
        while True:
            [(_, some)] = next(rows).items()
            yield from some
    except StopIteration as end:
        [(_, some)] = end.value.items()
        yield from some
