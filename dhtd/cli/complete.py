"""What TAB offers: sections, and the IDs and ports that the daemon knows. Never an error, and never a long wait."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

from dhtd.errors import DhtdError

if TYPE_CHECKING:
    from dhtd.control.protocol import InfoResult

PATIENCE = 0.5  # seconds for a daemon to answer while the user waits for TAB


def complete_section(incomplete: str) -> list[str]:
    """Offer the sections of `dht info`."""
    from dhtd.control.protocol import SECTIONS

    return [section for section in SECTIONS if section.startswith(incomplete)]


def complete_id(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the IDs that this node has entered or holds for others."""
    own = [entry["id"] for entry in _ask(context, "tracking").get("tracking", [])]
    held = [entry["id"] for entry in _ask(context, "store").get("store", [])]
    return _matching([*own, *held], incomplete)


def complete_own_id(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the IDs that this node has entered."""
    return _matching([entry["id"] for entry in _ask(context, "tracking").get("tracking", [])], incomplete)


def complete_own_port(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the ports on which this node has entered the ID before it on the line."""
    id = str(context.params.get("id", "")).lower()
    entries = _ask(context, "tracking").get("tracking", [])
    return _matching([str(entry["port"]) for entry in entries if entry["id"] == id], incomplete)


def _matching(words: list[str], incomplete: str) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(incomplete.lower())]


def _ask(context: typer.Context, section: str) -> InfoResult:
    from dhtd.control.client import Client
    from dhtd.daemon.config import client_socket

    options = context.find_root().params
    try:
        path = client_socket(options.get("socket"), options.get("instance"), os.environ)
        with Client(path, PATIENCE) as client:
            return client.info(section)
    except (DhtdError, OSError):
        return {}  # whoever presses TAB cannot do anything about it: no daemon, no completions
