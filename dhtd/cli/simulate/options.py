"""`dhtd simulate`: the options, and the plan that they make."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from dhtd.cli.completion.candidates import complete_file, complete_scenario
from dhtd.cli.given import option, takes
from dhtd.cli.output import JsonOption, Verb
from dhtd.errors import UsageError

if TYPE_CHECKING:
    from dhtd.sim.plan import Plan
    from dhtd.sim.scenarios import Scenario

ENTRIES_MAX = 1_000  # where nobody says how many: more change no figure, and cost time
PICTURES = (".png", ".svg")
VIEW = "--view"
ADDRESS = "127.0.0.1:8750"
FOR_VIEWERS: Final = {"duration": 60.0, "lookups": 210}  # lookups begin after 18 s, and five of them come in a second


class Row(NamedTuple):
    """An option that says something of the plan."""

    field: str  # of the plan, and the name of the option
    kind: type
    help: str
    metavar: str | None = None  # a flag has none

    @property
    def parameter(self) -> inspect.Parameter:
        """The option, as typer is to see it."""
        how = typer.Option(f"--{self.field}", metavar=self.metavar, help=self.help, show_default=False)
        return option(self.field, Annotated[self.kind | None, how])


OPTIONS: Final = (
    Row("nodes", int, "Nodes. [default: 1000]", "N"),
    Row("lookups", int, "Lookups, spread over the duration. [default: 1000]", "N"),
    Row("entries", int, "Entries to look up. [default: a tenth of the nodes, at most 1000]", "N"),
    Row("duration", float, "Seconds after the network stands. [default: 600]", "S"),
    Row("seed", int, "The same seed gives the same run. [default: 1]", "N"),
    Row("overlay", str, "Nodes of kademlia, or of chord. [default: kademlia]", "NAME"),
    Row("loss", float, "Share of datagrams that are lost.", "P"),
    Row("duplicate", float, "Share of datagrams that arrive twice.", "P"),
    Row("reorder", float, "Share of datagrams that are overtaken.", "P"),
    Row("values", int, "Values that are put. [default: 0]", "N"),
    Row("gets", int, "Gets of these. [default: 0]", "N"),
    Row("away", float, "Seconds until their owners are off; gets come 12 h later.", "S"),
    Row("uncached", bool, "What was got is not handed to nodes on the way."),
    Row("churn", float, "Seconds in the mean until a machine leaves.", "SESSION_S"),
    Row("pareto", bool, "Most sessions short, some very long: Pareto, not exponential."),
    Row("returning", float, "Share of leaving machines that come back, from the state file.", "P"),
    Row("goodbyes", float, "Share of machines that leave for good and say goodbye.", "P"),
    Row("nat", float, "Share of nodes behind NAT: they can ask, but not be asked.", "P"),
    Row("liars", float, "Share of nodes that lie.", "P"),
    Row("jumps", float, "Share of nodes with a clock that jumps once.", "P"),
    Row("partition", str, "Seconds of the duration in which the network is in two halves.", "FROM,TO"),
    Row("eclipse", int, "Attackers from N networks take the places nearest to each key. [default: 0]", "NETWORKS"),
    Row("closest", bool, "Attackers are far nearer to the key than all others."),
    Row("late", bool, "Attackers come after the entries were published."),
    Row("site", bool, "IPv6 only; the attackers of a key are in /64s of one /48."),
    Row("undefended", bool, "Nodes do nothing against the attack."),
    Row("warm", bool, "Begin with a network that has been up for hours."),
)


class Simulate(Verb):
    """The verb. Its option --view may have an address behind it, or none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        has_none = (word == VIEW and after.startswith("-") for word, after in pairwise([*args, "-"]))
        spelled = [f"{VIEW}={ADDRESS}" if bare else word for word, bare in zip(args, has_none, strict=True)]
        return list(super().parse_args(ctx, spelled))


@takes([row.parameter for row in OPTIONS])
def simulate(
    context: typer.Context,
    given: Mapping[str, Any],
    *,
    scenario: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Use the numbers of this scenario, and its goal.",
            autocompletion=complete_scenario,
        ),
    ] = None,
    stop_at: Annotated[
        int | None,
        typer.Option("--stop-at", metavar="EVENT", help="Replay up to this event, and print the events before it."),
    ] = None,
    plot: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw a picture as well, .png or .svg.", autocompletion=complete_file),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Run kademlia and chord, with 100 to 10000 nodes, into one table. It takes some 20 min.",
        ),
    ] = False,
    view: Annotated[
        str | None,
        typer.Option(VIEW, metavar="[ADDRESS]", help=f"Show it in a browser while it runs. [default: {ADDRESS}]"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a whole network on a virtual clock, under faults. The same seed prints the same figures."""
    if "partition" in given:
        given = {**given, "partition": _span(given["partition"])}
    json = json or context.obj
    if view is not None:
        _check_alone(json=json, plot=plot, stop_at=stop_at, compare=compare)
        plan = make_plan(scenario, given if scenario is not None else {**FOR_VIEWERS, **given})

        from dhtd.cli.simulate.view import look_at

        found = find_scenario(scenario)
        heading = "" if found is None else f"{scenario}: {found.summary}"
        look_at(plan, heading, command(plan, scenario), view)
        return
    if compare:
        _check_compared(given, scenario=scenario, stop_at=stop_at)
        _compare(given, plot, json=json)
        return
    plan = make_plan(scenario, given)
    picture = None if plot is None else check_picture(Path(plot))
    if stop_at is not None:
        _check_stop(stop_at, plot)

    from dhtd.cli.simulate.run import Order

    Order(
        plan,
        scenario,
        find_scenario(scenario),
        command,
        stop_at=stop_at,
        picture=picture,
        json=json,
    ).carry_out()


def _check_compared(given: Mapping[str, Any], *, scenario: str | None, stop_at: int | None) -> None:
    """Raise `UsageError` for what cannot be compared."""
    if scenario is not None:
        raise UsageError("--compare and --scenario: a comparison has a plan of its own; give --churn or --loss instead")
    if stop_at is not None:
        raise UsageError("--compare and --stop-at: replay one of its runs without --compare")
    if "overlay" in given:
        raise UsageError("--compare and --overlay: a comparison is of both; leave one of them away")


def _compare(given: Mapping[str, Any], plot: str | None, *, json: bool) -> None:
    from dhtd.cli.simulate.compare import Comparing
    from dhtd.sim import comparison

    plan = replace(comparison.PLAN, **{**given, "warm": True})
    plan.check()
    comparison.check(plan)
    picture = None if plot is None else check_picture(Path(plot))
    words = ["dhtd simulate --compare", *(_option(name, value) for name, value in given.items())]
    comparing = Comparing(
        plan, given.get("nodes"), command, samples=bool(given.get("warm")), picture=picture, json=json
    )
    comparing.carry_out(" ".join(words))


def make_plan(name: str | None, given: Mapping[str, Any]) -> Plan:
    """Return the plan of a scenario, or the plain one, with what was `given` instead; raise `UsageError`."""
    from dhtd.sim.plan import Plan

    scenario = find_scenario(name)
    base = Plan() if scenario is None else scenario.plan
    nodes = given.get("nodes", base.nodes)
    if scenario is not None and scenario.fixed and nodes != base.nodes:
        raise UsageError(f"--nodes {nodes}: {name} is about {base.nodes}; leave --nodes away")
    changed = dict(given)
    if "nodes" in given:
        # In the scenario's proportion; it has a number of its own where that is the point of it.
        if base.entries == Plan().entries:
            changed.setdefault("entries", max(1, min(ENTRIES_MAX, nodes * base.entries // base.nodes)))
        if base.rush is not None:
            changed.setdefault("lookups", max(1, nodes * base.lookups // base.nodes))
    plan = Plan(**changed) if scenario is None else scenario.vary(**changed)
    if scenario is not None and plan.overlay != base.overlay:
        _check_scenario(name, plan, given)
    plan.check()
    for field in ("pareto", "returning", "goodbyes"):
        if field in given and plan.churn is None:
            raise UsageError(f"--{field} is about machines that leave: give --churn as well")
    for field in ("closest", "late", "site"):
        if field in given and not plan.eclipse:
            raise UsageError(f"--{field} is about attackers around a key: give --eclipse as well")
    return plan


def _check_scenario(name: str | None, plan: Plan, given: Mapping[str, Any]) -> None:
    """Raise `UsageError` where a scenario is about what only Kademlia nodes do."""
    from dhtd.sim.plan import KADEMLIA_ONLY

    named = {row.field for row in OPTIONS}
    for field in KADEMLIA_ONLY:
        if getattr(plan, field) and field not in given:
            mend = f"give --{field} 0, or leave" if field in named else "leave"
            raise UsageError(
                f"--scenario {name} is about Kademlia nodes, by its {field}: {mend} --overlay {plan.overlay} away"
            )


def command(plan: Plan, name: str | None) -> str:
    """Return the command line that runs this plan."""
    from dhtd.sim.plan import Plan

    scenario = find_scenario(name)
    base = Plan() if scenario is None else scenario.plan
    words = ["dhtd simulate"] + ([] if name is None else [f"--scenario {name}"])
    always = {"seed"} | ({"nodes", "entries", "lookups"} if plan.nodes != base.nodes else set())
    for field in fields(plan):
        value = getattr(plan, field.name)
        if value != getattr(base, field.name) or field.name in always:
            words.append(_option(field.name, value))
    return " ".join(words)


def _option(name: str, value: Any) -> str:
    return f"--{name}" if value is True else f"--{name} {_word(value)}"


def _word(value: str | float | tuple[float, float]) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return ",".join(map(_word, value))
    return repr(value).removesuffix(".0")


def find_scenario(name: str | None) -> Scenario | None:
    """Return the scenario of this name, or None where none is named; raise `UsageError`."""
    from dhtd.sim.scenarios import SCENARIOS

    if name is not None and name not in SCENARIOS:
        raise UsageError(f"no scenario {name!r}; there are: {', '.join(SCENARIOS)}")
    return None if name is None else SCENARIOS[name]


def _span(text: str) -> tuple[float, float]:
    begin, _, end = text.partition(",")
    try:
        return float(begin), float(end)
    except ValueError:
        raise UsageError(f"--partition {text}: give two times in seconds, such as 600,1800") from None


def _check_alone(*, json: bool, plot: str | None, stop_at: int | None, compare: bool) -> None:
    """Raise `UsageError` for options that are about a run with an end."""
    for other, is_given, why in (
        ("--compare", compare, "one run is looked at"),
        ("--json", json, "a run that is looked at has no end: ask GET /v1/simulation for its figures"),
        ("--plot", plot is not None, "a run that is looked at is not drawn"),
        ("--stop-at", stop_at is not None, "a replay stops, and a run that is looked at goes on"),
    ):
        if is_given:
            raise UsageError(f"{VIEW} and {other}: {why}")


def _check_stop(stop_at: int, plot: str | None) -> None:
    if stop_at < 1:
        raise UsageError(f"--stop-at {stop_at}: give the number of an event, from 1")
    if plot is not None:
        raise UsageError("--stop-at and --plot: a run that is stopped is not drawn")


def check_picture(path: Path) -> Path:
    """Return `path`; raise `UsageError` where no picture can be written there, before hours are spent on it."""
    if path.suffix.lower() not in PICTURES:
        raise UsageError(f"--plot {path}: give a file that ends in {' or '.join(PICTURES)}")
    if find_spec("matplotlib") is None:
        raise UsageError(
            "--plot needs matplotlib, which is not installed: "
            "pip install 'dhtd[plot]', or pipx inject dhtd matplotlib, does that"
        )
    try:
        was_there = path.exists()
        with path.open("ab"):
            pass
        if not was_there:
            path.unlink()
    except OSError as error:
        raise UsageError(f"--plot {path}: cannot write there: {error.strerror}") from None
    return path


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = (
        "dhtd simulate --scenario churn --nodes 300\n"
        "dhtd simulate --nodes 1000 --loss 0.05 --nat 0.2 --plot picture.svg\n"
        "dhtd simulate --view --nodes 10000 --warm"
    )
    app.command(cls=Simulate, epilog=examples)(simulate)
