"""The seal of a private network, and what the log says of its keys."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dhtd.core.ids import Id
from dhtd.wire.network_key import NetworkKey

if TYPE_CHECKING:
    from dhtd.wire.sealed import Seal

log = logging.getLogger("dhtd")


def make_seal(keys: Sequence[NetworkKey], node_id: Id, rng: random.Random) -> Seal:
    """Return the seal of a node."""
    from dhtd.wire.sealed import Seal  # noqa: PLC0415 - it imports libsodium, which only a private network needs

    say_keys(keys)
    return Seal(keys, node_id, rng, time.time())


def say_keys(keys: Sequence[NetworkKey]) -> None:
    """Log which keys are in use."""
    first, *others = [key.fingerprint for key in keys]
    besides = "".join(f", and opened with {other} too" for other in others)
    log.info("a private network: datagrams are sealed and opened with the key %s%s", first, besides)
