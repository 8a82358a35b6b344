"""A node as the settings and the state file say, with its sockets; it knows nobody yet."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from dhtd.config.networks import NETWORKS
from dhtd.config.settings import Settings
from dhtd.core.endpoint import Family
from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import SESSION_SIZE
from dhtd.core.node import Node
from dhtd.core.policy import Policy
from dhtd.daemon.driver import Driver, clock
from dhtd.daemon.sealing import make_seal
from dhtd.daemon.sockets.udp import UdpSockets
from dhtd.daemon.state.file import StateFile
from dhtd.wire.network_key import NetworkKey


def policy_of(settings: Settings, own: tuple[bytes, ...] = ()) -> Policy:
    """Return the policy of a node with these settings, in these `own` networks; the rest is that of its network."""
    policy = NETWORKS[settings.network].policy
    return replace(
        policy,
        rate_limit=settings.rate_limit,
        rate_limit_total=settings.rate_limit_total,
        store_entries=settings.max_entries,
        operations=settings.max_operations,
        exempt_networks=(*policy.exempt_networks, *settings.exempt_network),
        own_networks=own,
        **{cap.name: cap.number for cap in settings.cap},  # fields of it
    )


def make_driver(
    settings: Settings, keys: Sequence[NetworkKey], state_file: StateFile, udp: UdpSockets, own: tuple[bytes, ...]
) -> Driver:
    """Return a node that has nothing yet but its ID, in these `own` networks, with its sockets."""
    rng, network = random.SystemRandom(), NETWORKS[settings.network]
    node_id = _node_id(settings, state_file, network.keyspace, rng)
    saved6 = state_file.node_id6() if settings.node_id is None and len(udp.families) > 1 else None
    policy = policy_of(settings, own)
    seal = make_seal(keys, node_id, rng) if keys else None
    if seal is not None:
        policy = replace(policy, datagram_sent_max=policy.datagram_sent_max - seal.overhead)
    node = Node(
        node_id,
        network.codec(dual_stack=len(udp.families) > 1),
        rng=rng,
        now=clock(),
        policy=policy,
        families=udp.families,
        own_ids={} if saved6 is None else {Family.IPV6: saved6},
        local=udp.local(),
        session=_session(state_file, rng),
        write_ahead=True,
    )
    return Driver(node, udp, seal=seal)


def _node_id(settings: Settings, state_file: StateFile, keyspace: Keyspace, rng: random.Random) -> Id:
    """Return the ID that was asked for, else that of the last run, else a new one; the file keeps it."""
    saved = state_file.node_id()
    if settings.node_id is not None:
        node_id = Id(settings.node_id)
    elif saved is not None:
        node_id = saved
    else:
        node_id = keyspace.random(rng)
    if node_id != saved:
        state_file.set_node_id(node_id)
    return node_id


def _session(state_file: StateFile, rng: random.Random) -> bytes:
    """Return the session under which holders keep own entries: that of the last run, else a new one."""
    session = state_file.session()
    if session is None:
        session = rng.randbytes(SESSION_SIZE)
        state_file.set_fact("session", session)
    return session
