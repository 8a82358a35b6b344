"""dht-dns(7) against the code: its limits, and its examples as they are pasted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dhtd.core.ids import MAINLINE, NATIVE
from dhtd.core.policy import DEFAULT
from dhtd.dns import finding, known, limits, tcp, udp, wire
from dhtd.dns.zone import base32
from tests.e2e.daemons import BIN, DEADLINE, Network

SOURCE = (Path(__file__).parents[2] / "man" / "dht-dns.7").read_text(encoding="utf-8")


def section(title: str) -> str:
    [found] = re.findall(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", SOURCE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("NAMES", f"the {len(base32(bytes(NATIVE.width)))} digits of base32"),
        ("NAMES", f"{len(base32(bytes(MAINLINE.width)))} digits in the Mainline network"),
        ("ANSWERS", f"for {known.FAILED_FOR:g} second"),
        ("ANSWERS", f"it waits for others for {finding.SETTLE:g} seconds"),
        ("ANSWERS", f"counts for {known.TTL} seconds, and so the TTL of an answer is {known.TTL} seconds at most"),
        ("ANSWERS", f"may outlive the lease of its entry by {known.TTL} seconds"),
        ("ANSWERS", f"did not answer, it counts for {known.IN_PART_FOR:g} seconds"),
        (
            "ANSWERS",
            f"no entry counts for {known.NEGATIVE_FOR:g} seconds, and a failure for {known.FAILED_FOR:g} second",
        ),
        ("ANSWERS", f"asked for {finding.HOT} times until then"),
        ("ANSWERS", f"nobody has asked for it for {finding.IDLE:g} seconds"),
        ("LIMITS", f"has {wire.UDP_MAX} bytes at most, and {wire.UDP_PLAIN} without EDNS"),
        ("LIMITS", f"A name has {known.PLACES_MAX} endpoints"),
        ("LIMITS", f"{finding.RATE:g} lookups begin in a second, and {finding.BURST:g} in a row"),
        ("LIMITS", f"{finding.AT_ONCE} are under way at once, and {finding.SEARCHES_MAX} wait or run"),
        ("LIMITS", f"{finding.WATCHES_MAX} names are watched"),
        ("LIMITS", f"{known.NAMES_MAX} names are remembered, and {known.ANSWERS_SIZE_MAX} bytes of answers"),
        ("LIMITS", f"{udp.WAITING_MAX} questions to an address wait"),
        ("LIMITS", f"and {tcp.IN_FLIGHT_MAX} of a connection"),
        ("LIMITS", f"{tcp.CONNECTIONS_MAX} connections at all"),
        ("LIMITS", f"without a whole question for {tcp.IDLE_FOR:g} seconds"),
        ("LIMITS", f"nothing of an answer for {tcp.READ_WITHIN:g} seconds"),
        ("LIMITS", f"gets {limits.RATE:g} answers a second by UDP, and {limits.BURST:g} in a row"),
        ("LIMITS", f"It has {tcp.OF_SOURCE_MAX} connections"),
    ],
)
def test_the_page_gives_the_limits_of_the_code(title: str, words: str) -> None:
    assert words in section(title)


def test_a_ttl_is_no_longer_than_a_lease_lasts() -> None:
    lease = DEFAULT.heartbeat * DEFAULT.heartbeats_in_lease
    assert lease - DEFAULT.heartbeat >= known.TTL, "the rest of a lease whose owner is there"
    assert finding.WITHIN < 2
    assert known.AHEAD == 0.25, "a quarter"
    assert finding.SEARCHES_MAX / finding.RATE < finding.WITHIN


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed: apt-get install bind9-dnsutils")
def test_the_examples_work_as_they_are_pasted() -> None:
    with Network() as network:
        address = f"{network.subnet}.250"
        [daemon] = network.start(1, f"--dns={address}:1753")
        [second] = network.start(1)
        network.dht(daemon, "bootstrap", second.endpoint)
        lines = re.findall(r"^\$ (.*)", section("EXAMPLES"), re.MULTILINE)
        script = "\n".join(lines).replace("@127.0.0.1", f"@{address}")
        env = {**network.environment(), "DHTD_SOCKET": str(daemon.socket)}
        done = subprocess.run(
            ["bash", "-eu", "-c", script],
            env={**env, "PATH": f"{BIN}:{env['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )
    assert done.returncode == 0
    assert f"IN\tA\t{daemon.address}" in done.stdout
    label = daemon.address.replace(".", "-")
    assert done.stdout.splitlines()[-2:] == [f"0 0 8080 {label}.addr.dht.alt.", f'"{daemon.address}:8080"']


@pytest.mark.parametrize("line", re.findall(r"^\$ (dht dns-setup .*)", section("RESOLVERS"), re.MULTILINE))
def test_the_files_are_where_the_page_says(line: str) -> None:
    from dhtd.cli.verbs.dns_setup import RESOLVERS  # noqa: PLC0415

    _, _, resolver, _, _, _, file = line.split()
    assert RESOLVERS[resolver][0] == file
