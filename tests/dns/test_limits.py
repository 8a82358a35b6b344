"""What strangers get, and where the door is open."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from random import Random

import dns.flags
import dns.message
import dns.rcode
import pytest
import trio
from trio.testing import MockClock

from dhtd.config.sources import load_settings
from dhtd.dns.door import DnsDoor
from dhtd.dns.limits import BURST, RATE, Limits, Verdict, source_of
from dhtd.errors import AddressUnavailable, ConfigError, PortTaken, UsageError
from tests.dns.doors import WIKI, World, opened, settings_of, texts


def test_a_source_has_its_rate() -> None:
    limits = Limits()
    now = 0.0
    for _ in range(int(BURST)):
        assert limits.verdict("192.0.2.1", now) is Verdict.ANSWERED
    over = [limits.verdict(f"192.0.2.{number}", now) for number in range(10)]
    assert over == [Verdict.CUT, Verdict.DROPPED] * 5
    assert limits.verdict("192.0.3.1", now) is Verdict.ANSWERED
    answered = [limits.verdict("192.0.2.1", now + 1.0) for _ in range(100)].count(Verdict.ANSWERED)
    assert answered == RATE


def test_forged_sources_take_no_memory() -> None:
    limits, rng = Limits(100), Random(1)
    for _ in range(10_000):
        limits.verdict(".".join(str(byte) for byte in rng.randbytes(4)), 0.0)
    assert len(limits) <= 100


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("127.0.0.1", None),
        ("127.9.9.9", None),
        ("::1", None),
        ("192.0.2.1", b"\xc0\0\2"),
        ("2001:db8::1", b"\x20\1\x0d\xb8\0\0\0"),
    ],
)
def test_a_source_is_a_network(host: str, source: bytes | None) -> None:
    assert source_of(host) == source


async def test_strangers_are_told_to_come_by_tcp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr("dhtd.dns.door.is_local", lambda text: False)
    monkeypatch.setattr("dhtd.dns.limits.source_of", lambda host: b"abc")
    async with opened(tmp_path, World({"wiki": [WIKI]})) as door:
        for _ in range(int(BURST)):
            assert texts(await door.ask("wiki.dht.alt")) == ["10.1.2.3"]
        cut = await door.ask("wiki.dht.alt", use_edns=0)
        assert (cut.rcode(), bool(cut.flags & dns.flags.TC), texts(cut)) == (dns.rcode.NOERROR, True, [])
        with trio.move_on_after(1) as waiting:
            await door.ask("wiki.dht.alt")
        assert waiting.cancelled_caught


# The settings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dns": ["192.0.2.1:53"]}, "say --dns-public as well"),
        ({"dns": ["0.0.0.0:53"]}, "name each of them"),
        ({"dns": ["[::]:53"]}, "name each of them"),
        ({"dns": ["localhost:53"]}, "no IP address with a port"),
        ({"dns": ["127.0.0.1"]}, "is not HOST:PORT"),
        ({"dns": ["127.0.0.1:0"]}, "port"),
        ({"dns": ["127.0.0.1:53", "127.0.0.1:53"]}, "named twice"),
        ({"dns_domain": "dht..alt"}, "is not a domain"),
        ({"dns_domain": ""}, "is not a domain"),
        ({"dns_domain": "."}, "is not a domain"),
        ({"dns_domain": "-dht"}, "is not a domain"),
        ({"dns_domain": "dht.alt/x"}, "is not a domain"),
        ({"dns_domain": "a" * 64}, "is not a domain"),
        ({"dns_domain": ".".join(["abc"] * 40)}, "is not a domain"),
    ],
)
def test_a_setting_that_does_not_do_is_told(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_settings(options, {})


def test_a_public_address_is_one_by_choice() -> None:
    assert load_settings({"dns": ["192.0.2.1:53"], "dns_public": True}, {}).dns == ("192.0.2.1:53",)
    with pytest.raises(ConfigError, match="dns"):
        load_settings({}, {"DHTD_DNS": "192.0.2.1:53"})


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_that_is_taken_is_told(tmp_path: Path, kind: socket.SocketKind) -> None:
    with socket.socket(type=kind) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        what = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
        door = DnsDoor(settings_of(tmp_path, f"127.0.0.1:{port}"))
        with pytest.raises(PortTaken, match=f"another program has {what} port {port} at 127.0.0.1"):
            door.open()
    again = DnsDoor(settings_of(tmp_path, f"127.0.0.1:{port}"))
    assert again.open() == [f"dns://127.0.0.1:{port}/dht.alt"]
    again.close()


def test_an_address_of_another_machine_is_told(tmp_path: Path) -> None:
    with pytest.raises(AddressUnavailable, match="no address of this machine"):
        DnsDoor(settings_of(tmp_path, "192.0.2.1:1753")).open()


async def test_several_addresses_are_served(tmp_path: Path) -> None:
    async with opened(tmp_path, World({"wiki": [WIKI]}), "[::1]:0", "127.0.0.1:0") as door:
        assert texts(await door.ask("wiki.dht.alt")) == ["10.1.2.3"]
        assert sorted(texts(await door.ask("dht.alt", "NS"))) == [
            "0-0-0-0-0-0-0-1.addr.dht.alt.",
            "127-0-0-1.addr.dht.alt.",
        ]


def test_without_the_extra_its_name_is_told(tmp_path: Path) -> None:
    program = "import sys; sys.modules['dns'] = None; from dhtd.cli.entry import dhtd; dhtd()"
    given = ["start", "--dns=127.0.0.1:1753", f"--state={tmp_path}/state", f"--socket={tmp_path}/socket"]
    done = subprocess.run(
        [sys.executable, "-c", program, *given], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "DNS needs the module dns" in done.stderr
    assert "pip install 'dhtd[dns]'" in done.stderr
