"""The cost of each step of serving a find_node, inside a node, and of a seal: no sockets, no other process.

Run it with `python3 dev.py bench parts`. Each step is called in its own loop, as the node calls it, so everything is in
the processor's caches. In a daemon, system calls in between make the same steps half as dear again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from random import Random, SystemRandom
from typing import NamedTuple

from dhtd.core.codec import Room
from dhtd.core.ids import NATIVE
from dhtd.core.messages import FindNode, Query
from dhtd.core.policy import DEFAULT
from dhtd.core.serving.rate_limit import RateLimit
from dhtd.core.serving.tokens import Tokens
from dhtd.wire.native import NativeCodec
from dhtd.wire.network_key import KEY_SIZE, NetworkKey
from dhtd.wire.sealed import Seal
from tests.bench.growth import endpoint, with_contacts

SOURCES = 250
CONTACTS = 100  # as many as a node in a network of some thousands has


Arguments = Sequence[tuple[object, ...]]


class Step(NamedTuple):
    """One step, and the arguments of each call; made anew for each round if they are good for one call only."""

    name: str
    call: Callable[..., object]
    arguments: Arguments | Callable[[], Arguments]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("dev.py bench parts", description="Measure the steps of serving a find_node.")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="interleaved rounds; the least counts (15)")
    parser.add_argument("--queries", type=int, default=10_000, metavar="N", help="calls in each round (10000)")
    options = parser.parse_args(arguments)
    found = list(steps(options.queries, Random(1)))
    rounds = [[cost(step) for step in found] for _ in range(options.rounds)]
    print(f"least of {options.rounds} rounds of {options.queries} calls\n\n{'us':>6}")
    for step, *costs in zip(found, *rounds, strict=True):
        print(f"{min(costs):>6.2f}  {step.name}")
    return 0


def steps(queries: int, rng: Random) -> Iterable[Step]:
    """Yield the steps in their order, then all of them as one, then those that a private network adds."""
    node, codec, now = with_contacts(CONTACTS, rng), NativeCodec(), 1.0
    senders = [(NATIVE.random(rng), endpoint(1 << 20 | place)) for place in range(SOURCES)]
    limit, tokens = RateLimit(DEFAULT, rng, node.state.answers_us, rate=1e9, total=1e9), Tokens(rng, DEFAULT, now)
    node.gate.limit_rate(1e9, 1e9)  # no limits in the way
    asked, decoded, targets = [], [], []
    for place in range(queries):
        sender, source = senders[place % SOURCES]
        target = NATIVE.random(rng)
        query = Query(rng.randbytes(codec.traits.tid_size), sender, FindNode(target))
        targets.append(target)
        asked.append((query, source))
        decoded.append((codec.encode_query(query.tid, query.sender, query.request), source, now))
    keys = [(source[:-2], NATIVE.to_bytes(target)) for (_, source), target in zip(asked, targets, strict=True)]
    token = tokens.issue(*keys[0], now)
    packed = [node.state.answers.packed_closest(target) for target in targets]
    yield Step("decode the query", codec.decode, [(data,) for data, _, _ in decoded])
    yield Step("ask the rate limit", limit.refusal, [(source, now) for _, source in asked])
    yield Step("issue a token", tokens.issue, [(*key, now) for key in keys])
    yield Step("check a token (not in the sum)", tokens.is_valid, [(token, *key, now) for key in keys])
    yield Step("find the nearest contacts", node.state.answers.packed_closest, [(target,) for target in targets])
    answers = [
        (query, node.own_id, source, token, nearest, Room(DEFAULT.datagram_sent_max))
        for (query, source), nearest in zip(asked, packed, strict=True)
    ]
    yield Step("encode the answer", codec.encode_found, answers)
    yield Step("keep the table up", node.state.is_settled, [(query.sender, source, now) for query, source in asked])
    yield Step("all of handle_datagram", node.handle_datagram, decoded)
    keys_of_networks = [[NetworkKey(rng.randbytes(KEY_SIZE))] for _ in range(2)]
    seal, foreign = (Seal(key, node.own_id, SystemRandom(), now) for key in keys_of_networks)
    whole = [node.codec.encode_found(*answer) for answer in answers]

    def sealed() -> Arguments:
        return [(seal.seal_query(data, node.own_id, now), now) for data, _, _ in decoded]

    caught = sealed()
    yield Step("open the query, if sealed", seal.open, sealed)
    yield Step("seal the answer", seal.seal_answer, [(data,) for data in whole])
    yield Step("refuse a query that came before", seal.open, caught)
    others = [(foreign.seal_query(data, node.own_id, now), now) for data, _, _ in decoded]
    yield Step("refuse a query under another key", seal.open, others)
    yield Step("refuse a query that is not sealed", seal.open, [(data, now) for data, _, _ in decoded])


def cost(step: Step) -> float:
    """Return the CPU microseconds of one call."""
    call = step.call
    calls = step.arguments() if callable(step.arguments) else step.arguments
    began = time.process_time()
    for arguments in calls:
        call(*arguments)
    return (time.process_time() - began) / len(calls) * 1e6


if __name__ == "__main__":
    sys.exit(main())
