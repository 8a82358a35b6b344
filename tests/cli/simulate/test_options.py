"""`dhtd simulate`: the figures of a run, to the byte; replays, goals, wrong usage, and the view on a terminal."""

from __future__ import annotations

import gc
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dhtd.cli.simulate import options as simulate
from dhtd.cli.simulate import run as simulation
from dhtd.errors import UsageError
from dhtd.sim import invariants
from dhtd.sim.host import Host
from dhtd.sim.plan import Plan
from dhtd.sim.scenarios import SCENARIOS, Goal
from dhtd.sim.simulation import Simulation
from tests.cli.conftest import Run
from tests.cli.shells import Terminal
from tests.e2e.daemons import BIN, DEADLINE

TINY = ("simulate", "--nodes", 5, "--lookups", 10, "--duration", 20, "--warm")
SMALL = ("simulate", "--nodes", 20, "--lookups", 10, "--duration", 20, "--warm")
FAULTS = (
    *("simulate", "--nodes", "25", "--lookups", "60", "--duration", "240", "--seed", "7"),
    *("--loss", "0.05", "--duplicate", "0.05", "--reorder", "0.1", "--nat", "0.2", "--liars", "0.1"),
    *(
        "--churn",
        "200",
        "--pareto",
        "--returning",
        "0.5",
        "--goodbyes",
        "0.5",
        "--jumps",
        "0.3",
        "--partition",
        "100,200",
    ),
)
OWN_OF_THE_MACHINE = ("wall_s", "rss_mb")


def same(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in OWN_OF_THE_MACHINE}


@pytest.mark.slow
def test_the_same_seed_prints_the_same_bytes() -> None:
    runs = [
        subprocess.Popen(
            [BIN / "dhtd", *FAULTS, "--json"],
            env={**os.environ, "PYTHONHASHSEED": number},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in ("1", "2")
    ]
    one, two = (run.communicate(timeout=DEADLINE)[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    body = json.loads(one)
    assert body["lookups"]["total"] > 40
    assert body["wall_s"] > 0
    assert body["rss_mb"] > 1
    measured = re.compile(r'"(wall_s|rss_mb)": [0-9.]+')
    assert measured.sub(r"\1", one) == measured.sub(r"\1", two) != one


def test_another_seed_is_another_run(dhtd: Run) -> None:
    one, two = (dhtd(*TINY, "--seed", seed, "--json").body for seed in (1, 2))
    assert (one["seed"], two["seed"]) == (1, 2)
    assert one["events"] != two["events"]


def test_plain_lines_use_the_json_names(dhtd: Run) -> None:
    body = dhtd(*TINY, "--json").body
    done = dhtd(*TINY)
    assert (done.status, done.err) == (0, "")
    expected = []
    for name, value in flat(same(body)):
        words = name.replace(".", " ")
        expected.append(f"{words} {'-' if value is None else value}")
    got = [line for line in done.out.splitlines() if not line.startswith(OWN_OF_THE_MACHINE)]
    assert [line.replace(" (log2 N = 2.32)", "") for line in got] == expected
    assert f"lookups hops p50 {body['lookups']['hops']['p50']} (log2 N = 2.32)" in got


def flat(body: dict[str, Any], about: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in body.items():
        if isinstance(value, dict):
            yield from flat(value, f"{about}{name}.")
        else:
            yield about + name, value


def test_json_may_stand_before_the_command(dhtd: Run) -> None:
    assert same(dhtd("--json", *TINY).body) == same(dhtd(*TINY, "--json").body)


def test_garbage_collection_resumes_after_a_run(dhtd: Run) -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(701, 11, 12)
        assert dhtd(*TINY).status == 0
        assert (gc.get_threshold(), gc.get_freeze_count()) == ((701, 11, 12), 0)
    finally:
        gc.set_threshold(*before)


# The plan that options make


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_by_its_name_alone_is_its_plan(name: str) -> None:
    assert simulate.make_plan(name, {}) == SCENARIOS[name].plan


def test_without_options_the_plan_is_the_default() -> None:
    assert simulate.make_plan(None, {}) == Plan()


def test_an_option_replaces_one_scenario_number() -> None:
    plan = simulate.make_plan("lossy", {"nat": 0.5, "seed": 4})
    assert plan == replace(SCENARIOS["lossy"].plan, nat=0.5, seed=4)


@pytest.mark.parametrize(("nodes", "entries"), [(1, 1), (19, 1), (20, 2), (10_000, 1_000), (100_000, 1_000)])
def test_entries_grow_with_nodes_within_bounds(nodes: int, entries: int) -> None:
    assert simulate.make_plan(None, {"nodes": nodes}).entries == entries
    assert simulate.make_plan("churn", {"nodes": nodes}).entries == entries
    assert simulate.make_plan("churn", {"nodes": nodes, "entries": 7}).entries == 7


def test_a_flash_crowd_may_include_all_nodes() -> None:
    plan = simulate.make_plan("flash-crowd", {"nodes": 50})
    assert (plan.lookups, plan.entries) == (50, 50)
    assert simulate.make_plan("flash-crowd", {"nodes": 50, "lookups": 9}).lookups == 9


def test_a_fixed_node_count_may_be_repeated() -> None:
    assert simulate.make_plan("pair", {"nodes": 2}) == SCENARIOS["pair"].plan


@pytest.mark.parametrize(
    ("name", "given"),
    [
        (None, {}),
        (None, {"nodes": 20}),
        (None, {"nodes": 2_000, "entries": 100}),
        ("trio", {"seed": 9}),
        ("mass-restart", {"nodes": 10}),
        ("flash-crowd", {"nodes": 10}),
        ("flash-crowd", {"nodes": 10, "lookups": 1_000}),
        ("churn", {"returning": 0.25, "pareto": True, "duration": 12.5}),
        (None, {"partition": (10.0, 60.5), "warm": True, "loss": 1e-05, "nat": 0.1, "entries": 3}),
    ],
)
def test_the_printed_command_repeats_its_plan(
    name: str | None, given: dict[str, Any], dhtd: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = simulate.make_plan(name, given)
    program, *arguments = shlex.split(simulate.command(plan, name))
    seen: list[Plan] = []
    monkeypatch.setattr(simulation.Order, "carry_out", lambda order: seen.append(order._plan))
    assert program == "dhtd"
    assert dhtd(*arguments).status == 0
    assert seen == [plan]


# Wrong usage

WRONG: dict[str, tuple[list[object], str]] = {
    "an unknown scenario": (
        ["--scenario", "storm"],
        "no scenario 'storm'; there are: calm, lossy, churn, flash-crowd, ",
    ),
    "no nodes": (["--nodes", "0"], "--nodes 0: give a number from 1 to"),
    "nodes in letters": (["--nodes", "many"], "'many'"),
    "more nodes than it can hold": (["--nodes", "99999999"], "--nodes 99999999: give a number from 1 to 1000000"),
    "no entries": (["--entries", "0"], "--entries 0: give a number from 1 to"),
    "lookups below zero": (["--lookups", "-1"], "--lookups -1: give a number from 0 to"),
    "no time": (["--duration", "0"], "--duration 0: give a number from 10 to"),
    "a duration that is no number": (["--duration", "nan"], "--duration nan: give a number from 10 to"),
    "all lost": (["--loss", "1"], "--loss 1: give a number from 0 to 0.9"),
    "a share above all": (["--liars", "1.5"], "--liars 1.5: give a number from 0 to"),
    "a partition without an end": (["--partition", "100"], "--partition 100: give two times in seconds, such as"),
    "a partition in letters": (["--partition", "a,b"], "--partition a,b: give two times in seconds, such as"),
    "three times": (["--partition", "1,2,3"], "--partition 1,2,3: give two times"),
    "a partition that ends first": (["--partition", "200,100"], "--partition 200,100: give two times in seconds"),
    "a partition behind the end": (["--partition", "1,700"], "neither after the --duration of 600"),
    "a kind of session without any": (["--pareto"], "--pareto is about machines that leave: give --churn as well"),
    "returning without leaving": (["--returning", "0.5"], "--returning is about machines that leave"),
    "goodbyes of nobody": (["--goodbyes", "0.5"], "--goodbyes is about machines that leave"),
    "liars in a ring": (["--overlay", "chord", "--liars", "0.1"], "--liars is about Kademlia nodes: leave it away"),
    "an eclipse of a ring": (["--overlay", "chord", "--eclipse", "4"], "--eclipse is about Kademlia nodes"),
    "NAT by a scenario": (
        ["--overlay", "chord", "--scenario", "lossy"],
        "lossy is about Kademlia nodes, by its nat: give --nat 0",
    ),
    "watchers in a ring": (
        ["--overlay", "chord", "--scenario", "watchers"],
        "watchers is about Kademlia nodes, by its watched: leave --overlay chord away",
    ),
    "a comparison of one": (["--compare", "--overlay", "chord"], "--compare and --overlay: a comparison is of both"),
    "a comparison of a scenario": (["--compare", "--scenario", "churn"], "--compare and --scenario: a comparison has"),
    "a comparison with liars": (["--compare", "--liars", "0.1"], "--liars does not go with --compare"),
    "a replayed comparison": (["--compare", "--stop-at", "9"], "--compare and --stop-at: replay one of its runs"),
    "a tiny comparison": (["--compare", "--nodes", "3"], "--nodes 3: a comparison needs 20 nodes at least"),
    "a comparison to look at": (["--compare", "--view"], "--view and --compare: one run is looked at"),
    "a trio of four": (["--scenario", "trio", "--nodes", "4"], "--nodes 4: trio is about 3; leave --nodes away"),
    "no event": (["--stop-at", "0"], "--stop-at 0: give the number of an event, from 1"),
    "a picture of a replay": (["--stop-at", "9", "--plot", "x.png"], "a run that is stopped is not drawn"),
    "a picture of another kind": (["--plot", "x.gif"], "--plot x.gif: give a file that ends in .png or .svg"),
    "a picture nowhere": (["--plot", "/none/x.png"], "--plot /none/x.png: cannot write there: No such file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_status_2_before_any_run(
    case: str, dhtd: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    arguments, message = WRONG[case]
    done = dhtd("simulate", *arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("dhtd: ")
    assert message in done.err
    body = dhtd("simulate", "--json", *arguments).body
    assert body.keys() == {"error"}
    assert message in body["error"]["message"]
    assert list(home.iterdir()) == []


def test_a_picture_cannot_be_a_directory(dhtd: Run, tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    assert "x.png: cannot write there: Is a directory" in dhtd("simulate", "--plot", tmp_path / "x.png").err


def test_an_old_picture_stays_until_the_new_one(dhtd: Run, tmp_path: Path) -> None:
    (tmp_path / "x.svg").write_text("old")
    assert dhtd("simulate", "--plot", tmp_path / "x.svg", "--nodes", 0).status == 2
    simulate.check_picture(tmp_path / "x.svg")
    simulate.check_picture(tmp_path / "y.SVG")
    assert [path.read_text() for path in tmp_path.glob("*.*")] == ["old"]


def test_missing_matplotlib_is_explained(dhtd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    done = dhtd("simulate", "--plot", tmp_path / "x.png")
    assert done.status == 2
    assert "pip install 'dhtd[plot]', or pipx inject dhtd matplotlib" in done.err
    with pytest.raises(UsageError):
        simulate.check_picture(tmp_path / "x.png")


# Goals


def goal(name: str, monkeypatch: pytest.MonkeyPatch, wanted: Goal) -> None:
    monkeypatch.setattr("dhtd.sim.scenarios.SCENARIOS", {name: replace(SCENARIOS[name], goal=wanted)})


def test_a_goal_that_is_met_is_status_0(dhtd: Run) -> None:
    assert dhtd("simulate", "--scenario", "pair").status == 0


def test_a_missed_goal_is_status_1_after_figures(dhtd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    goal("pair", monkeypatch, Goal(1.0, recovery=60.0, peak=0.0))
    done = dhtd("simulate", "--scenario", "pair")
    assert done.status == 1
    assert "lookups success_rate 1.0" in done.out.splitlines()
    assert done.err.startswith("dhtd: pair misses its goal: recovery_s is None, and is to be 60 at most; peak_")
    asked = dhtd("simulate", "--scenario", "pair", "--json")
    assert (asked.status, asked.err) == (1, "")
    assert asked.body["error"]["code"] == "goal-missed"
    assert asked.body["lookups"]["total"] == 100


def test_a_run_without_a_scenario_has_no_goal(dhtd: Run) -> None:
    assert dhtd(*TINY, "--loss", 0.9).status == 0


# Replays


def test_a_replay_stops_at_its_event_and_says_why(dhtd: Run) -> None:
    done = dhtd("simulate", "--scenario", "trio", "--stop-at", 150)
    assert done.status == 0
    assert "events 150" in done.out.splitlines()
    *moments, node = done.err.splitlines()
    events = [int(moment.partition(" ")[0]) for moment in moments]
    assert events == sorted(events)
    assert events[-1] <= 150
    assert " is node " in node


def test_a_replay_is_part_of_the_object_with_json(dhtd: Run) -> None:
    body = dhtd("simulate", "--scenario", "trio", "--stop-at", 150, "--json").body
    assert body["events"] == body["replay"]["event"] == 150
    assert body["virtual_s"] == body["replay"]["virtual_s"]
    assert body["replay"]["moments"][-1].keys() == {"event", "virtual_s", "source", "destination", "message"}
    assert body["replay"]["node"]["endpoint"] == body["replay"]["moments"][-1]["destination"]


def test_a_replay_is_the_beginning_of_the_run(dhtd: Run) -> None:
    early = dhtd("simulate", "--scenario", "trio", "--stop-at", 150, "--json").body["replay"]["moments"]
    later = dhtd("simulate", "--scenario", "trio", "--stop-at", 160, "--json").body["replay"]["moments"]
    assert [moment for moment in later if moment["event"] <= 150] == early[
        len(early) - len(later) + sum(moment["event"] > 150 for moment in later) :
    ]


def test_a_replay_past_the_end_names_the_end(dhtd: Run) -> None:
    events = dhtd(*TINY, "--json").body["events"]
    done = dhtd(*TINY, "--stop-at", 10**9)
    assert done.status == 0
    assert done.err.endswith(f"\nthe run ended with event {events}\n")


# Failures


def broken(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an invariant break at the first look at or after an event."""

    def check(host: Host, now: float) -> None:
        assert seen["net"].schedule.events < at, "something is broken"

    seen: dict[str, Any] = {}

    def remember(plan: Plan) -> Simulation:
        made = Simulation(plan)
        seen["net"] = made.net
        return made

    monkeypatch.setattr("dhtd.cli.simulate.run.Simulation", remember)
    monkeypatch.setattr(invariants, "check_host", check)


def test_a_broken_invariant_tells_seed_and_path(dhtd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(100, monkeypatch)
    arguments = (*SMALL, "--seed", "3")
    done = dhtd(*arguments)
    assert (done.status, done.out) == (1, "")
    first, second, *story = done.err.splitlines()
    found = re.fullmatch(
        r"dhtd: seed 3, event (\d+), at \d+\.\d{6} virtual seconds: AssertionError: something is broken", first
    )
    assert found is not None, first
    event = found[1]
    command = second.removeprefix("The same up to there: ")
    assert command == (
        "dhtd simulate --nodes 20 --entries 2 --lookups 10 --duration 20 --seed 3 --warm --stop-at " + event
    )
    assert int(event) % 64 == 0
    assert story[-2].startswith(f"{event} at ")
    assert " is node " in story[-1]
    again = dhtd(*shlex.split(command)[1:])
    assert (again.status, again.err.splitlines()[2:]) == (1, story)
    before = dhtd(*arguments, "--stop-at", 99)
    assert before.status == 0


def test_json_of_a_broken_invariant_has_a_replay(dhtd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(100, monkeypatch)
    done = dhtd(*SMALL, "--seed", "3", "--json")
    assert (done.status, done.err) == (1, "")
    assert done.body["error"]["code"] == "simulation-failed"
    event = done.body["replay"]["event"]
    assert f"seed 3, event {event}, " in done.body["error"]["message"]
    assert done.body["error"]["message"].endswith(f"--stop-at {event}")
    assert done.body["replay"]["moments"][-1]["event"] == event


def test_a_replay_checks_every_node_at_its_end(dhtd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(65, monkeypatch)  # not a multiple of the events between checks
    done = dhtd(*SMALL, "--stop-at", 65)
    assert done.status == 1
    assert done.err.startswith("dhtd: seed 1, event 65, at ")
    assert "something is broken" in done.err.splitlines()[0]


# On a terminal


def on_a_terminal(tmp_path: Path, *arguments: str, columns: int = 80, out: str | None = None) -> Terminal:
    """Return a terminal with a run, followed by its exit status."""
    env = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": "30", "NO_COLOR": "1"}
    script = 'trap : INT; "$@"; echo "status $?"' if out is None else f'"$@" >{out}; echo "status $?"'
    return Terminal(["sh", "-c", script, "sh", str(BIN / "dhtd"), *arguments], env, tmp_path)


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9?]*[A-Za-z]|\r", "", shown)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_progress_and_a_summary(columns: int, tmp_path: Path) -> None:
    with on_a_terminal(tmp_path, "simulate", "--scenario", "trio", columns=columns) as terminal:
        shown = plain(terminal.read_to_end())
    progress, _, summary = shown.rpartition("trio: three nodes, restarted")
    for words in ("running", "100 %", "11 min 31 s", "events", "/s", "3 nodes", "100.00 % found"):
        assert words in progress
    for words in ("100 of 100 lookups found their entry", "log2 N = 1.58", "p99", "3 nodes, 5 entries, seed 1"):
        assert words in summary
    assert all(len(line) <= columns for line in summary.splitlines())
    assert summary.endswith("status 0\n")


@pytest.mark.slow
def test_no_constant_node_means_no_balance(dhtd: Run, tmp_path: Path) -> None:
    fleeting = ("simulate", "--nodes", "4", "--churn", "20", "--duration", "600", "--lookups", "4", "--entries", "1")
    assert dhtd(*fleeting, "--json").body["balance"] == {"max_over_mean": None, "p99_over_mean": None}
    with on_a_terminal(tmp_path, *fleeting) as terminal:
        assert "no node was there from the beginning to the end" in plain(terminal.read_to_end())


def test_progress_does_not_mix_with_json(tmp_path: Path) -> None:
    with on_a_terminal(tmp_path, "simulate", "--scenario", "pair", "--json", out="figures") as terminal:
        *progress, status = plain(terminal.read_to_end()).splitlines()
    assert any("running" in line for line in progress)
    assert status == "status 0"
    assert json.loads((tmp_path / "figures").read_text())["nodes"] == 2


def test_ctrl_c_ends_a_run_with_status_130(tmp_path: Path) -> None:
    with on_a_terminal(tmp_path, "simulate") as terminal:
        terminal.wait("joining")
        terminal.type("\x03")
        shown = terminal.read_to_end()
    assert plain(shown).endswith("status 130\n")
    assert "Traceback" not in shown
    assert shown.rpartition("\x1b[?25h")[1], "the cursor is left hidden"


def test_ctrl_c_between_two_checks_ends_a_run_too(dhtd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(run: Simulation, events: int) -> bool:
        if run.net.schedule.events > 50:
            raise KeyboardInterrupt
        return advance(run, events)

    advance = Simulation.advance
    monkeypatch.setattr(Simulation, "advance", interrupted)
    assert dhtd(*TINY) == (130, "", "")
