"""The Kademlia node as a value: no clock, no entropy, no sockets, no logging.

`now` (seconds on any monotonic clock) and `rng` (a `random.Random`) are arguments everywhere, and so is the `Keyspace`.
Input is `handle_*`, output is `poll_*`; nothing in here calls back and nothing waits.
"""
