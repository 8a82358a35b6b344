"""The candidates that TAB offers: sections, files, and what the daemon knows. No errors, no long waits."""

from __future__ import annotations

import os
from collections.abc import Iterable
from string import hexdigits

import typer

from dhtd.errors import DhtdError

PATIENCE = 0.5  # seconds for a daemon to answer while the user waits for TAB; --timeout on the line counts more
FILES = "\0files"  # stands where a candidate's help would: the shell is to offer files itself


def complete_section(incomplete: str) -> list[str]:
    """Offer the sections of `dht info`."""
    from dhtd.service.info import SECTIONS

    return [section for section in SECTIONS if section.startswith(incomplete)]


def complete_file(incomplete: str) -> list[tuple[str, str]]:
    """Have the shell offer files: it handles quoting, `~` and directories."""
    return [(incomplete, FILES)]


def complete_cap(incomplete: str) -> list[str]:
    """Offer the caps of `--cap`, with their default numbers."""
    from dhtd.config.values import CAPS_APART
    from dhtd.core.counters import CAPS
    from dhtd.core.policy import DEFAULT

    offered = [f"{cap}={getattr(DEFAULT, cap):g}" for cap in CAPS if cap not in CAPS_APART]
    return [cap for cap in offered if cap.startswith(incomplete)]


def complete_instance(incomplete: str) -> list[str]:
    """Offer the instances that have a control socket or a state file."""
    from dhtd.config import paths

    try:
        places = [paths.control_socket(), paths.state_file()]
        names = {path.stem for place in places for path in place.parent.glob(f"*{place.suffix}")}
    except (DhtdError, OSError):
        return []
    return _matching(sorted(names), incomplete)


def complete_network(incomplete: str) -> list[str]:
    """Offer the networks."""
    from dhtd.config.networks import NETWORKS

    return _matching(NETWORKS, incomplete)


def complete_scenario(incomplete: str) -> list[tuple[str, str]]:
    """Offer the scenarios of `dhtd simulate`."""
    from dhtd.sim.scenarios import SCENARIOS

    return [(name, scenario.summary) for name, scenario in SCENARIOS.items() if name.startswith(incomplete)]


def complete_id(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the names and IDs that this node has entered, and the IDs that it holds for others."""
    return _ids(context, "id", incomplete)


def complete_own_id(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the names and IDs that this node has entered, and the IDs of the values that it keeps."""
    return _ids(context, "own-id", incomplete)


def complete_value_id(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the IDs of the values that this node keeps, or holds for others."""
    return _digits(context, "value-id", incomplete)


def complete_own_port(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the ports on which this node has entered the ID before it on the line."""
    from dhtd.cli.arguments import named_network, parse_key

    options = context.find_root().params
    try:
        network = named_network(options.get("network"), options.get("instance"), os.environ)
        id = parse_key(str(context.params.get("id", "")), name=bool(context.params.get("name")), network=network).id
    except DhtdError:
        return []
    return _matching(_ask(context, "own-port", incomplete, id), incomplete)


def complete_endpoint(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the endpoints of the nodes in the routing table."""
    return _matching(_ask(context, "endpoint", incomplete), incomplete)


def _ids(context: typer.Context, what: str, incomplete: str) -> list[str]:
    """Return the matching names and IDs; digits already typed are left in the case that they have."""
    names = [name for name in _matching(_ask(context, "own-name", incomplete), incomplete) if _is_plain(name)]
    if context.params.get("name"):
        return names
    return [*(name for name in names if _is_name(name)), *_digits(context, what, incomplete)]


def _digits(context: typer.Context, what: str, incomplete: str) -> list[str]:
    prefix = incomplete.lower()
    if set(prefix) - set(hexdigits):
        return []
    return [incomplete + id[len(incomplete) :] for id in _matching(_ask(context, what, prefix), prefix)]


def _is_plain(name: str) -> bool:
    """Whether a name stands on a line of any shell as it is."""
    return all(character.isalnum() or character in "_.,:@%+/-" for character in name) and not name.startswith("-")


def _is_name(text: str) -> bool:
    """Whether a text is taken for a name without `--name`."""
    from dhtd.cli.arguments import parse_key

    try:
        return parse_key(text, name=False).name is not None
    except DhtdError:
        return False


def _matching(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(incomplete)]


def _ask(context: typer.Context, what: str, prefix: str, id: str | None = None) -> list[str]:
    from dhtd.config.networks import network_of
    from dhtd.config.sources import client_socket
    from dhtd.control.client import Client
    from dhtd.service.info import COMPLETE

    root = context.find_root()
    options, source = root.params, root.get_parameter_source("timeout")
    given = source is not None and source.name == "COMMANDLINE"
    patience = (options.get("timeout") if given else None) or PATIENCE  # what cannot be read as a number is None here
    socket = options.get("socket")
    try:
        # As it stands on the line: no shell has expanded it yet.
        path = None if socket is None else os.path.expandvars(socket)
        implied = None if id is None else network_of(id).name
        where = client_socket(path, options.get("instance"), os.environ, options.get("network"), implied=implied)
        with Client(where, patience) as client:
            return list(map(str, client.ask(COMPLETE, what=what, prefix=prefix, entry=id).get("words", [])))
    except (DhtdError, OSError):
        return []  # an error would not help at a TAB: no daemon, no completions
