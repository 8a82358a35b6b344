"""The mark in the state file that says which network the node is in, so that no slip moves the node to another one.

The mark holds the fingerprints of the network keys, which say nothing of the keys. A node without a key, or with the
key of another network, would tell strangers its ID and whatever was entered here, so it does not start on a private
node's file unless the user says `--change-network`. A key that is common to the mark and the start is enough: this is
how a network changes its key. An open node's file may become a private one's at any time: nobody outside hears of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from dhtd.daemon.state.file import StateFile
from dhtd.errors import WrongNetwork
from dhtd.wire.network_key import NetworkKey

log = logging.getLogger("dhtd")

_OF_OTHERS: Final = ("held", "held_value", "holder")  # what the nodes of one network have nothing to do with in another
_LEAVING: Final = (*_OF_OTHERS, "contact")  # the members of a private network are nobody's business outside


def claim(file: StateFile, keys: Sequence[NetworkKey], *, change: bool) -> None:
    """Mark the file as one of the network with these keys; raise `WrongNetwork` where it is another's.

    `change`: the user wants the file, with the node's ID and own entries, to go over to this network.
    """
    given = fingerprints(keys)
    marked = file.networks()
    if marked == given:
        return
    if not marked and marked is not None:
        log.warning("the state file %s was an open node's: entries and values held for others are dropped", file.path)
        file.set_networks(given, _OF_OTHERS)
    elif marked is None or set(marked) & set(given):
        file.set_networks(given)
    elif change:
        log.warning("the state file %s leaves the private network %s, as asked", file.path, _named(marked))
        file.set_networks(given, _LEAVING)
    else:
        raise WrongNetwork(_refusal(file, marked, given))


def fingerprints(keys: Sequence[NetworkKey]) -> tuple[str, ...]:
    """Return what the file remembers of keys."""
    return tuple(key.fingerprint for key in keys)


def _refusal(file: StateFile, marked: Sequence[str], given: Sequence[str]) -> str:
    now = f"a node with the key {_named(given)}" if given else "an open node"
    return (
        f"the state file {file.path} belongs to a private network, key {_named(marked)}, and this would be {now}: name"
        " the key's file with --network-key; or give this node a file of its own with --instance or --state; or say"
        " --change-network, once, to take its ID and its own entries into the other network"
    )


def _named(fingerprints: Sequence[str]) -> str:
    return " or ".join(fingerprints)
