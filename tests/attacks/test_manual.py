"""dht-security(7) against the code: its tests exist, and its numbers are those of the policy."""

from __future__ import annotations

import ast
import dataclasses
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from dhtd.control.limits import ControlCounters, Limits
from dhtd.core.address_groups import outside
from dhtd.core.counters import (
    CAPS,
    ENTRY_HOLDERS,
    OPERATIONS,
    OWN_ENTRIES,
    OWN_PORTS,
    OWN_VALUES,
    OWN_WATCHES,
    WITHDRAWALS,
    Counters,
)
from dhtd.core.endpoint import Endpoint, source_group
from dhtd.core.messages import VALUE_LASTS
from dhtd.core.policy import DEFAULT, MAINLINE, Policy
from dhtd.daemon.guards import checks, guards, http, judge
from dhtd.daemon.sockets.channel import UdpCounters
from dhtd.service.checks import EVERY_MIN
from dhtd.wire.bep5_values import LASTS
from dhtd.wire.native import NativeCodec
from dhtd.wire.sealed import NONCE_SIZE, NONCES_MAX, WINDOW

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "man" / "dht-security.7"
SOURCE: Final = PAGE.read_text(encoding="utf-8")
PROSE: Final = " ".join(re.sub(r"^\.(?:[A-Z][a-z] )+", "", line) for line in SOURCE.splitlines())
WORDS: Final = re.sub(r" ([.,;:])(?= )", r"\1", " ".join(PROSE.split()))
NAMED: Final = re.findall(r"^\.Pa (tests/\S+)::(\S+)$", SOURCE, re.MULTILINE)
UNITS: Final = {"s": 1, "minutes": 60, "%": 0.01}  # behind a number; without one, or before a word, it is as it stands
OWNERS: Final = {  # made by a node's own user
    *(OPERATIONS, OWN_ENTRIES, OWN_PORTS, OWN_VALUES, OWN_WATCHES, ENTRY_HOLDERS, WITHDRAWALS)
}
PUBLIC: Final = outside(DEFAULT.exempt_networks)
V4, V6 = Endpoint.of("203.0.113.1", 1), Endpoint.of("2001:db8::1", 1)


def network_of(endpoint: Endpoint) -> int:
    """Return the length in bits of an address's network."""
    party = PUBLIC.party(endpoint)
    assert party is not None
    return 8 * len(party[1])


def fields(owner: type) -> set[str]:
    return {field.name for field in dataclasses.fields(owner)}


@cache
def functions_in(path: str) -> frozenset[str]:
    """Return the names of the test functions and test classes in a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return frozenset(
        node.name for node in tree.body if isinstance(node, kinds) and node.name.lower().startswith("test")
    )


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_the_page_is_clean() -> None:
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True, check=False)
    assert lint.stdout == ""


# The tests


def test_every_test_that_is_named_is_there() -> None:
    assert len(NAMED) > 60
    missing = [f"{path}::{name}" for path, name in NAMED if name not in functions_in(path)]
    assert missing == []


def test_every_test_in_the_page_is_checked() -> None:
    assert len(re.findall(r"tests/\S+|\btest_\w+", SOURCE)) == len(NAMED)


def test_every_attack_that_is_a_test_is_named() -> None:
    files = sorted(path.relative_to(ROOT).as_posix() for path in Path(__file__).parent.glob("test_*.py"))
    files.remove(Path(__file__).relative_to(ROOT).as_posix())
    there = {(path, name) for path in files for name in functions_in(path)}
    assert there - set(NAMED) == set()


def test_the_limits_of_checks_are_those_of_the_code() -> None:
    for words in (
        f"At most {http.BODY_MAX} bytes of a body and {http.HEAD_MAX} of the head are read",
        f"A check ends after {checks.WITHIN_MAX:.0f} seconds",
        f"At most {guards.CHECKS_AT_ONCE} checks run at once, at most {guards.CHECKS_MAX} entries have one",
        f"more often than every {EVERY_MIN} seconds",
        f"stays away for {judge.PAUSE_FIRST:.0f} seconds",
        f"At most {guards.PROCESSES_MAX} processes are watched",
    ):
        assert words in WORDS


def test_each_attack_names_defence_tests_limits() -> None:
    attacks = re.split(r"^\.Ss ", SOURCE.partition(".Sh WHAT IS NOT DEFENDED")[0], flags=re.MULTILINE)[1:]
    assert len(attacks) > 15
    for attack in attacks:
        title = attack.partition("\n")[0]
        assert re.findall(r"^\.It ([A-Z].*)$", attack, re.MULTILINE) == ["Defence", "Shown by", "Not defended"], title
        assert "\n.Pa tests/" in attack, title


# The numbers


def numbers() -> list[tuple[str, float]]:
    """Return each name in parentheses with the number before it."""
    found = []
    for line, name in re.findall(r"^(.*)\n\.Pq Va (\w+)", SOURCE, re.MULTILINE):
        [(number, unit)] = re.findall(r"([\d.]+)(?: (s|minutes|%))?$", line) or [("nan", "")]
        found.append((name, float(number) * UNITS.get(unit, 1)))
    return found


def test_each_number_is_that_of_the_policy() -> None:
    said = numbers()
    assert len(said) > 35
    wrong = {name: number for name, number in said if getattr(DEFAULT, name) != pytest.approx(number)}
    assert wrong == {}
    assert len(said) == SOURCE.count(".Pq Va")


def test_the_limits_of_mainline_are_its_policy() -> None:
    here = MAINLINE
    for words in (
        f"answers each source {here.rate_limit:.0f} queries a second, and all together {here.rate_limit_total:.0f}.",
        f"an answer has {here.amplification} times the bytes of its query",
        f"a budget of {here.spare_bytes_per_source / 1_024:.0f} KiB a second for each source",
        f"and {here.spare_bytes / 1_024:.0f} KiB for all, with {here.spare_burst:.0f} seconds' worth at once",
        f"A datagram has {here.datagram_sent_max} bytes at most, and {here.datagram_value_max} with a value",
        f"A sample of keys has {here.sample_keys} at most",
        f"{here.pace_burst:.0f} queries at once, and then {here.pace:.0f} a second, go to one public address",
        f"{here.id_votes} networks must agree on a public address",
        f"changes at most every {here.id_gap / 60:.0f} minutes",
        f"for {2 * here.token_rotation / 60:.0f} minutes at most",
        f"it is forgotten after {here.store_expiry / 60:.0f} minutes",
        f"a source has {here.values_per_source} at most, and all have {here.values}",
        f"values last {LASTS / 3_600:.0f} hours",
    ):
        assert words in WORDS, words


def test_each_cap_on_strangers_is_listed() -> None:
    assert set(CAPS) - {name for name, _ in numbers()} == OWNERS


def test_each_name_is_a_policy_field_or_counter() -> None:
    names = set(re.findall(r"\bVa (\w+)", SOURCE))
    counters = fields(Counters) | fields(UdpCounters) | fields(ControlCounters)
    assert names - fields(Policy) - counters == set()


@pytest.mark.parametrize(
    "words",
    [
        f"One user has {Limits().clients} connections",
        f"all who are neither the daemon's user nor root have {Limits().others}.",
        f"at most {Limits().frame} bytes, and {Limits().frame_deadline:g} seconds from its first byte",
        f"a random nonce of {NONCE_SIZE} bytes",
        f"more than {WINDOW:g} seconds off its own clock",
        f"the nonces of {2 * WINDOW:g} seconds, or the latest {NONCES_MAX} where",
        f"more than {NONCES_MAX / (2 * WINDOW):.0f} queries a second from members",
        f"the transaction ID of {NativeCodec().traits.tid_size} random bytes",
        f"three networks have {3 * DEFAULT.lookup_per_network} at most",
        f"With four networks an attacker can have all {DEFAULT.k} places.",
        f"takes in a minute, one source has {DEFAULT.changes_per_source}",
        f"each put lets it last for {VALUE_LASTS // 3600} hours",
        f"IPv6 prefix of {8 * len(source_group(V6.ip))} bits",
        f"a /{network_of(V4)} of IPv4 or a /{network_of(V6)} of IPv6.",
        f"a /{8 * len(PUBLIC.witness(V4))} of IPv4 or a /{8 * len(PUBLIC.witness(V6))} of IPv6 has one vote",
    ],
)
def test_the_page_says_what_the_code_does(words: str) -> None:
    assert words in WORDS
