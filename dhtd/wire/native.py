"""The native wire, version 1: msgpack over UDP, 256-bit IDs. dht-protocol(7) is its specification.

A datagram is four bytes of magic and version and one msgpack array, with nothing behind it. Elements behind those that
this version knows are ignored, in that array and in the arrays within it.
"""

from __future__ import annotations

from typing import Final

from dhtd.core.codec import Traits
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Changed, FindNode, FindValue, Get, Ping, Put, Renew, Store, Watch, Withdraw
from dhtd.core.records import Value
from dhtd.wire import native_values
from dhtd.wire.native_decoder import NativeDecoder
from dhtd.wire.native_encoder import NativeEncoder
from dhtd.wire.native_layout import TID_SIZE

TRAITS: Final = Traits(
    keyspace=NATIVE,
    tid_size=TID_SIZE,
    requests=frozenset((Ping, FindNode, FindValue, Store, Withdraw, Renew, Watch, Changed, Get, Put)),
    token_from=frozenset((FindNode, FindValue)),
    tells_more=True,
)

_REMEMBERED = 2_048  # contacts, of 400 bytes each: the neighbours of many targets


class NativeCodec(NativeDecoder, NativeEncoder):
    """The `Codec` of the native wire: its two halves, which share nothing but the layout of datagrams."""

    traits = TRAITS

    def __init__(self, remembered: int = _REMEMBERED, *, dual_stack: bool = False) -> None:
        NativeDecoder.__init__(self, remembered)
        NativeEncoder.__init__(self, dual_stack=dual_stack)

    def key_of(self, value: Value) -> Id:
        """Return the key of a value: the SHA-256 of its data, or of its public key and salt."""
        return native_values.key_of(value)

    def is_genuine(self, value: Value) -> bool:
        """Whether the signature is that of the owner of the public key. What never changes needs none."""
        return native_values.is_genuine(value)
