"""Every constant of the protocol's behaviour, in one injectable value. Times are in seconds."""

from __future__ import annotations

from dataclasses import dataclass

# Loopback, private, carrier-grade and link-local ranges (RFC 1122, 1918, 6598, 3927, 4193, 4291): not to be had from
# outside, and a whole swarm may live in one of their /24s.
PRIVATE_NETWORKS = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a node does when. The defaults are those of dht-protocol(7); tests and other wires pass their own."""

    # Routing table (Kademlia section 2.2, BEP 5 "Routing Table")
    k: int = 8  # contacts in a bucket, nodes in an answer, nodes that an entry is stored on
    good_for: float = 15 * 60.0  # a contact is good this long after it was last heard
    bad_after: int = 1  # more consecutive timeouts than this make a contact bad
    size_samples: int = 5  # lookups of random places where our neighbourhood has become denser by half; 0 is off
    size_pause: float = 4.0  # before each of them; longer where there were many in an hour
    bucket_refresh: float = 15 * 60.0  # a bucket without activity for this long is looked up
    replacements: int = 8  # contacts kept in waiting for each full bucket
    id_change: float = 5 * 60.0  # an endpoint is let in under another ID no sooner after it was the first time
    id_change_max: float = 60 * 60.0  # twice as long each time, but no longer than this
    claims: int = 8  # nodes that answer under the ID of a contact elsewhere, while that one is checked
    claim_after: float = 60.0  # it is checked only if it has been silent for so long

    # Places of one IP address, and of one network (IPv4 /24, IPv6 /64): see diversity.py
    contacts_per_ip: int = 1  # in the routing table
    contacts_per_network: int = 10  # in the routing table
    contacts_per_network_in_bucket: int = 2  # and of those in waiting for it
    lookup_per_ip: int = 1  # asked by one lookup, and not known to be silent
    lookup_per_network: int = 2
    lookup_silent_per_ip: int = 3  # that one lookup may ask in vain: then it asks no more there
    lookup_silent_per_network: int = 8
    lookup_silent_exempt: int = 16  # at one address in an exempt range, and four times as many as have answered there
    site_share: int = 2  # a /48 of IPv6 may have so many times as many of any of them as a /64; 0 is no limit
    exempt_networks: tuple[str, ...] = PRIVATE_NETWORKS  # CIDR; there, addresses tell nothing of their owners
    own_networks: tuple[bytes, ...] = ()  # /24s and /64s that this machine is in: there, each address is for itself

    # Queries and lookups
    alpha: int = 4  # queries of one lookup in flight at once
    query_timeout: float = 2.0  # then a query has failed
    slow_floor: float = 0.05  # no query is called slow before this
    slow_initial: float = 0.5  # what an answer is given while no round trip has been measured
    slow_deviations: int = 5  # a query is slow so many deviations after the mean round trip: its slot is freed
    late_floor: float = 0.2
    late_initial: float = 1.0
    late_deviations: int = 11  # and late after so many: a lookup that is else at its end waits for it no longer
    search_queries: int = 128  # a lookup asks no more nodes than this, whatever the answers are
    search_explorations: int = 2  # and asks no more often for live nodes behind dead ones
    search_opinions: int = 4  # own contacts asked beside, where a lookup would end with nothing found
    search_candidates: int = 256  # and remembers no more than this
    region: float = 1.5  # where the K nearest nodes crowd, those in so many times their usual room count; 0 is off
    region_nodes: int = 32  # of them are asked, or hold an entry, at most
    crowded: float = 0.5  # they crowd if they have less than this part of the room that is usual; see region.py
    crowded_in_vain: float = 0.8  # or than this, for a lookup that has found nothing
    lookup_endpoints: int = 160  # taken from one answer: more than a datagram of 1,200 bytes holds
    ping_attempts: int = 2  # for a ping that decides about a contact
    withdraw_attempts: int = 2  # a holder that misses a withdrawal serves the entry until it expires

    # Strangers: nodes that query us without being in the table are pinged before they may enter it
    stranger_pings: int = 16  # in flight at once
    stranger_rate: float = 8.0  # new ones a second
    introduction: float = 60 * 60.0  # how often a node shows its nearest the tokens by which they get to know it
    verifications: int = 8  # questionable contacts being checked at once

    # What the owner of the node may ask of it
    operations: int = 256  # commands under way at once, those included that no owner waits for any more
    own_entries: int = 65_536
    own_ports: int = 64  # on which one key is served
    write_ahead: float = 30.0  # an entry waits so long at most until its chosen holders are written down
    entry_holders: int = 256  # nodes that are remembered to hold an own entry, to be told when it is deleted
    withdrawals: int = 65_536  # deleted entries that are not acknowledged, counted at each node that may hold them

    # Store tokens
    token_size: int = 8  # bytes, 32 at most
    token_rotation: float = 60.0  # two secrets are live, so a token lasts one to two minutes
    changes: int = 131_072  # stores and withdrawals taken in a rotation; remembered, so that none is taken twice
    changes_per_source: int = 8_192  # from one source (see `source_group`): half of what its rate lets through
    changes_reserve: float = 0.25  # the part of them all that is kept for sources
    changes_few: int = 16  # that have made fewer than this many

    # Leases, on a wire that has them
    heartbeat: float = 20.0  # how often each holder of own entries is asked to renew their lease, at least
    heartbeat_rate: float = 10.0  # renewals a second, in all: more holders are asked less often
    heartbeats_in_lease: float = 3.0  # a holder keeps entries for so many times the pause between two
    heartbeats_missed: int = 2  # in a row: then the holder is lost
    farewell: int = 30  # seconds for which holders keep entries after this node has stopped: a restart leaves no gap

    # Entries
    republish: float = 45 * 60.0  # own entries are published again after so long at most; jittered
    republish_first: float = 15 * 60.0  # and after so long at first: longer once their holders turn out to stay
    republish_jitter: float = 0.1  # of the interval, either way
    republish_retry: float = 15.0  # after a publication that no node took; doubles up to republish_retry_max
    republish_retry_max: float = 5 * 60.0
    refused_pace: float = 1.0  # each entry that all nodes have refused waits so long for each that there is
    republish_gap: float = 60.0  # an entry that is hurried is published no sooner after the last time; at first
    newcomer_gap: float = 4 * 60.0  # the same where a new contact hurries it, and K nodes hold it
    newcomer_stays: float = 2 * 60.0  # a contact is news for such an entry once it has been there for so long
    newcomer_credit: int = 4  # so many entries may be hurried so at first
    newcomer_share: float = 0.25  # and this part of one more whenever an entry is published again unhurried
    patrol: float = 30.0  # how often a holder of an own entry is asked whether it is there; 0 is never
    unheld_notice: float = 15 * 60.0  # how often the owner is told of entries that no node holds, at most
    move_gap: float = 5 * 60.0  # after our address has changed, all are published again, and so long later at soonest
    startup_spread: float = 10.0  # own entries are published within this time once the table is warm
    publishing: int = 8  # publications on the node's own account at once
    publication_lasts: float = 10 * 60.0  # one that has not ended by then is begun anew
    withdraw_retry: float = 15.0  # after a withdrawal that a holder did not acknowledge; doubles up to
    withdraw_retry_max: float = 5 * 60.0
    withdraw_confirm: float = 30.0  # and again so long after it did: by then it has been written down there
    withdrawing: int = 8  # holders that are asked again at once
    store_expiry: float = 60 * 60.0  # on a wire without leases, an entry that is not published again is forgotten
    store_sweep: float = 10.0  # how often expired entries are dropped
    store_entries: int = 65_536  # held for others in all
    store_entries_per_key: int = 1_024
    store_entries_per_source: int = 8_192  # from one source (see `source_group`)

    # Values
    values: int = 32_768  # held for others in all
    value_kib: int = 16_384  # the same, in units of 1,024 bytes
    values_per_source: int = 4_096  # from one source (see `source_group`)
    value_kib_per_source: int = 2_048
    signatures: float = 2_048.0  # verified a second, for puts of all sources: a tenth of a processor
    signatures_per_source: float = 64.0
    own_values: int = 4_096  # that this node keeps in the network
    value_republish: float = 45 * 60.0  # own values are published again after so long; jittered
    value_retry: float = 15.0  # after a publication that too few nodes took; doubles up to value_retry_max
    value_retry_max: float = 5 * 60.0
    replicate: float = (
        60 * 60.0
    )  # a holder that has not heard a value for so long stores it at the nearest; jittered; 0 is never
    replicating: int = 8  # values at once
    caches: int = 1  # nodes on the way that lack what was got, and are given it; 0 is off

    # Watches, on a wire that has them
    watches: int = 4_096  # held for others in all
    watches_per_key: int = 1_024  # one that is refused asks nodes farther away, which have no entries
    watches_per_source: int = 256  # from one source (see `source_group`)
    watch_endpoints: int = 256  # of one key that a watcher is told of
    own_watches: int = 1_024  # keys that this node watches
    watch_again: float = 5 * 60.0  # how often the nodes near a watched key are looked up; jittered
    watch_gap: float = 5.0  # and no sooner than so long after the last time, when a node is lost that tells of changes
    watch_retry: float = 15.0  # where no node tells of changes, or the wire has no watches; doubles up to
    watch_retry_max: float = 2 * 60.0

    # Staying connected
    outage_witnesses: int = 3  # contacts that are silent, one after another, when one was and the network is in doubt
    join_eager: float = 8.0  # attempts to join follow each other without a pause for so long after the start
    rejoin_first: float = 2.0  # pause before the first new attempt to join; doubles, jittered, up to rejoin_max
    rejoin_max: float = 5 * 60.0
    lonely_lookups: int = (
        7  # with fewer than K contacts we look ourselves up again so often after joining, at 2, 4, 8 ... s
    )
    probe_interval: float = 15 * 60.0  # how often a bootstrap endpoint and a lost contact are tried: partitions merge

    # Datagrams and their rate
    datagram_sent_max: int = 1_200  # bytes
    datagram_value_max: int = 1_280  # with a value: one near its largest leaves no room for anything else
    datagram_received_max: int = 2_048  # bytes; larger ones are dropped unread
    amplification: int = 3  # without a valid token, a query brings at most this many times its bytes
    spare_bytes: float = 0.0  # a second, beyond that, to all sources; 0 is none
    spare_bytes_per_source: float = 0.0
    spare_burst: float = 4.0  # seconds' worth of these that may be sent at once
    rate_limit: float = 256.0  # queries a second and source; 0 is off
    rate_limit_total: float = 131_072.0  # from all sources together; 0 is off
    rate_burst: float = 2.0  # seconds' worth of queries that may come at once
    rate_reserve: float = 0.25  # the part of the burst of all that is kept for contacts that answer us
    rate_sources: int = 4_096  # sources that are limited one by one; further ones share
    rate_cells: int = 65_536  # this many cells
    proved_cells: int = 4_096  # and sources above their limit with a proved sender share this many
    pace: float = 0.0  # queries a second of ours to one public IP address; more wait; 0 is no limit
    pace_burst: int = 10  # that are sent at once

    # Our own address
    external_votes: int = 16  # distinct networks that have a vote on our own address, in each family
    external_quorum: int = 3  # so many must agree on a public one
    id_votes: int = 8  # so many must agree on a public one before our ID follows it, where IDs follow from addresses
    id_gap: float = 10 * 60.0  # and it follows no sooner after the last time
    external_lasts: float = 60 * 60.0  # the word of one that has not been heard again is kept for so long
    outside_memory: float = 10 * 60.0  # an address that we wrote to so lately may be let in by a NAT or firewall
    outside_lasts: float = 60 * 60.0  # to have been reached from outside says something for so long

    # Keys that are told to those who count them (BEP 51)
    sample_keys: int = 10  # in one answer, at most: a query for them proves no address
    sample_interval: float = 60 * 60.0  # others after so long


DEFAULT = Policy()

# The Mainline network: what its clients expect, and what they put up with.
MAINLINE = Policy(
    query_timeout=5.0,
    token_rotation=5 * 60.0,
    store_expiry=45 * 60.0,
    republish=15 * 60.0,
    republish_first=15 * 60.0,
    patrol=0.0,
    values=2_000,
    values_per_source=16,
    replicate=0.0,
    caches=0,
    datagram_sent_max=1_024,
    datagram_value_max=1_452,
    amplification=4,
    spare_bytes=128 * 1_024.0,
    spare_bytes_per_source=2 * 1_024.0,
    rate_limit=16.0,
    rate_limit_total=2_000.0,
    pace=2.0,
)
