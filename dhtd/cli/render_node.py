"""The first section of `dht info`: the node itself."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dhtd.cli.told import Told
from dhtd.words import about, count, duration

FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
_HEALTH = {
    "joined": ("green", "connected"),
    "doubtful": ("yellow", "a contact is silent, and others are being asked; connected"),
    "joining": ("yellow", "joining"),
    "silent": ("red", "nobody answers"),
    "alone": ("yellow", "knows no other node"),
}
_SERVES = {"contacts": "its contacts only", "nobody": "nobody"}
_RESTORING = "entries are still being read from the state file: not all of them are shown"
_REACH = {
    "public": Text("reached from outside", style="green"),
    "private": Text("reached from private networks only"),
    "unknown": Text("not reached unasked so far", style="yellow"),
}


def about_node(node: Told) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    private = node.texts("network_keys")
    facts = {
        "node": Text(node.text("node_id"), style="cyan"),
        "IDs": _ids(node.parts("families")),
        "network": _health(node),
        "key": Text(", ".join(private)),
        "contacts": _contacts(node),
        "entries": _own_entries(node),
        "lease": _lease(node.part("lease")),
        "values": _values(node.part("values")),
        "watches": _watches(node.part("watches")),
        "reached at": _places(node),
        "seen": _outside(node),
        "serves": _serves(node),
        "dhtd": Text(f"{node.text('version')}, process {node.text('pid')}, up {duration(node.number('uptime_s'))}"),
        "socket": Text(node.text("socket")),
        "doors": Text("\n".join(node.texts("doors"))),
        "state": Text(node.text("state")),
        "restoring": Text(_RESTORING if node.flag("restoring") else "", style="yellow"),
        "damage": Text("\n".join(node.texts("state_notices"))),
    }
    for name, words in facts.items():
        if words.plain:
            grid.add_row(Text(name, style="dim"), words)
    return grid


def _ids(families: list[Told]) -> Text:
    """Say how the ID of each family relates to the address, where the network has a rule for that."""
    lines = []
    for family in families:
        suits = family.body.get("id_suits")
        if suits is not None:
            words = "suits its address" if suits else "does not suit its address yet"
            name = family.text("family")
            lines.append(f"{FAMILIES.get(name, name)} {family.text('node_id')} {words}")
    return Text("\n".join(lines))


def _serves(node: Told) -> Text:
    """Say who is answered, where that is not everybody."""
    serves = node.text("serves")
    return Text(
        "" if serves in {"all", "-"} else f"read-only: it answers {_SERVES.get(serves, serves)}", style="yellow"
    )


def _health(node: Told) -> Text:
    """Say how the node is in the network of each of its families."""
    network = node.body.get("network")
    health = Text("private: " if node.body.get("network_keys") else f"{network}: " if network == "mainline" else "")
    families = node.parts("families")
    for family in families:
        state = family.text("state")
        style, words = _HEALTH.get(state, ("magenta", state))
        health.append("; " if family is not families[0] else "")
        health.append(f"● {words}", style=style)
        name = family.text("family")
        by = f" by {FAMILIES.get(name, name)}" if len(families) > 1 else ""
        health.append(f"{by} for {duration(family.number('since_s'))}")
    size = node.number("network_size") if families else None
    if size is not None:
        health.append(f"; {about(size)} {'node' if size == 1 else 'nodes'}")
    return health if families else Text("connected" if node.flag("connected") else "-")


def _contacts(node: Told) -> Text:
    by_state = {state: number for state, number in node.part("contacts").body.items() if number}
    return Text(", ".join(f"{number} {state}" for state, number in by_state.items()) or "none")


def _own_entries(node: Told) -> Text:
    unheld = node.number("unheld_entries")
    words = Text(f"{count(node.number('own_entries'), 'entry')} of this machine")
    if unheld:
        words.append(f", {count(unheld, 'entry')} held by nobody that answers", style="yellow")
    return words


def _lease(lease: Told) -> Text:
    """Say how long other nodes keep the entries, where some nodes have entries to keep."""
    holders = lease.number("holders")
    if not holders:
        return Text()
    renewed = f"{duration(lease.number('lease_s'))}, renewed every {duration(lease.number('period_s'))}"
    return Text(f"{renewed} at {count(holders, 'node')}")


def _watches(watches: Told) -> Text:
    """Say how many IDs are watched here and for others, where any is."""
    own, held = watches.number("own"), watches.number("held")
    if not own and not held:
        return Text()
    return Text(f"{count(own, 'ID')} watched here, {held} for other nodes")


def _values(values: Told) -> Text:
    """Say how many values are kept here and held for others, where any is."""
    own, unheld, held = (values.number(name) for name in ("own", "unheld", "held"))
    if not own and not held:
        return Text()
    words = Text(f"{count(own, 'value')} kept here")
    if unheld:
        words.append(f", {count(unheld, 'value')} held by nobody that answers", style="yellow")
    return words.append(f"; {values.text('held')} held for others, {values.text('held_bytes')} bytes")


def _places(node: Told) -> Text:
    places = node.texts("endpoints")
    return Text(" ".join(places) or f"nobody has told; it listens on {' '.join(node.texts('listening')) or '-'}")


def _outside(node: Told) -> Text:
    """Say who vouches for the address, and whether anybody has come to it unasked."""
    vouching = [
        f"by {count(networks, 'network')} at {endpoint}" for endpoint, networks in node.part("observed").body.items()
    ]
    reach = node.text("reachable")
    words = Text(", ".join(vouching) or "by nobody").append("; ")
    return words.append_text(_REACH.get(reach, Text(f"reachable: {reach}")))
