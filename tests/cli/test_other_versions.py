"""A daemon older or newer than the client: a missing value is `-`, a new one is shown as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dhtd import __version__
from dhtd.cli import render_info
from dhtd.cli.told import Told
from dhtd.cli.verbs import info
from tests.cli.conftest import Done, Run
from tests.cli.fake import FakeDaemon, error, result
from tests.cli.test_output import CASES, INFO, STATUS

Path_ = tuple[str | int, ...]


def places(body: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Yield the way to each key in an answer, in lists only through their first element."""
    if isinstance(body, dict):
        for key, value in body.items():
            yield (*at, key)
            yield from places(value, (*at, key))
    elif isinstance(body, list) and body:
        yield from places(body[0], (*at, 0))


def changed(body: Any, at: Path_, value: object) -> Any:
    """Return an answer with another value at a place; without the key for `...`."""
    whole = copy.deepcopy(body)
    inner = whole
    for step in at[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return whole


SOME: list[object] = ["never-seen", 7, None, [], {}, ["x"], {"x": 1}, True, -1.5]
EACH: list[object] = [..., "never-seen", 7, [], {"x": 1}, float("nan"), float("inf"), 10**400]


def run(dht: Run, home: Path, case: str, answer: object, *options: str) -> Done:
    with FakeDaemon(home / "s", result(answer)) as fake:
        done = dht("--socket", fake.path, *options, *CASES[case][0])
    (home / "s").unlink()
    return done


@pytest.mark.parametrize("case", CASES)
def test_a_missing_key_shows_as_a_dash(case: str, dht: Run, home: Path) -> None:
    whole = CASES[case][2]
    for at in places(whole):
        done = run(dht, home, case, changed(whole, at, ...))
        assert "Traceback" not in done.err, at
        assert done.status in (
            {0, 4} if case == "status" else {0, 1} if case in ("lookup", "trace", "doctor") else {0}
        ), at


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("info")])
def test_another_kind_of_value_is_shown_as_it_is(case: str, dht: Run, home: Path) -> None:
    whole = CASES[case][2]
    for at in places(whole):
        for value in ("never-seen", None, {"x": 1}, float("nan")):
            done = run(dht, home, case, changed(whole, at, value))
            assert "Traceback" not in done.err, (at, value)
            assert done.status in {0, 1, 4}, (at, value)


def test_inside_lines_survive_any_answer() -> None:
    printed = set()
    for at in places(INFO):
        for value in (..., *SOME):
            printed |= set(info.lines(Told(changed(INFO, at, value))))
    assert any("never-seen" in line for line in printed)


def test_what_is_printed_of_a_missing_key(dht: Run, home: Path) -> None:
    ping = CASES["ping"][2]
    assert run(dht, home, "ping", changed(ping, ("rtt_ms",), ...)).out.endswith(" - ms\n")
    assert run(dht, home, "ping", changed(ping, ("node_id",), ...)).out.startswith("- 192.0.2.2:1729 ")
    told = changed(INFO, ("routing_table", "buckets", 0, "members", 0, "timeouts"), ...)
    assert " questionable no - - 12.5\n" in run(dht, home, "info", told).out
    assert "contacts    - of 2 answer\n" in run(dht, home, "status", changed(STATUS, ("contacts", "good"), ...)).out


def test_what_is_new_stands_behind_what_is_known(dht: Run, home: Path) -> None:
    told = changed(INFO, ("tracking", 0, "colour"), "blue")
    assert " 80 2 60.0 - - - - - - blue\n" in run(dht, home, "info", told).out
    told = changed(INFO, ("routing_table", "buckets", 0, "members", 0, "state"), "superb")
    assert " superb no - 1 12.5\n" in run(dht, home, "info", told).out
    assert "node mood fine\n" in run(dht, home, "info", changed(INFO, ("node", "mood"), "fine")).out
    assert "weather rain 3\n" in run(dht, home, "info", changed(INFO, ("weather",), {"rain": 3})).out
    assert "reachable: galactic" in run(dht, home, "status", changed(STATUS, ("reachable",), "galactic")).out


@pytest.mark.parametrize(("width", "section"), [pytest.param(30, None, marks=pytest.mark.slow), (200, "all")])
def test_the_terminal_view_survives_any_answer(
    width: int, section: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for at in places(INFO):
        # Quickly, the section of the odd value alone; slowly, all of them.
        own = {name: value for name, value in INFO.items() if name == at[0] or section is None}
        for value in EACH:
            render_info.info(Told(changed(own, at, value)), section)
    assert "never-seen" in capsys.readouterr().out


def test_the_view_says_entries_are_still_loading(capsys: pytest.CaptureFixture[str]) -> None:
    render_info.info(Told(changed(INFO, ("node", "restoring"), True)), None)
    render_info.info(Told(INFO), None)
    assert capsys.readouterr().out.count("entries are still being read") == 1


def answers_of_an_older_daemon(dht: Run, home: Path, version: str) -> Done:
    """Return the output for a daemon that reports its version, and no round trip."""
    answer = changed(CASES["ping"][2], ("rtt_ms",), ...)
    both = [*result(answer), *result({"node": {"version": version}})]
    with FakeDaemon(home / "s", both) as fake:
        return dht("--socket", fake.path, *CASES["ping"][0])


def test_a_missing_key_names_both_versions(dht: Run, home: Path) -> None:
    done = answers_of_an_older_daemon(dht, home, "0.0.1")
    assert done.status == 0
    assert done.err == f"the daemon does not tell rtt_ms: it is dhtd 0.0.1, and this dht is {__version__}\n"


def test_an_untold_version_is_asked_for(dht: Run, home: Path) -> None:
    done = run(dht, home, "ping", changed(CASES["ping"][2], ("rtt_ms",), ...))
    assert done.err == f"the daemon does not tell rtt_ms: is it of another version than this dht, {__version__}?\n"


@pytest.mark.parametrize("code", ["unknown-method", "bad-request", "moon-phase"])
def test_a_misunderstanding_names_both_versions(code: str, dht: Run, home: Path) -> None:
    both = [*error(code, "no"), *result({"node": {"version": "0.0.1"}})]
    with FakeDaemon(home / "s", both) as fake:
        done = dht("--socket", fake.path, "status")
    assert done.err == (f"dht: no (the daemon is dhtd 0.0.1, and this client {__version__}: renew the older one)\n")


def test_a_complete_answer_gets_no_remark(dht: Run, home: Path) -> None:
    for case in ("ping", "info", "status", "find-node", "find-value", "store", "bootstrap", "node-id"):
        assert run(dht, home, case, CASES[case][2]).err == "", case
