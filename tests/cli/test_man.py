"""dht(1) and dhtd(8) against the programs: the pages have everything that exists, and nothing else."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import tomllib
import typing
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import typer

from dhtd import errors
from dhtd.cli import dht as client
from dhtd.cli import dhtd as daemon
from dhtd.cli.pkarr.extra import Got
from dhtd.cli.verbs.backup import Written
from dhtd.cli.verbs.completion import Script
from dhtd.cli.verbs.dns_setup import Setup
from dhtd.cli.verbs.keys import Shown
from dhtd.cli.verbs.route import Balanced, Routed
from dhtd.cli.verbs.token import Printed
from dhtd.config.networks import MAINLINE
from dhtd.config.settings import SETTINGS
from dhtd.control.limits import ControlCounters
from dhtd.core.counters import Counters
from dhtd.daemon.app import Ready
from dhtd.daemon.log import LogCounters
from dhtd.daemon.lookup_counters import LookupCounters
from dhtd.daemon.sockets.channel import UdpCounters
from dhtd.service.events import Happening
from dhtd.service.info import SECTIONS, InfoResult
from dhtd.service.methods import METHODS
from dhtd.service.watch import WatchEvent
from dhtd.sim.comparison import Row
from dhtd.sim.report import Report
from dhtd.sim.scenarios import SCENARIOS
from dhtd.sim.story import Story
from tests.e2e.daemons import BIN, DEADLINE, Daemon, Network

MAN = Path(__file__).parents[2] / "man"
PAGES = ("dht.1", "dhtd.8")
RESULTS: dict[str, Any] = {
    **{verb: METHODS[verb].result for verb in typer.main.get_command(client.app).commands if verb in METHODS},  # type: ignore[attr-defined]
    "backup": Written,  # the file, which the client has written
    "completion": Script,
    "dns-setup": Setup,
    "events": Happening,  # one object a line
    "get": Got,
    "key": Shown,
    "route": (Routed, Balanced),
    "token": Printed,
    "watch": WatchEvent,  # one object a line
}


def page(name: str) -> str:
    return (MAN / name).read_text(encoding="utf-8")


def section(name: str, title: str) -> str:
    [found] = re.findall(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", page(name), re.MULTILINE | re.DOTALL)
    return str(found)


def words_of(macro: str, text: str) -> set[str]:
    """Return the words behind a macro, anywhere on a line; `.Ev A , B` has two."""
    found = set()
    lines = (line[1:] for line in text.splitlines() if line.startswith("."))
    for words in chain.from_iterable(
        re.findall(rf"(?:^| ){macro} (\S+(?: , [A-Z_0-9]{{3,}})*)", line) for line in lines
    ):
        found |= set(words.split(" , "))
    return found


# Where the pages are


ALL_PAGES = {path.name: path.suffix[1:] for path in sorted(MAN.iterdir())}  # with their sections


def test_every_page_is_installed_and_linked() -> None:
    project = tomllib.loads((MAN.parent / "pyproject.toml").read_text(encoding="utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    installed = {source: target for source, target in shared.items() if source.startswith("man/")}
    assert installed == {f"man/{name}": f"share/man/man{part}/{name}" for name, part in ALL_PAGES.items()}
    readme = (MAN.parent / "README.md").read_text(encoding="utf-8")
    for name, part in ALL_PAGES.items():
        assert f"{name.removesuffix(f'.{part}')}({part})" in readme


@pytest.mark.skipif(not (MAN.parent / ".ci" / "run").exists(), reason="only a clone has the script of the CI")
def test_every_page_is_looked_up_as_installed() -> None:
    script = (MAN.parent / ".ci" / "run").read_text(encoding="utf-8")
    [listed] = re.findall(r"^for page in (.*); do$", script, re.MULTILINE)
    assert sorted(listed.split()) == sorted(f"man{part}/{name}" for name, part in ALL_PAGES.items())


@pytest.mark.parametrize("name", ALL_PAGES)
def test_pages_refer_to_existing_pages_in_order(name: str) -> None:
    ours = [page.rpartition(".") for page in ALL_PAGES]
    named = set(re.findall(r"^\.Xr (dhtd?(?:[.-]\w+)?) (\d)", page(name), re.MULTILINE))
    assert named - {(title, part) for title, _, part in ours} == set()
    also = [(part, title) for title, part in re.findall(r"^\.Xr (\S+) (\d)", section(name, "SEE ALSO"), re.MULTILINE)]
    assert also == sorted(also)
    assert name == "dht-security.7" or ("7", "dht-security") in also


@pytest.mark.parametrize("name", ALL_PAGES)
def test_a_backslash_is_written_as_one(name: str) -> None:
    r"""A page has `\e` for it: `\n'` in an example is the value of a register, and not a newline for printf."""
    assert set(re.findall(r"\\(.)", page(name))) <= set('"&(-e')


def command(name: str) -> Any:
    return typer.main.get_command({"dht.1": client.app, "dhtd.8": daemon.app}[name])


def options(name: str) -> set[str]:
    """Return every option of a program and its commands, with one dash less, as behind `.Fl`."""
    top = command(name)
    found = {"-help", "h"}
    for each in (top, *top.commands.values()):
        for parameter in each.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                found |= {text[1:] for text in (*parameter.opts, *parameter.secondary_opts)}
    return found


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
@pytest.mark.parametrize("name", PAGES)
def test_mandoc_finds_no_fault(name: str) -> None:
    done = subprocess.run(
        ["mandoc", "-Tlint", "-W", "warning", MAN / name], capture_output=True, text=True, check=False, timeout=DEADLINE
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", PAGES)
def test_every_option_is_in_the_page_and_no_other(name: str) -> None:
    assert words_of("Fl", page(name)) == options(name)


@pytest.mark.parametrize("name", PAGES)
def test_each_option_has_an_item_of_its_own(name: str) -> None:
    items = "\n".join(re.findall(r"^\.It (?:Fl|Cm) .*", page(name), re.MULTILINE))
    assert words_of("Fl", items) == options(name)


def test_pages_and_program_have_the_same_commands() -> None:
    commands = command("dht.1").commands.keys()
    listed = re.findall(r"^\.It Cm (\S+)", section("dht.1", "COMMANDS"), re.MULTILINE)
    assert sorted(listed) == sorted([*commands, *SECTIONS])
    assert words_of("Cm", page("dht.1")) == {*commands, *SECTIONS}
    assert words_of("Cm", page("dhtd.8")) == set(command("dhtd.8").commands)


def test_every_method_has_its_verb() -> None:
    assert METHODS.keys() - command("dht.1").commands.keys() == {
        "complete",
        "drop",
        "enter-many",
    }  # TAB, delete and enter


def test_each_command_lists_its_options() -> None:
    items = re.findall(r"^\.It Cm (\S+)(.*)", section("dht.1", "COMMANDS"), re.MULTILINE)
    for verb, usage in items:
        found = command("dht.1").commands.get(verb)
        if found is None or ("Ar" not in usage and "Fl" not in usage):
            continue  # a section, or the other meaning of `store`
        own = {
            text[1:]
            for parameter in found.params
            if parameter.param_type_name == "option" and parameter.name != "json"
            for text in (*parameter.opts, *parameter.secondary_opts)
        }
        assert words_of("Fl", f".{usage}") == own, verb


def kind(hint: Any) -> str:
    """Return the page's name for a type."""
    plain = {str: "text", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    if hint in plain:
        return plain[hint]
    origin = typing.get_origin(hint)
    if origin is list:
        return "array"
    if origin is dict or is_object(hint):
        return "object"
    return " or ".join(kind(member) for member in typing.get_args(hint))


def is_object(hint: Any) -> bool:
    return typing.is_typeddict(hint) or dataclasses.is_dataclass(hint)


def keys(result: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys of a result in the notation of jq, with their types."""
    for name, hint in typing.get_type_hints(result).items():
        yield prefix + name, kind(hint)
        members = typing.get_args(hint)
        if is_object(hint):
            yield from keys(hint, f"{prefix}{name}.")
        elif members and is_object(members[0]):  # a list of them, or one or null
            yield from keys(members[0], f"{prefix}{name}{'[]' if typing.get_origin(hint) is list else ''}.")
    if prefix == "" and result is InfoResult:
        for counters in (UdpCounters, Counters, ControlCounters, LogCounters, LookupCounters):
            for name, hint in typing.get_type_hints(counters).items():
                yield f"network.{name}", kind(hint)


def listed_keys(text: str) -> list[tuple[str, str]]:
    return re.findall(r"^\.It Va (\S+) Pq (.+)", text, re.MULTILINE)


@pytest.mark.parametrize("verb", RESULTS)
def test_pages_and_json_have_the_same_keys(verb: str) -> None:
    [block] = re.findall(rf"^\.It Cm {verb}\n(.*?)(?=^\.It Cm |\Z)", section("dht.1", "JSON"), re.MULTILINE | re.DOTALL)
    kinds = RESULTS[verb] if isinstance(RESULTS[verb], tuple) else (RESULTS[verb],)
    assert listed_keys(block) == [each for kind in kinds for each in keys(kind)]


def test_every_announcement_key_is_in_the_page() -> None:
    hints = typing.get_type_hints(Ready)
    expected = {field.name: kind(hints[field.name]) for field in dataclasses.fields(Ready)}
    assert dict(listed_keys(section("dhtd.8", "JSON"))) == expected


def test_page_and_simulation_have_the_same_keys() -> None:
    figures = list(keys(Report))
    place = [name for name, _ in figures].index("virtual_s") + 1
    figures[place:place] = [("wall_s", "number"), ("rss_mb", "number")]
    compared = [("comparison", "array"), *keys(Row, "comparison[].")]
    told = [("replay", "object"), *keys(Story, "replay.")]
    assert listed_keys(section("dhtd.8", "SIMULATION")) == [*figures, *compared, *told]


def test_every_scenarios_goal_is_in_the_page() -> None:
    [block] = re.findall(r"^\.Ss Scenarios\n(.*?)^\.Ss ", section("dhtd.8", "SIMULATION"), re.MULTILINE | re.DOTALL)
    listed = dict(re.findall(r"^\.It Li (\S+)\n(.*?)(?=^\.It|^\.El)", block, re.MULTILINE | re.DOTALL))
    assert list(listed) == list(SCENARIOS)
    for name, scenario in SCENARIOS.items():
        goal = scenario.goal
        wanted = {
            "success_rate": goal.success_rate,
            "recall_at_k": goal.recall_at_k,
            "recovery_s": goal.recovery,
            "peak_datagrams_per_node_s": goal.peak,
            "gone_p50_s": goal.gone_p50,
            "gone_max_s": goal.gone_max,
            "seen_share": goal.seen,
            "seen_p99_ms": goal.seen_p99,
            "wrong": None if goal.seen is None else 0,
            "gets.success_rate": goal.got,
            "gets.busiest_share": goal.busiest,
            "gets.wrong": None if goal.got is None else 0,
        }
        figures = ", ".join(f"{figure} {value:g}" for figure, value in wanted.items() if value is not None)
        said = f"{scenario.summary[0].upper()}{scenario.summary[1:]}.\nGoal: {figures}.\n"
        assert listed[name] == said, name


def test_options_stand_in_the_order_of_the_table() -> None:
    listed = re.findall(r"^\.It Fl -(\S+)(?: Ar (.+))?$", section("dhtd.8", "OPTIONS"), re.MULTILINE)
    said = [(key, metavar.replace(" : Ns Ar ", ":").replace(" Ns = Ns Ar ", "=")) for key, metavar in listed]
    of_table = [(setting.key, setting.metavar) for setting in SETTINGS]
    assert [each for each in said if each in of_table or each[1]] == [*of_table, ("config", "FILE")]


def test_every_settings_variable_is_in_the_page() -> None:
    assert {variable for variable in words_of("Ev", page("dhtd.8")) if variable.startswith("DHTD_")} == {
        "DHTD_CONFIG",
        *(setting.variable for setting in SETTINGS),
    }


def listed_codes(name: str) -> dict[str, int]:
    found = re.findall(r"^\.It Li (\S+) Pq (\d+)", section(name, "ERROR CODES"), re.MULTILINE)
    assert len(found) == len(dict(found))
    return {code: int(status) for code, status in found}


def classes(root: type[errors.DhtdError] = errors.DhtdError) -> Iterator[type[errors.DhtdError]]:
    if root.__module__ == errors.__name__:
        yield root
        for child in root.__subclasses__():
            yield from classes(child)


def test_pages_list_exactly_the_error_codes() -> None:
    known = {error.code: error.exit_status for error in classes() if error is not errors.WireError}
    listed = {name: listed_codes(name) for name in PAGES}
    for codes in listed.values():
        assert codes.items() <= known.items()
    assert listed["dht.1"].keys() | listed["dhtd.8"].keys() == known.keys()


def test_pages_list_exactly_the_exit_statuses() -> None:
    statuses = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    listed = re.findall(r"^\.It (\d+)$", section("dht.1", "EXIT STATUS"), re.MULTILINE)
    assert [int(status) for status in listed] == sorted(statuses)


def examples(name: str) -> list[str]:
    return re.findall(r"^\$ (.*)", section(name, "EXAMPLES").replace(r"\e", "\\"), re.MULTILINE)


def pasted(lines: list[str], network: Network, daemon: Daemon, where: Path) -> subprocess.CompletedProcess[str]:
    """Run lines in a shell, for which there is this daemon alone."""
    env = network.environment()
    return subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", "\n".join(lines)],
        env={**env, "DHTD_SOCKET": str(daemon.socket), "PATH": f"{BIN}:{env['PATH']}"},
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


@pytest.mark.slow
def test_the_client_examples_work_when_pasted(tmp_path: Path) -> None:
    once = [line for line in examples("dht.1") if " -- " not in line]  # the others run until their servers end
    of_mainline = [line for line in once if re.search(r"\b[0-9a-f]{40}\b", line)]
    assert len(of_mainline) == 2
    with Network() as network:
        first, second = network.start(2)
        network.dht(first, "bootstrap", second.endpoint)
        lines = [line.replace("127.0.0.1:1729", second.endpoint) for line in once if line not in of_mainline]
        # Nothing listens on the port of the wiki, and doctor says so.
        lines = [f"{line} || [[ $? == 1 ]]" if line.startswith("dht doctor") else line for line in lines]
        done = pasted(lines, network, first, tmp_path)
    assert done.returncode == 0, done
    assert f"trying {first.address}:8080\n{first.address}:8080\n" in done.stdout
    assert "dht:" not in done.stderr
    with Network() as network:
        first, second = network.start(2, "--network=mainline")
        enter = next(line for line in of_mainline if "enter" in line)
        done = pasted([enter], network, second, tmp_path)
        assert done.returncode == 0, done
        done = pasted(of_mainline, network, first, tmp_path)
        assert done.returncode == 0, done
        assert f"{second.address}:6881\n" in done.stdout


def test_the_page_of_mainline_has_its_facts() -> None:
    words = " ".join(re.sub(r"^\.\w+ ", "", page("dht-mainline.7"), flags=re.MULTILINE).split())
    policy = MAINLINE.policy
    for fact in (
        "{}, {} and {}".format(*MAINLINE.routers),
        f"its port is {MAINLINE.defaults['port']}",
        f"{policy.rate_limit:.0f} queries a second are answered to a source, and {policy.rate_limit_total:,.0f} to all",
        f"{policy.pace_burst} queries at once, and then {policy.pace:.0f} a second, go to one public address",
        f"An answer to a stranger has {policy.amplification} times the bytes of its query",
        f"{policy.spare_bytes_per_source / 1_024:.0f} KiB a second and source, {policy.spare_bytes / 1_024:.0f} KiB",
        f"{policy.datagram_sent_max} bytes at most, and {policy.datagram_value_max} with a value",
        f"not answered within {policy.query_timeout:.0f} seconds",
        f"every {policy.republish / 60:.0f} minutes, and others forget it after {policy.store_expiry / 60:.0f}",
        f"Once answers from {policy.id_votes} networks",
        f"at most every {policy.id_gap / 60:.0f} minutes",
        f"{policy.sample_keys} keys at most",
        f"{policy.values:,} of them in all and {policy.values_per_source} of a source",
    ):
        assert fact in words, fact
