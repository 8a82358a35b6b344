"""dht-control(7) against the code: its methods, keys, types, codes, limits, and its examples as they are pasted."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from types import GenericAlias
from typing import Any

import pytest

from dhtd import errors
from dhtd.control.connection import LINGER
from dhtd.control.frames import FRAME_MAX, VERSION
from dhtd.control.limits import ControlCounters
from dhtd.control.server import LIMITS
from dhtd.control.socket_file import BACKLOG
from dhtd.core.counters import Counters
from dhtd.core.endpoint import PORT_MAX
from dhtd.core.ids import NATIVE
from dhtd.daemon.events.follower import LINGER as LINGER_EVENTS
from dhtd.daemon.events.ring import KEPT
from dhtd.daemon.events.telling import NAMED
from dhtd.daemon.handlers.info import WORDS_MAX
from dhtd.daemon.handlers.owner import PIECE
from dhtd.daemon.log import LogCounters
from dhtd.daemon.lookup_counters import LookupCounters
from dhtd.daemon.report import SLICE
from dhtd.daemon.sockets.channel import UdpCounters
from dhtd.service.doctor import FAULTS, DoctorStep
from dhtd.service.entries import KeptInfo, LeftBehindInfo, Replica, Stats
from dhtd.service.events import KINDS, Happening
from dhtd.service.info import (
    COMPLETIONS,
    SECTIONS,
    BucketInfo,
    FamilyInfo,
    HeldInfo,
    HeldValueInfo,
    InfoResult,
    LeaseInfo,
    Member,
    NodeInfo,
    OwnValueInfo,
    RoutingTableInfo,
    TrackedInfo,
    ValuesInfo,
    WatchesInfo,
    WithdrawalInfo,
)
from dhtd.service.method import Stream
from dhtd.service.methods import COMMON, METHODS
from dhtd.service.node import UnreachedHost
from dhtd.service.params import SERIAL_MAX, TOKEN_MAX, WATCHED_MAX
from dhtd.service.queries import NamedNode
from dhtd.service.trace import TraceEvent
from dhtd.service.values import FoundValue, StaleCopy, ValueInfo
from tests.e2e.daemons import BIN, DEADLINE, Network

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "man" / "dht-control.7"
SOURCE = PAGE.read_text(encoding="utf-8")

OBJECTS: dict[str, Any] = {
    "bucket": BucketInfo,
    "diagnosis step": DoctorStep,
    "family": FamilyInfo,
    "found value": FoundValue,
    "held entry": HeldInfo,
    "held value": HeldValueInfo,
    "kept copies": KeptInfo,
    "lease": LeaseInfo,
    "member": Member,
    "named node": NamedNode,
    "node": NodeInfo,
    "own entry": TrackedInfo,
    "own value": OwnValueInfo,
    "withdrawal": WithdrawalInfo,
    "left endpoint": LeftBehindInfo,
    "replica": Replica,
    "routing table": RoutingTableInfo,
    "stale copy": StaleCopy,
    "statistics": Stats,
    "unreached host": UnreachedHost,
    "value": ValueInfo,
    "values": ValuesInfo,
    "watches": WatchesInfo,
}
CODES = {code for error in vars(errors).values() if (code := getattr(error, "code", None))}
# The page's name for a type, and Python's type of it.
TYPES: dict[str, Any] = {
    "text": str,
    "ID": str,
    "ID or null": str | None,
    "endpoint": str,
    "port": int,
    "integer": int,
    "number": float,
    "boolean": bool,
    "number or null": float | None,
    "integer or null": int | None,
    "text or null": str | None,
    "boolean or null": bool | None,
    "object of integer": dict[str, int],
    "object of text": dict[str, str],
    "counters": dict[str, Any],
    "happening": dict[str, Any],
    **OBJECTS,
    "kept copies or null": KeptInfo | None,
}


def parts(source: str, macro: str) -> dict[str, str]:
    """Return the parts of a page that begin with a macro, by title."""
    _, *found = re.split(rf"^\.{macro} (.+)\n", source, flags=re.MULTILINE)
    return dict(zip(found[::2], found[1::2], strict=True))


CHAPTERS = parts(SOURCE, "Sh")


def items(source: str) -> dict[str, str]:
    """Return the names in a list with their types."""
    return dict(re.findall(r"^\.It Va (\S+) Pq (.+)$", source, re.MULTILINE))


def type_of(words: str) -> Any:
    of = words.removeprefix("array of ")
    return TYPES[of] if of == words else GenericAlias(list, (TYPES[of],))


def chapter(method: str, part: str) -> str:
    """Return the parameters or the result in a method's chapter."""
    found = re.search(
        rf"^{part}(?:, .*)?:\n(.*?)^\.El", parts(CHAPTERS["METHODS"], "Ss")[method], re.MULTILINE | re.DOTALL
    )
    return found[1] if found else ""


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_mandoc_finds_no_fault() -> None:
    done = subprocess.run(["mandoc", "-Tlint", "-W", "warning", PAGE], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_every_method_has_its_chapter_in_order() -> None:
    assert list(parts(CHAPTERS["METHODS"], "Ss")) == sorted(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_a_chapter_begins_with_the_summary(method: str) -> None:
    assert parts(CHAPTERS["METHODS"], "Ss")[method].startswith(f"{METHODS[method].summary}\n")


@pytest.mark.parametrize("method", METHODS)
def test_the_parameters_are_those_of_the_table(method: str) -> None:
    said = items(chapter(method, "Parameters"))
    assert list(said.items()) == [
        (name, f"{kind.title} , optional" if default is not MISSING else kind.title)
        for name, kind, default in METHODS[method].parameters
    ]
    if not said:
        assert "It has no parameters." in parts(CHAPTERS["METHODS"], "Ss")[method]


@pytest.mark.parametrize("method", METHODS)
def test_the_result_is_that_of_the_table(method: str) -> None:
    said = {name: type_of(words) for name, words in items(chapter(method, "Result")).items()}
    assert said == typing.get_type_hints(METHODS[method].result)


@pytest.mark.parametrize("method", METHODS)
def test_a_chapter_names_every_choice(method: str) -> None:
    named = set(re.findall(r"^\.(?:Li|It Va) (\S+)", parts(CHAPTERS["METHODS"], "Ss")[method], re.MULTILINE))
    assert {choice for each in METHODS[method].parameters for choice in each.kind.choices} <= named


@pytest.mark.parametrize("method", METHODS)
def test_a_chapter_names_only_errors_of_the_table(method: str) -> None:
    named = set(re.findall(r"^\.Li ([a-z-]+)", parts(CHAPTERS["METHODS"], "Ss")[method], re.MULTILINE))
    assert named & CODES <= {error.code for error in METHODS[method].errors}
    assert (errors.NotPermitted.code in named) == (errors.NotPermitted in METHODS[method].errors)


def test_result_objects_have_their_keys_and_types() -> None:
    chapters = parts(CHAPTERS["OBJECTS"], "Ss")
    assert list(chapters) == sorted([*OBJECTS, "counters", "happening"])
    for name, kind in OBJECTS.items():
        said = {key: type_of(words) for key, words in items(chapters[name]).items()}
        assert said == typing.get_type_hints(kind), name


def test_the_counters_are_those_that_are_sent() -> None:
    said = items(parts(CHAPTERS["OBJECTS"], "Ss")["counters"])
    counters = (*fields(UdpCounters), *fields(Counters), *fields(ControlCounters), *fields(LogCounters))
    counters = (*counters, *fields(LookupCounters))
    assert list(said) == [each.name for each in counters]
    assert {name: words for name, words in said.items() if words != "integer"} == {
        **dict.fromkeys(["queries_received", "caps_hit"], "object of integer"),
        **dict.fromkeys(["lookup_ms", "lookup_first_ms", "lookup_queries"], "object of integer"),
        **dict.fromkeys(["lookup_ms_sum", "lookup_first_ms_sum"], "number"),
    }


def test_events_have_the_keys_and_types_sent() -> None:
    said = {name: type_of(words) for name, words in items(CHAPTERS["EVENTS"]).items()}
    events = [
        method.event for method in METHODS.values() if isinstance(method, Stream) and method.event is not InfoResult
    ]
    assert said == {name: hint for event in events for name, hint in typing.get_type_hints(event).items()}


def test_happenings_have_the_keys_and_types_sent() -> None:
    _, *kinds = re.split(r"^\.It Li (\S+)\n", parts(CHAPTERS["OBJECTS"], "Ss")["happening"], flags=re.MULTILINE)
    said = {kind: items(text) for kind, text in zip(kinds[::2], kinds[1::2], strict=True)}
    common = {*typing.get_type_hints(Happening)}
    steps = {*typing.get_type_hints(TraceEvent)}
    assert list(said) == list(KINDS)
    for kind, body in KINDS.items():
        hints = {name: hint for name, hint in typing.get_type_hints(body).items() if name not in common}
        hints = {name: hint for name, hint in hints.items() if kind != "lookup-step" or name not in steps}
        assert {name: type_of(words) for name, words in said[kind].items()} == hints, kind


def test_the_faults_stand_in_their_order() -> None:
    listed = re.findall(r"^\.It Li (\S+)$", parts(CHAPTERS["METHODS"], "Ss")["doctor"], re.MULTILINE)
    assert tuple(listed) == FAULTS


def test_every_section_of_info_is_described() -> None:
    assert list(items(chapter("info", "Result"))) == list(SECTIONS)


def codes_in(path: Path) -> Iterator[str]:
    """Yield the codes of the errors that a file makes."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            kind = getattr(errors, node.func.id, None)
            if isinstance(kind, type) and issubclass(kind, errors.DhtdError):
                yield kind.code


MAKERS = (  # of errors that reach a client
    "config/access_token.py",
    *("core/**/*.py", "service/*.py", "daemon/handlers/*.py", "daemon/guards/*.py", "daemon/discovery/resolver.py"),
    *(f"control/{name}.py" for name in ("frames", "requests", "server", "connection", "lines", "threads")),
)
OF_THE_SOCKET: tuple[type[errors.DhtdError], ...] = (
    errors.FrameTooLarge,
    errors.FrameTooSlow,
    errors.SocketForbidden,
    errors.TooManyClients,
)


def test_the_codes_are_those_that_can_come() -> None:
    made = {code for makers in MAKERS for path in (ROOT / "dhtd").glob(makers) for code in codes_in(path)}
    made |= {errors.StateError.code}  # an error of the state file reaches the client of an enter or a delete
    made -= {errors.SocketInUse.code, errors.SocketUnusable.code}  # at the start, before there is a client
    said = re.findall(r"^\.It Li (\S+)$", CHAPTERS["ERROR CODES"], re.MULTILINE)
    assert said == sorted(made)
    of_table = {error.code for method in METHODS.values() for error in method.errors}
    assert said == sorted(of_table | {error.code for error in (*COMMON, *OF_THE_SOCKET)})
    named = set(re.findall(r"^\.Li ([a-z]+-[a-z-]+)", SOURCE, re.MULTILINE)) - {*COMPLETIONS, *KINDS}
    assert named <= made


def test_the_daemon_s_page_gives_the_same_limits() -> None:
    caps = parts((PAGE.parent / "dhtd.8").read_text(encoding="utf-8"), "Sh")["CAPS"]
    for words in (
        f"{LIMITS.clients} connections of one user",
        f"{LIMITS.others} of all who are",
        f"{LIMITS.frame} bytes, and {LIMITS.frame_deadline:g} seconds",
    ):
        assert words in caps


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("FRAMES", f"at most {FRAME_MAX} bytes, with its newline"),
        ("FRAMES", f"up to {LINGER:.0f} seconds"),
        ("FRAMES", f"finished within {LIMITS.frame_deadline:g} seconds"),
        ("FRAMES", f"can have {LIMITS.clients} connections at once"),
        ("FRAMES", f"neither the daemon's nor root, {LIMITS.others}."),
        ("FRAMES", f"When {BACKLOG} clients wait"),
        ("FRAMES", f"The version of the protocol, {VERSION}."),
        ("FRAMES", f"A string of {2 * NATIVE.width} hexadecimal digits"),
        ("FRAMES", f"An integer from 1 to {PORT_MAX}."),
        ("METHODS", f"2 to {2 * TOKEN_MAX} hexadecimal digits"),
        ("METHODS", f"in parts of at most {SLICE} elements"),
        ("METHODS", f"as far as the latest {KEPT}\nevents reach"),
        ("METHODS", f"from 0 to {SERIAL_MAX}:"),
        ("METHODS", f"For {LINGER_EVENTS:.0f} seconds after the last one"),
        ("OBJECTS", f"with {NAMED} elements"),
        ("METHODS", f"One at least, and at most {WATCHED_MAX}."),
        ("METHODS", f"at most {PIECE} bytes of it"),
        ("METHODS", f"At most {WORDS_MAX}, in order."),
        ("ERROR CODES", f"No number from 1 to {PORT_MAX}."),
        ("ERROR CODES", f"No {2 * NATIVE.width} hexadecimal digits."),
        ("PERMISSIONS", "The socket has mode 0600"),
        ("PERMISSIONS", "with mode 0700"),
        ("PERMISSIONS", "has mode 0660, a directory that is made for it has mode 0710"),
    ],
)
def test_the_page_gives_the_limits_of_the_code(title: str, words: str) -> None:
    assert words in CHAPTERS[title]


# The examples


def examples() -> dict[str, str]:
    """Return the literal blocks with commands, by the first program in them."""
    blocks = re.findall(r"^\.Bd -literal -offset 2n\n(.*?)^\.Ed", CHAPTERS["EXAMPLES"], re.MULTILINE | re.DOTALL)
    commands = [block.replace("\\e", "\\") for block in blocks if not block.startswith("{")]
    return dict(zip(("node-id", "lookup", "python"), commands, strict=True))


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Return a network of two; the examples look for the socket of the first."""
    with Network() as made:
        [first, second] = made.start(2)
        made.dht(second, "bootstrap", first.endpoint)  # so that it has joined, and not only tries to
        (made.directory / "dhtd").mkdir()
        (made.directory / "dhtd" / "default.sock").symlink_to(first.socket)
        yield made


def paste(network: Network, name: str) -> str:
    environment = network.environment()
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-c", examples()[name]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
def test_the_socat_example_works_as_it_is_pasted(network: Network) -> None:
    daemon = network.daemons[0]
    assert json.loads(paste(network, "node-id")) == {
        "v": 1,
        "id": 1,
        "result": {"node_id": daemon.node_id, "endpoints": [daemon.endpoint]},
    }


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
def test_the_lookup_example_shows_its_events(network: Network) -> None:
    network.dht(network.daemons[1], "enter", "--name", "the garden camera", "80")
    *events, result = [json.loads(line) for line in paste(network, "lookup").splitlines()]
    assert all("event" in line for line in events)
    assert result["result"]["peers"] == [f"{network.daemons[1].address}:80"]


def test_the_python_example_works_as_it_is_pasted(network: Network) -> None:
    assert paste(network, "python") == f"{network.daemons[0].node_id}\n"
