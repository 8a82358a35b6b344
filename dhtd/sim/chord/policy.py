"""The constants of a Chord node. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChordPolicy:
    """What a Chord node does, and how often."""

    # The ring
    successors: int = 8  # the length of the successor list
    alternatives: int = 4  # contacts in one answer on the way, for askers that find the first one dead
    stabilise: float = 15.0  # between two rounds of stabilise and notify, give or take a quarter
    hurry: float = 1.0  # until the next round after one that has changed something
    fix_finger: float = 30.0  # between two looks at a finger
    first_fingers: float = 0.5  # the same, until each finger was looked up once
    probe: float = 30.0  # between two looks for another ring, which a partition may have left
    first_probe: float = 1.0  # the same while the node is in no ring; it doubles up to `probe`
    lost: int = 32  # contacts that fell silent, and are tried again by these looks

    # Queries
    timeout_least: float = 0.5
    timeout_most: float = 2.0
    attempts: int = 3  # of queries without an alternative: a node is dead that has answered none of them
    misses: int = 2  # timeouts in a row on the way of lookups, until a finger is dropped
    lookup: float = 30.0  # that a lookup may take
    patience: float = 20.0  # that lookups wait for a node that has not joined yet

    # Records
    replicas: int = 8  # nodes that hold a record: the successor of its key, and those after it
    tries: int = 3  # holders that a lookup asks while they have nothing
    lease: float = 60.0  # that a record is held
    renew: float = 20.0  # between two renewals by its owner; stretched, with the lease, by `renewals`
    renewals: float = 10.0  # that a node sends in a second, at most
    retry: float = 2.0  # until an entry that could not be stored is tried again
    publishing: int = 4  # entries that are looked up at a time
    sweep: float = 10.0  # between two sweeps of expired records
    datagram_max: int = 1_200  # bytes
