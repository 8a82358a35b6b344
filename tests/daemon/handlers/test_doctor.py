"""The method doctor: faults that are made on a wire in memory, and healthy nodes that must not be called ill."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.names import id_of_name
from dhtd.core.records import Immutable, Peer, RecordKey
from dhtd.core.serving.gate import Serves
from dhtd.daemon.doctor.finding import bad, good, worst
from dhtd.daemon.doctor.machine import Echo
from dhtd.daemon.sockets.unsealing import STRANGERS_MAX
from dhtd.errors import Busy
from dhtd.service.checks import TcpCheck, parse_check
from dhtd.service.doctor import FAULTS, DoctorRequest, DoctorStep
from dhtd.service.entries import EnterRequest
from dhtd.wire.bep5 import Bep5Codec
from dhtd.wire.network_key import NetworkKey
from dhtd.wire.sealed import MAGIC, Seal
from tests.daemon.handlers.small_daemon import KEY, NOBODY, Daemon, daemon, matches, resolving, two
from tests.daemon.wire import POLICY, Sealing, Wire, end_of, joined
from tests.records import hold_peer

WIKI = id_of_name("wiki", NATIVE)
HOUR = 3600.0
EPOCH = 1_000_000.0  # what the clocks say at the start


async def diagnose(one: Daemon, key: Id | None = None, name: str | None = None) -> dict[str, Any]:
    """Ask the doctor, and check that its steps were told one by one."""
    one.events.clear()
    told: dict[str, Any] = await one.ask(DoctorRequest(key, name))
    assert one.events == told["steps"]
    assert all(matches(step, DoctorStep) for step in told["steps"])
    assert told["healthy"] == (told["fault"] is None) == (told["command"] is None)
    assert all((step["good"] is False) == (step["fault"] is not None) for step in told["steps"])
    return told


async def fault_of(one: Daemon, key: Id | None = None, name: str | None = None) -> tuple[str, str, str]:
    told = await diagnose(one, key, name)
    return told["fault"], told["verdict"], told["command"]


@asynccontextmanager
async def serving(directory: Path, **options: Any) -> AsyncIterator[tuple[Daemon, Daemon]]:
    """Yield a daemon that serves the wiki on port 80, and another one that holds its entry."""
    async with two(directory) as (one, other):
        one.machine.serves(80, one.at[0])
        await one.ask(EnterRequest(WIKI, 80, name="wiki", **options))
        yield one, other


# Healthy nodes


async def test_a_served_entry_is_well(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        told = await diagnose(one, WIKI, "wiki")
        assert told["verdict"] == f"nothing is wrong: 1 node holds wiki, and {one.at[0]}:80 answers"
        assert (told["id"], told["name"], told["served"]) == (NATIVE.format(WIKI), "wiki", [])
        assert one.machine.tried == {Endpoint.of(one.at[0], 80)}
        assert "1 entry of this machine is held" in (await diagnose(one))["verdict"]


async def test_a_service_of_udp_is_well(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        for on in ("0.0.0.0", "::", one.at[0]):
            one.machine.open.clear()
            one.machine.serves(80, on=on, protocol="udp")
            assert (await diagnose(one, WIKI))["verdict"].endswith(":80, where a program waits for UDP")


async def test_a_port_that_the_kernel_forwards_is_well(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        one.machine.bound[80] = frozenset()  # as for a container without a proxy
        assert (await diagnose(one, WIKI))["healthy"]


async def test_where_sockets_are_not_listed_nothing_is_said(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        one.machine.bound[80] = None
        assert (await diagnose(one, WIKI))["healthy"]
        one.machine.open.clear()
        told = await diagnose(one, WIKI)
        assert told["healthy"]
        assert "UDP was not tried" in told["verdict"]


async def test_without_entries_the_canary_is_looked_for(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _), trio.open_nursery() as nursery:
        nursery.start_soon(one.handler.canary.run)
        verdict = (await diagnose(one))["verdict"]
        assert verdict.endswith("1 other node gave what this node has entered, as a test")
        nursery.cancel_scope.cancel()


async def test_a_canary_that_is_not_looked_for_is_no_fault(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        assert "is not known yet" in (await diagnose(one))["verdict"]


async def test_the_entry_of_another_machine_is_well(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, other):
        told = await diagnose(other, WIKI, "wiki")
        assert told["verdict"] == "nothing is wrong: 1 node holds wiki, which another node serves"
        assert told["served"] == [f"{one.at[0]}:80"]
        assert other.machine.tried == set()  # anybody can name an endpoint


async def test_the_same_entry_of_two_machines_is_well(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, other):
        other.machine.serves(80, other.at[0])
        await other.ask(EnterRequest(WIKI, 80, name="wiki"))
        for each in (one, other):
            assert (await diagnose(each, WIKI))["verdict"].endswith(f"wiki, and {each.at[0]}:80 answers")


async def test_an_own_value_is_well(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        value = Immutable(b"see you at noon")
        key = one.driver.node.codec.key_of(value)
        one.driver.node.commands.keep_value(key, value, (), one.driver.clock(), wanted=0)
        assert "is a value that this node keeps, on 0 nodes" in (await diagnose(one, key))["verdict"]


async def test_only_some_of_many_ids_are_looked_at(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        one.machine.serves(80, one.at[0])
        for number in range(10):
            await one.ask(EnterRequest(Id(number + 1), 80))
        told = await diagnose(one)
        assert told["healthy"]
        assert "8 of 10 IDs of this machine were looked at" in [step["message"] for step in told["steps"]]


# The network


async def test_a_node_without_anybody_is_alone(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        fault, verdict, command = await fault_of(one)
        assert (fault, command) == ("alone", "dht bootstrap HOST:PORT")
        assert verdict.endswith(f"nothing is wrong: let the others join through it, by --bootstrap {one.endpoint}")
        one.hosts.append(one.endpoint)
        assert (await fault_of(one))[:2] == (
            "alone",
            f"this node is alone: {one.endpoint}, through which it is to join, is this node itself",
        )
        assert one.machine.probed == []


async def test_a_name_that_does_not_resolve_is_named(autojump_clock: MockClock, tmp_path: Path) -> None:
    resolving()
    async with daemon(Wire(), tmp_path) as one:
        one.hosts.append("nowhere:1729")
        fault, verdict, _ = await fault_of(one, KEY)
        assert fault == "bootstrap-unresolvable"
        assert "cannot resolve 'nowhere'" in verdict


@pytest.mark.parametrize(
    ("echo", "fault", "words", "command"),
    [
        (Echo.SILENCE, "bootstrap-silent", "a firewall drops UDP, the address is wrong", "dht bootstrap HOST:PORT"),
        (Echo.CLOSED, "bootstrap-silent", "the port is closed there", "dht bootstrap HOST:PORT"),
        (Echo.NO_MACHINE, "bootstrap-silent", "no machine is at 10.9.9.9: it is off", "ping -c 3 10.9.9.9"),
        (Echo.NO_ROUTE, "no-route", "its network is down, or has no route there", "ip route get 10.9.9.9"),
        (Echo.ANSWER, "bootstrap-silent", "a firewall drops what comes back", "dht stop; dhtd start --port 1730"),
    ],
)
async def test_a_silent_host_is_told_by_its_echo(
    echo: Echo, fault: str, words: str, command: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.hosts.append(f"{NOBODY[0]}:{NOBODY[1]}")
        one.machine.echoes[Endpoint.of(*NOBODY)] = echo
        found = await fault_of(one)
        assert (found[0], found[2]) == (fault, command)
        assert words in found[1]


async def test_the_usual_port_of_a_host_is_tried(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.hosts.append("10.9.9.9:1792")
        one.machine.echoes = {Endpoint.of("10.9.9.9", 1792): Echo.CLOSED, Endpoint.of("10.9.9.9", 1729): Echo.ANSWER}
        fault, verdict, command = await fault_of(one)
        assert (fault, command) == ("bootstrap-silent", "dht bootstrap 10.9.9.9:1729")
        assert "but one answers at 10.9.9.9:1729" in verdict


async def test_a_socket_on_loopback_reaches_no_machine(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one:
        end_of(one.driver).endpoint = Endpoint.of("127.0.0.1", 1729)
        one.hosts.append("10.9.9.9:1729")
        fault, verdict, command = await fault_of(one)
        assert (fault, command) == ("bound-to-loopback", "dht stop; dhtd start --bootstrap 10.9.9.9:1729")
        assert "listens on 127.0.0.1 only" in verdict


async def test_a_host_that_answers_now_is_joined(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        one.hosts.append(other.endpoint)
        told = await diagnose(one)
        assert told["healthy"]
        assert f"{other.endpoint} answers" in [step["message"] for step in told["steps"]]


async def test_a_node_that_is_cut_off_says_so(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        end_of(one.driver)._wire.cut = True
        await trio.sleep(600)
        fault, verdict, _ = await fault_of(one, WIKI)
        assert fault == "cut-off"
        assert verdict.startswith("this node is cut off: nobody answers at 10.0.0.2:1729: ")


# Keys and clocks


def sealing(secret: bytes, since: float = 0.0) -> Sealing:
    return lambda own_id: Seal([NetworkKey(secret)], own_id, random.Random(1), since)


@asynccontextmanager
async def sealed(directory: Path, one: bytes | None, other: bytes | None) -> AsyncIterator[tuple[Daemon, Daemon]]:
    """Yield two daemons with these keys; each is to join through the other."""
    wire, since = Wire(), EPOCH - 2 * HOUR
    seals = [None if secret is None else sealing(secret, since) for secret in (one, other)]
    async with daemon(wire, directory, seal=seals[0]) as first, daemon(wire, directory, seal=seals[1]) as second:
        for each in (first, second):
            each.driver.wall = lambda: trio.current_time() + EPOCH
        first.hosts.append(second.endpoint)
        second.hosts.append(first.endpoint)
        yield first, second


async def test_two_nodes_with_one_key_are_well(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with sealed(tmp_path, b"k" * 32, b"k" * 32) as (one, other):
        assert (await diagnose(one))["healthy"]
        assert (await diagnose(other))["healthy"]


async def test_datagrams_that_do_not_open_tell_of_a_key(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with sealed(tmp_path, b"k" * 32, b"o" * 32) as (one, other):
        assert (await fault_of(one))[0] == "bootstrap-silent"  # nothing has come yet, and both causes are named
        fault, verdict, command = await fault_of(other)
        assert (fault, command) == ("other-key", "dht stop; dhtd start --network-key FILE")
        assert verdict.startswith(f"{one.endpoint} writes to this node without its network key")


async def test_a_host_without_a_key_is_found_out(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with sealed(tmp_path, b"k" * 32, None) as (one, other):
        one.machine.echoes[Endpoint.of(*other.at)] = Echo.ANSWER
        fault, verdict, _ = await fault_of(one)
        assert fault == "other-key"
        assert verdict == f"this node has a network key, and {other.endpoint} has none: they are two networks"
        fault, verdict, _ = await fault_of(other)
        assert fault == "bootstrap-silent"
        assert "the node there has a network key, and this one none" in verdict


async def test_noise_of_strangers_is_no_other_key(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with sealed(tmp_path, b"k" * 32, b"k" * 32) as (one, other):
        assert (await diagnose(one))["healthy"]
        end_of(one.driver).deliver(b"noise", Endpoint.of(*NOBODY))
        await trio.sleep(1)
        assert one.driver.udp.counters.unopened == 1
        assert (await diagnose(one))["healthy"]
        end_of(one.driver)._wire.cut = True
        await trio.sleep(300)
        end_of(one.driver).deliver(b"noise", Endpoint.of(*NOBODY))
        fault, verdict, _ = await fault_of(one)
        assert fault == "bootstrap-silent"
        assert verdict.startswith(f"nobody answers at {other.endpoint}")


async def test_the_senders_of_noise_are_remembered_up_to_a_cap(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with sealed(tmp_path, b"k" * 32, b"k" * 32) as (one, _):
        one.hosts.clear()
        for number in range(40):
            end_of(one.driver).deliver(b"noise", Endpoint.of(f"10.9.8.{number}", 1729))
        await trio.sleep(1)
        assert len(one.driver.unsealing.strangers) == STRANGERS_MAX
        assert Endpoint.of("10.9.8.39", 1729) in one.driver.unsealing.strangers
        assert (await fault_of(one))[0] == "other-key"  # a node that is alone counts all
        await trio.sleep(HOUR)
        assert (await fault_of(one))[0] == "alone"


async def test_only_bootstrap_hosts_get_pings_without_seals(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with sealed(tmp_path, b"k" * 32, b"k" * 32) as (one, other):
        await joined(one.driver, other.driver)
        one.hosts.clear()
        end_of(one.driver)._wire.cut = True
        await trio.sleep(600)
        assert (await fault_of(one))[0] == "cut-off"
        one.machine.echoes[Endpoint.of(*other.at)] = Echo.ANSWER
        fault, verdict, _ = await fault_of(one)
        assert fault == "cut-off"
        answers = f"{other.endpoint} answers another port of this machine, but not {one.endpoint}: "
        assert verdict.startswith(f"this node is cut off: {answers}")
        assert {ping[:4] for _, ping in one.machine.probed} == {MAGIC}
        one.hosts.append(other.endpoint)
        await diagnose(one)
        assert one.machine.probed[-1][1][:4] != MAGIC


@pytest.mark.parametrize(("ahead", "words"), [(HOUR, "1 h ahead"), (-HOUR, "1 h ago"), (400.0, "7 min ahead")])
async def test_a_clock_that_is_off_is_named(
    ahead: float, words: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with sealed(tmp_path, b"k" * 32, b"k" * 32) as (one, other):
        other.driver.wall = lambda: trio.current_time() + EPOCH + ahead
        fault, verdict, command = await fault_of(other)
        assert fault == "bootstrap-silent"
        assert "a clock that is more than five minutes off. Ask there as well" in verdict
        fault, verdict, command = await fault_of(one)
        assert (fault, command) == ("clock", "timedatectl set-ntp true")
        assert f"come with a time {words} by this clock" in verdict


# Entries


async def test_a_port_without_a_service_is_named(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        one.machine.bound.clear()
        one.machine.open.clear()
        for found in (await fault_of(one, WIKI), await fault_of(one)):
            assert (found[0], found[2]) == ("not-listening", "dht delete wiki 80")
            assert found[1].startswith("nothing listens on port 80 of this machine, with which wiki is entered")


async def test_a_declared_entry_is_taken_out_of_its_file(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        one.machine.bound.clear()
        one.machine.open.clear()
        one.driver.labels.declared = {RecordKey.of(WIKI, Peer.on(80)): "/etc/dhtd/my entries/wiki"}
        fault, verdict, command = await fault_of(one, WIKI)
        assert (fault, command) == ("not-listening", "${EDITOR:-vi} '/etc/dhtd/my entries/wiki'")
        assert verdict.endswith("or take the entry out of /etc/dhtd/my entries/wiki")


@pytest.mark.parametrize("on", ["127.0.0.1", "::1", "10.5.5.5"])
async def test_a_service_on_another_address_is_named(on: str, autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        one.machine.open.clear()
        one.machine.serves(80, on=on)
        fault, verdict, command = await fault_of(one, WIKI)
        assert (fault, command) == ("bound-elsewhere", "ss -lntup 'sport = :80'")
        assert f"holds wiki at {one.at[0]}:80, but its service listens on {on} only" in verdict


async def test_a_service_that_accepts_nobody_is_named(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        one.machine.open.clear()
        fault, verdict, _ = await fault_of(one, WIKI)
        assert fault == "not-listening"
        assert "where its service does not accept connections (Connection refused)" in verdict


@pytest.mark.parametrize(
    ("check", "command"),
    [
        ("tcp", "ss -lntp 'sport = :80'"),
        ("http://127.0.0.1:80/health", "curl -v http://127.0.0.1:80/health"),
        ("exec pg_isready -q", "pg_isready -q"),
    ],
)
async def test_a_check_that_fails_is_named(check: str, command: str, autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        one.service.is_up = False
        await one.ask(EnterRequest(WIKI, 80, name="wiki", check=parse_check(check), every=1.0))
        await trio.sleep(10)
        assert await fault_of(one, WIKI) == (
            "check-fails",
            f"wiki on port 80 is not published, because of its check ({check}): down",
            command,
        )


async def test_an_entry_that_nobody_holds_is_named(autojump_clock: MockClock, tmp_path: Path) -> None:
    for options, command in (
        ({}, "dht enter wiki 80"),
        ({"check": TcpCheck(), "every": 2.0}, "dht enter wiki 80 --check tcp --every 2"),
    ):
        async with serving(tmp_path, **options) as (one, other):
            forget(other)
            fault, verdict, found = await fault_of(one, WIKI)
            assert (fault, found) == ("unheld", command)
            assert verdict == "no node holds wiki on port 80: 1 node near it answered"


def forget(other: Daemon) -> None:
    """Have a node hold nothing any more, until it is asked to again."""
    other.driver.node.store.sweep(other.driver.clock() + HOUR)
    assert len(other.driver.node.store) == 0


async def test_an_entry_that_all_refuse_is_named(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    full = replace(POLICY, store_entries=0)
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path, full) as other:
        await joined(one.driver, other.driver)
        one.machine.serves(80, one.at[0])
        await one.ask(EnterRequest(WIKI, 80, name="wiki"))
        fault, verdict, command = await fault_of(one, WIKI)
        assert (fault, command) == ("refused", "dht enter wiki 80")
        assert "1 node answered, and they are full, or refuse" in verdict


# Names


async def test_a_slip_in_a_name_leads_to_the_right_one(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        for slip in ("Wiki", "wkii"):
            fault, verdict, command = await fault_of(one, id_of_name(slip, NATIVE), slip)
            assert (fault, command) == ("not-entered", "dht lookup wiki")
            assert verdict.startswith(f"nobody has entered {slip}, and this machine has not either")
            assert verdict.endswith("This machine has entered wiki")


async def test_a_name_that_nobody_entered_is_named(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        fault, verdict, command = await fault_of(one, id_of_name("printer", NATIVE), "printer")
        assert (fault, command) == ("not-entered", "dht enter printer PORT")
        assert verdict.endswith("1 node near it answered")
        assert (await fault_of(one, KEY))[2] == f"dht get {NATIVE.format(KEY)}"


# The address, the state file, and the verdict


async def test_behind_a_router_the_port_must_be_forwarded(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        outside = one.at[0]
        behind_nat(one)
        one.machine.open.clear()
        fault, verdict, _ = await fault_of(one, WIKI)
        assert fault == "behind-nat"
        assert f"holds wiki at {outside}:80, the address of a router" in verdict
        assert "forwards port 80 to 192.168.77.2" in verdict
        one.machine.serves(80, outside)  # it does
        assert (await diagnose(one, WIKI))["healthy"]


def behind_nat(one: Daemon) -> None:
    """Have a node be at another address than others see."""
    one.machine.own = frozenset({Endpoint.of("192.168.77.2", 1).ip})
    end: Any = end_of(one.driver)
    end.is_ours = lambda endpoint: False
    end.listening = lambda: [Endpoint.of("192.168.77.2", 1729)]


async def test_behind_a_router_without_entries_is_well(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        at = one.at[0]
        behind_nat(one)
        told = await diagnose(one)
        assert told["healthy"]
        [said] = [step["message"] for step in told["steps"] if step["step"] == "address"]
        assert said.startswith(f"other nodes see this one at {at}:1729, which is no address of this machine")


async def test_a_read_only_node_says_so(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path, Bep5Codec()) as (one, _):
        for serves, words in ((Serves.NOBODY, "answers nobody"), (Serves.CONTACTS, "answers its contacts alone")):
            one.driver.node.machine.serve(serves)
            [said] = [step["message"] for step in (await diagnose(one))["steps"] if step["step"] == "reach"]
            assert said.endswith(words)


async def test_a_damaged_state_file_is_told(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        one.report.state_notices = lambda: ["the state file was damaged"]
        assert await fault_of(one, WIKI) == ("state-damaged", "the state file was damaged", "dht info tracking")


def test_the_most_basic_fault_is_the_verdict() -> None:
    findings = [good("a", "b"), *(bad("s", fault, fault, "") for fault in reversed(FAULTS))]
    assert worst(findings) == findings[-1]
    assert worst([good("a", "b")]) is None
    first, second = bad("s", "unheld", "one", ""), bad("s", "unheld", "two", "")
    assert worst([first, second]) is first


async def test_an_old_address_is_told_from_the_new(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, other):
        forget(other)
        old = Endpoint.of("10.0.0.77", 80)
        hold_peer(other.driver.node.store, WIKI, old, other.driver.clock())
        fault, verdict, command = await fault_of(one, WIKI)
        assert (fault, command) == ("old-address", "dht enter wiki 80")
        assert f"they give {old}" in verdict


async def test_an_address_that_few_have_seen_is_not_tried(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, _):
        behind_nat(one)
        external = one.driver.node.external
        seen = [replace(each, is_believed=False) for each in external.seen()]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(external), "seen", lambda self: seen)
            told = await diagnose(one, WIKI)
        assert told["healthy"]
        assert "too few nodes have told" in told["verdict"]
        assert one.machine.tried == set()


async def test_only_some_diagnoses_are_made_at_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as (one, other):
        forget(other)  # so that a diagnosis takes its time
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(one.ask, DoctorRequest(WIKI))
            await trio.sleep(1)
            with pytest.raises(Busy, match="4 clients ask for a diagnosis already"):
                await one.ask(DoctorRequest(WIKI))
            nursery.cancel_scope.cancel()
        await one.ask(DoctorRequest(WIKI))
        assert one.driver._operations == {}
