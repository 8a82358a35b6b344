"""What a node counts, and the names of its caps.

A cap is a number of `Policy` to which something is held that a stranger or a client could make grow. Each time that a
cap refuses something, leaves something out, or makes something wait, `Counters.caps_hit` counts it under its name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from dhtd.core.messages import METHODS

RATE_LIMIT: Final = "rate_limit"
RATE_LIMIT_TOTAL: Final = "rate_limit_total"
REPLACEMENTS: Final = "replacements"
SEARCH_QUERIES: Final = "search_queries"
SEARCH_CANDIDATES: Final = "search_candidates"
LOOKUP_ENDPOINTS: Final = "lookup_endpoints"
STRANGER_PINGS: Final = "stranger_pings"
STRANGER_RATE: Final = "stranger_rate"
VERIFICATIONS: Final = "verifications"
CHANGES: Final = "changes"
CHANGES_PER_SOURCE: Final = "changes_per_source"
OPERATIONS: Final = "operations"
OWN_ENTRIES: Final = "own_entries"
OWN_PORTS: Final = "own_ports"
ENTRY_HOLDERS: Final = "entry_holders"
WITHDRAWALS: Final = "withdrawals"
CONTACTS_PER_IP: Final = "contacts_per_ip"
CONTACTS_PER_NETWORK: Final = "contacts_per_network"
CONTACTS_PER_NETWORK_IN_BUCKET: Final = "contacts_per_network_in_bucket"
LOOKUP_PER_IP: Final = "lookup_per_ip"
LOOKUP_PER_NETWORK: Final = "lookup_per_network"
CLAIMS: Final = "claims"
STORE_ENTRIES: Final = "store_entries"
STORE_ENTRIES_PER_KEY: Final = "store_entries_per_key"
STORE_ENTRIES_PER_SOURCE: Final = "store_entries_per_source"
VALUES: Final = "values"
VALUE_KIB: Final = "value_kib"
VALUES_PER_SOURCE: Final = "values_per_source"
VALUE_KIB_PER_SOURCE: Final = "value_kib_per_source"
SIGNATURES: Final = "signatures"
SIGNATURES_PER_SOURCE: Final = "signatures_per_source"
OWN_VALUES: Final = "own_values"
WATCHES: Final = "watches"
WATCHES_PER_KEY: Final = "watches_per_key"
WATCHES_PER_SOURCE: Final = "watches_per_source"
OWN_WATCHES: Final = "own_watches"

CAPS: Final = (
    RATE_LIMIT,  # queries of one source above it are not answered, or briefly to a contact that answers us
    RATE_LIMIT_TOTAL,  # queries of strangers near it, and of all sources above it, are not answered
    STORE_ENTRIES,  # an entry is refused, or evicted for another
    STORE_ENTRIES_PER_KEY,  # the same
    STORE_ENTRIES_PER_SOURCE,  # an entry is refused
    CHANGES,  # a store or a withdrawal is refused for the rest of a minute
    CHANGES_PER_SOURCE,  # the same
    VALUES,  # a value is refused, or evicted for another
    VALUE_KIB,  # the same
    VALUES_PER_SOURCE,  # a value is refused
    VALUE_KIB_PER_SOURCE,  # the same
    SIGNATURES,  # a signed value is refused, since others take all the time for signatures
    SIGNATURES_PER_SOURCE,  # a signed value is refused
    WATCHES,  # a watch is refused
    WATCHES_PER_KEY,  # the same
    WATCHES_PER_SOURCE,  # the same
    OPERATIONS,  # a command is refused
    OWN_ENTRIES,  # an own entry is refused
    OWN_PORTS,  # the same
    OWN_VALUES,  # an own value is refused
    OWN_WATCHES,  # an own watch is refused
    ENTRY_HOLDERS,  # the holder that would let go first is forgotten, and will not be told of a deletion
    WITHDRAWALS,  # a holder that has not let go of an entry, one of the first deleted, is not asked for it any more
    STRANGER_PINGS,  # a stranger is not pinged this time
    STRANGER_RATE,  # the same
    VERIFICATIONS,  # a questionable contact is not checked this time
    CONTACTS_PER_IP,  # a node is kept out of the routing table
    CONTACTS_PER_NETWORK,  # the same
    CONTACTS_PER_NETWORK_IN_BUCKET,  # the same, or out of the line of those that wait
    LOOKUP_PER_IP,  # a lookup passes a node over that else it would have asked
    LOOKUP_PER_NETWORK,  # the same
    CLAIMS,  # of those that claim the IDs of contacts, the first is forgotten
    REPLACEMENTS,  # of those that wait for a full bucket, the first is forgotten
    SEARCH_QUERIES,  # a lookup ends without having asked all that it might
    SEARCH_CANDIDATES,  # a lookup forgets the farthest node that it has not asked
    LOOKUP_ENDPOINTS,  # a lookup leaves out endpoints of an answer
)


def none_hit() -> dict[str, int]:
    """Return a count of 0 for each cap."""
    return dict.fromkeys(CAPS, 0)


@dataclass(slots=True)
class Counters:
    """What has gone through this node since it started; a part of section `network` of `dht info`."""

    malformed: int = 0  # datagrams that are no message of this version, answered with silence
    unserved: int = 0  # queries to a node that does not serve all, answered with silence
    rate_limited: int = 0  # queries above a limit, answered with silence
    cut_short: int = 0  # those in the name of a contact that answers us, answered with a pong or a token alone
    unmatched: int = 0  # replies and errors that belong to no query in flight
    own_id_claimed: int = 0  # datagrams under our own ID, or contacts named with it elsewhere: taken for nothing
    repeated: int = 0  # stores and withdrawals that had been taken before: sent again or replayed, and not done again
    forged: int = 0  # values in answers that have another key, or a bad signature
    changes_refused: int = 0  # stores and withdrawals beyond the number that is remembered
    queries_received: dict[str, int] = field(default_factory=lambda: dict.fromkeys(METHODS.values(), 0))  # by method
    bad_queries: int = 0  # answered with an error: unknown method, bad arguments, bad token, full
    queries_sent: int = 0
    replies_received: int = 0
    errors_received: int = 0
    retries: int = 0
    timeouts: int = 0
    caps_hit: dict[str, int] = field(default_factory=none_hit)  # by cap
