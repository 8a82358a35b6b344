"""The wire of the Mainline network: bencode over UDP, 160-bit IDs (BEP 5, 32, 33, 42, 43, 44, 51).

dht-mainline(7) says what of these is spoken, and how.
"""

from __future__ import annotations

from typing import Final

from dhtd.core.codec import IdRule, Traits
from dhtd.core.ids import MAINLINE, Id
from dhtd.core.messages import FindNode, FindValue, Get, Ping, Put, Store
from dhtd.core.records import Value
from dhtd.wire import bep5_values, bep42
from dhtd.wire.bep5_decoder import Bep5Decoder
from dhtd.wire.bep5_encoder import Bep5Encoder
from dhtd.wire.bep5_layout import TID_SIZE

TRAITS: Final = Traits(
    keyspace=MAINLINE,
    tid_size=TID_SIZE,
    requests=frozenset((Ping, FindNode, FindValue, Store, Get, Put)),
    token_from=frozenset((FindValue,)),
    tells_more=False,
    tells_lasts=False,
    id_rule=IdRule(bep42.id_at, bep42.suits),
    is_public=True,
    wrap=bep5_values.wrapped,
    unwrap=bep5_values.unwrapped,
)

_REMEMBERED = 2_048  # contacts, of 300 bytes each: the neighbours of many targets


class Bep5Codec(Bep5Decoder, Bep5Encoder):
    """The `Codec` of the Mainline network: its two halves, which share nothing but the layout of datagrams."""

    traits = TRAITS

    def __init__(self, remembered: int = _REMEMBERED, *, dual_stack: bool = False) -> None:
        Bep5Decoder.__init__(self, remembered)
        Bep5Encoder.__init__(self, dual_stack=dual_stack)

    def key_of(self, value: Value) -> Id:
        """Return the key of a value: the SHA-1 of its bencoded form, or of its public key and salt."""
        return bep5_values.key_of(value)

    def is_genuine(self, value: Value) -> bool:
        """Whether the signature is that of the owner of the public key. What never changes needs none."""
        return bep5_values.is_genuine(value)
