"""What is drawn on a terminal. The only module that imports rich; off a terminal nothing comes here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import log2
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dhtd.cli.terminal import drawing

if TYPE_CHECKING:
    from dhtd.control.protocol import (
        BucketInfo,
        HeldInfo,
        InfoResult,
        LookupEvent,
        LookupResult,
        NodeInfo,
        Stats,
        TrackedInfo,
        WithdrawalInfo,
    )
    from dhtd.sim.plan import Plan
    from dhtd.sim.simulation import Status

_STATES = {"good": ("green", "█"), "questionable": ("yellow", "▓"), "bad": ("red", "░")}
_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
_K = 8  # places in a bucket's bar; fuller buckets have longer ones
_ROWS_MAX = 20  # entries shown of each kind; the rest is counted
_BAR_WIDTH = 12
_SPEED_OVER = 20  # looks at a simulation, two seconds or so, over which its speed is told
_BESIDE = 62  # columns that the rest of an entry's line takes at most


def lookup(answers: Iterator[LookupEvent | LookupResult]) -> LookupResult:
    """Print endpoints as they come in, above a line that tells how the lookup goes; return the result."""
    console = Console(highlight=False)
    printed: set[str] = set()
    answer: LookupEvent | LookupResult | None = None
    status = console.status("asking the nearest nodes")
    with drawing(status.stop, status.start), status:
        for answer in answers:
            for peer in answer["peers"]:
                if peer not in printed:
                    printed.add(peer)
                    console.print(Text(peer))
            status.update(Text(_progress(len(printed), answer["stats"])))
    return cast("LookupResult", answer)


def info(result: InfoResult) -> None:
    """Print the view of what is inside the daemon."""
    console = Console(highlight=False)
    console.print(Group(*_view(result, console.width)))


@contextmanager
def watching(title: str) -> Iterator[Callable[[Status], None]]:
    """Show on stderr how far a simulation is, at each call with its status; nothing of it stays."""
    console = Console(stderr=True, highlight=False)
    begun = perf_counter()
    seen: deque[tuple[float, int]] = deque([(begun, 0)], maxlen=_SPEED_OVER)
    # No thread that draws by itself: whoever simulates calls often enough, and is not to be held up.
    live = Live(console=console, auto_refresh=False, transient=True)
    with drawing(live.stop, live.start), live:

        def show(status: Status) -> None:
            now = perf_counter()
            (since, events), spent = seen[0], now - begun
            seen.append((now, status.events))
            speed = (status.events - events) / max(now - since, 1e-6)
            live.update(_progress_of_simulation(title, status, speed, spent), refresh=True)

        yield show


def simulation(result: Mapping[str, Any], plan: Plan, heading: str) -> None:
    """Print what a simulation has shown."""
    console = Console(highlight=False)
    console.print(Group(*_simulated(result, plan, heading)))


def _view(result: InfoResult, width: int) -> Iterator[RenderableType]:
    if "node" in result:
        yield _node(result["node"])
    if "routing_table" in result:
        buckets = result["routing_table"]["buckets"]
        families = dict.fromkeys(bucket["family"] for bucket in buckets)
        for family in families:
            yield _title(f"Routing table of {_FAMILIES.get(family, family)}" if len(families) > 1 else "Routing table")
            yield _buckets([bucket for bucket in buckets if bucket["family"] == family])
    if "tracking" in result:
        yield _title(f"Entered here: {len(result['tracking'])}")
        yield _tracked(result["tracking"], width)
    if result.get("withdrawals") or list(result) == ["withdrawals"]:
        yield _title(f"Deleted here, and perhaps still held: {len(result['withdrawals'])}")
        yield _withdrawals(result["withdrawals"], width)
    if "store" in result:
        yield _title(f"Held for others: {len(result['store'])}")
        yield _held(result["store"], width)
    if "network" in result:
        yield _title("Since start")
        yield _network(result["network"])


def _progress(found: int, stats: Stats) -> str:
    return (
        f"{found} found; {stats['queries']} queries, {stats['responses']} nodes answered, {stats['timeouts']} did not; "
        f"{stats['hops']} {'hop' if stats['hops'] == 1 else 'hops'}"
    )


def _title(text: str) -> RenderableType:
    return Padding(Text(text, style="bold"), (1, 0, 0, 0))


def _grid(*justify: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    for side in justify:
        grid.add_column(justify="right" if side == "right" else "left", no_wrap=True, overflow="ellipsis")
    return grid


def _node(node: NodeInfo) -> RenderableType:
    good, total = node["contacts"]["good"], sum(node["contacts"].values())
    if node["connected"]:
        health = Text("● connected", style="green")
    elif total:
        health = Text("● nobody answers", style="red")
    else:
        health = Text("● alone", style="yellow")
    health.append(f"   {good} good of {total} contacts, up {_duration(node['uptime_s'])}", style="default")
    grid = _grid("left", "left")
    grid.columns[1].no_wrap = False
    grid.columns[1].overflow = "fold"
    grid.add_row(Text("node", style="dim"), Text(node["node_id"], style="cyan"))
    grid.add_row(Text("reached at", style="dim"), Text("  ".join(node["endpoints"])))
    grid.add_row(Text("seen", style="dim"), _outside(node))
    grid.add_row(Text("health", style="dim"), health)
    grid.add_row(Text("dhtd", style="dim"), Text(f"{node['version']}, process {node['pid']}, {node['socket']}"))
    return grid


def _outside(node: NodeInfo) -> Text:
    """Say who vouches for the address, and whether anybody has come to it unasked."""
    vouching = [
        f"by {networks} {'network' if networks == 1 else 'networks'} at {endpoint}"
        for endpoint, networks in node["observed"].items()
    ]
    reached = {
        "public": Text("reached from outside", style="green"),
        "private": Text("reached from private networks only"),
        "unknown": Text("not reached unasked so far", style="yellow"),
    }
    return Text(", ".join(vouching) or "by nobody", style="default").append("; ").append(reached[node["reachable"]])


def _buckets(buckets: list[BucketInfo]) -> RenderableType:
    grid = _grid("left", "left", "right", "left")
    empty = 0
    for bucket in buckets:
        if not bucket["members"]:
            empty += 1
            continue
        bar = Text()
        for member in sorted(bucket["members"], key=lambda member: list(_STATES).index(member["state"])):
            style, glyph = _STATES[member["state"]]
            bar.append(glyph, style=style)
        bar.append("·" * max(0, _K - len(bucket["members"])), style="dim")
        active = Text(f"{_duration(bucket['last_activity_s'])} ago", style="dim")
        count = Text(str(len(bucket["members"])))
        grid.add_row(Text(_range(bucket), style="cyan"), bar, count, active)
    legend = Text()
    for state, (style, glyph) in _STATES.items():
        legend.append(f"{glyph} {state}  ", style=style)
    if empty:
        legend.append(f"{empty} empty buckets not shown", style="dim")
    return Group(grid, legend)


def _range(bucket: BucketInfo) -> str:
    """Return what the IDs of a bucket have in common, in hexadecimal, and the rest of its bits as a mask."""
    low, high = int(bucket["low"], 16), int(bucket["high"], 16)
    width = 4 * len(bucket["low"])
    prefix = width - (low ^ high).bit_length()
    digits = -(-prefix // 4)
    shown = bucket["low"][:digits] if digits <= 8 else f"{bucket['low'][:3]}..{bucket['low'][digits - 3 : digits]}"
    return f"{shown}…/{prefix}"


def _tracked(entries: list[TrackedInfo], width: int) -> RenderableType:
    grid = _grid("left", "right", "right", "left")
    longest = max((entry["refresh_in_s"] for entry in entries), default=1.0) or 1.0
    for entry in entries[:_ROWS_MAX]:
        bar = _remaining(entry["refresh_in_s"], longest, "blue")
        replicas = Text(f"{entry['replicas']} replicas", style="green" if entry["replicas"] else "red")
        again = Text(" again in ").append(_duration(entry["refresh_in_s"]))
        grid.add_row(_id(entry["id"], width), Text(f"port {entry['port']}"), replicas, bar + again)
    return _with_rest(grid, len(entries))


def _withdrawals(pending: list[WithdrawalInfo], width: int) -> RenderableType:
    grid = _grid("left", "right", "left", "left")
    for each in pending[:_ROWS_MAX]:
        state = Text("to be confirmed", style="green") if each["acknowledged"] else Text("to be asked", style="red")
        if each["retry_in_s"] is not None:
            state.append(f" in {_duration(each['retry_in_s'])}", style="default")
        grid.add_row(_id(each["id"], width), Text(f"port {each['port']}"), Text(each["endpoint"]), state)
    return _with_rest(grid, len(pending))


def _held(entries: list[HeldInfo], width: int) -> RenderableType:
    grid = _grid("left", "left", "left")
    for entry in sorted(entries, key=lambda entry: entry["expires_in_s"])[:_ROWS_MAX]:
        bar = _remaining(entry["expires_in_s"], entry["age_s"] + entry["expires_in_s"], "magenta")
        expires = Text(" expires in ").append(_duration(entry["expires_in_s"]))
        grid.add_row(_id(entry["id"], width), Text(entry["endpoint"]), bar + expires)
    return _with_rest(grid, len(entries))


def _id(id: str, width: int) -> Text:
    """Return an ID, or as much of it as leaves room for what stands beside it."""
    room = max(8, width - _BESIDE)
    return Text(id if len(id) <= room else f"{id[: room - 1]}…", style="cyan")


def _with_rest(grid: Table, count: int) -> RenderableType:
    if count == 0:
        return Text("none", style="dim")
    if count <= _ROWS_MAX:
        return grid
    return Group(grid, Text(f"and {count - _ROWS_MAX} more: dht info | cat, or --json, has them all", style="dim"))


def _remaining(seconds: float, of: float, style: str) -> Text:
    filled = round(_BAR_WIDTH * min(1.0, seconds / of)) if of > 0 else 0
    return Text("━" * filled, style=style).append("━" * (_BAR_WIDTH - filled), style="bright_black")


def _network(counters: dict[str, object]) -> RenderableType:
    grid = _grid("left", "right", "left", "right")
    cells: list[tuple[str, str]] = []
    for name, value in counters.items():
        if isinstance(value, dict):
            cells += [(f"{name} {method}", f"{count:,}") for method, count in value.items() if count]
        elif value:
            cells.append((name, f"{value:,}"))
    half = -(-len(cells) // 2)
    for index in range(half):
        right = cells[half + index] if half + index < len(cells) else ("", "")
        row = (*cells[index], *right)
        grid.add_row(
            *(Text(cell.replace("_", " "), style="dim" if place % 2 == 0 else "") for place, cell in enumerate(row))
        )
    return grid if cells else Text("nothing", style="dim")


def _progress_of_simulation(title: str, status: Status, speed: float, spent: float) -> RenderableType:
    share = min(1.0, status.virtual_s / status.total_s)
    top = Table.grid(padding=(0, 1), expand=True)
    top.add_column(no_wrap=True)
    top.add_column(ratio=1)
    top.add_column(no_wrap=True, justify="right")
    top.add_row(
        Text(f"{title}{status.phase}"),
        ProgressBar(total=1.0, completed=share),
        Text(f"{100 * share:3.0f} %  {_duration(status.virtual_s)} of {_duration(status.total_s)}"),
    )
    success = f", {100 * status.found / status.ended:.2f} % found" if status.ended else ""
    live = (
        f"{status.live:,} {'node' if status.live == 1 else 'nodes'}   {status.ended:,} lookups{success}   "
        f"{status.events:,} events, {speed:,.0f}/s   {_duration(spent)}"
    )
    return Group(top, Text(live, style="dim", no_wrap=True, overflow="ellipsis"))


def _simulated(result: Mapping[str, Any], plan: Plan, heading: str) -> Iterator[RenderableType]:
    lookups, traffic, table, balance = (result[key] for key in ("lookups", "traffic", "table", "balance"))
    if heading:
        yield Text(heading, style="bold")
    yield _success(lookups)
    yield Text("")
    yield _percentiles(result)
    yield Text("")
    grid = _grid("left", "left")
    grid.columns[1].no_wrap = False
    recall = lookups["recall_at_k"]
    facts = {
        "recall at K": ""
        if recall is None
        else f"{100 * recall:.2f} % of the nodes nearest to a key answered its lookup",
        "queries": f"{lookups['queries']['mean']:.1f} in the mean, {lookups['queries']['p99']:g} at p99",
        "recovery": ""
        if lookups["recovery_s"] is None
        else f"{_duration(lookups['recovery_s'])} after the partition until all lookups across it succeed",
        "traffic": f"{traffic['datagrams_per_node_s']:.2f} datagrams, {traffic['bytes_per_node_s']:,.0f} bytes "
        f"a node and second; {traffic['peak_datagrams_per_node_s']:,} at most",
        "tables": f"{table['size_p50']:g} contacts in the median, {100 * table['stale_share']:.1f} % stale",
        "balance": "no node was there from the beginning to the end"
        if balance["max_over_mean"] is None
        else f"the busiest node gets {balance['max_over_mean']:.2f} times the mean, "
        f"p99 {balance['p99_over_mean']:.2f} times",
        "network": f"{result['nodes']:,} {'node' if result['nodes'] == 1 else 'nodes'}, "
        f"{plan.entries:,} {'entry' if plan.entries == 1 else 'entries'}, seed {result['seed']}",
        "run": f"{result['events']:,} events in {_duration(result['virtual_s'])}, which took "
        f"{_duration(result['wall_s'])} and {result['rss_mb']:,.0f} MB",
    }
    for name, words in facts.items():
        if words:
            grid.add_row(Text(name, style="dim"), Text(words))
    yield grid


def _success(lookups: Mapping[str, Any]) -> RenderableType:
    found, total = lookups["found"], lookups["total"]
    if not total:
        return Text("no lookups", style="yellow")
    style = "green" if found == total else "yellow" if found >= 0.99 * total else "red"
    filled = _BAR_WIDTH * found // total
    line = Text(f"{found:,} of {total:,} lookups found their entry, {100 * lookups['success_rate']:.2f} % ")
    return line.append("━" * filled, style=style).append("━" * (_BAR_WIDTH - filled), style="bright_black")


def _percentiles(result: Mapping[str, Any]) -> RenderableType:
    lookups = result["lookups"]
    grid = _grid("left", "right", "right", "right", "right", "left")
    grid.add_row("", *(Text(name, style="dim") for name in ("p50", "p90", "p99", "max")), "")
    hops = lookups["hops"]
    against = Text(f"log2 N = {log2(result['nodes']):.2f}", style="dim")
    values = (Text(f"{hops[name]:g}") for name in ("p50", "p90", "p99", "max"))
    grid.add_row(Text("hops", style="dim"), *values, against)
    for name, key in (("first answer", "first_ms"), ("end", "latency_ms")):
        spread = (Text(f"{lookups[key][part]:,.0f} ms") for part in ("p50", "p90", "p99"))
        grid.add_row(Text(name, style="dim"), *spread, "", "")
    return grid


def _duration(seconds: float) -> str:
    """Return a duration in its two largest units, such as `2 h 5 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
