"""How datagrams of the native wire are laid out: its constants, and the bytes that stand before each field.

Datagrams of the hot path are joined from these heads. That takes half as long as formatting them.
"""

from __future__ import annotations

from typing import Final

from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE
from dhtd.core.ids import NATIVE
from dhtd.core.messages import CHANGED_MAX
from dhtd.core.records import DATA_MAX, PUBLIC_KEY_SIZE, SALT_MAX, SIGNATURE_SIZE

MAGIC: Final = b"DHT\x01"  # with the version

QUERY, REPLY, ERROR = 0, 1, 2

TID_SIZE: Final = 8
ID_SIZE: Final = NATIVE.width
NODE4_SIZE: Final = ID_SIZE + IPV4_SIZE
NODE6_SIZE: Final = ID_SIZE + IPV6_SIZE
TOKEN_MAX: Final = 64  # bytes of a token that another implementation may issue

# A find query without a token is padded to this size, so that three times its size has room for a whole answer:
# - for find_node eight IPv6 nodes, and the ping that finds out whether its sender is a node;
# - for find_node of a node that speaks both families eight nodes of each, and the ping;
# - for find_value and get a full datagram of 1200 bytes. The sizes differ, so that one tells the method.
FIND_NODE_SIZE: Final = 184
FIND_NODE_SIZE_DUAL: Final = 288
FIND_VALUE_SIZE: Final = 400
GET_SIZE: Final = 404

NIL, FALSE, TRUE, NO_ELEMENTS = b"\xc0", b"\xc2", b"\xc3", b"\x90"  # msgpack; the last is an array of none


def binary(data: bytes) -> bytes:
    """Return bytes as a msgpack binary."""
    size = len(data)
    return b"\xc4%c%b" % (size, data) if size < 256 else b"\xc5%b%b" % (size.to_bytes(2, "big"), data)


def array_head(size: int) -> bytes:
    """Return what stands before the elements of a msgpack array."""
    return b"%c" % (0x90 | size) if size < 16 else b"\xdc" + size.to_bytes(2, "big")


# The padding of finds: the bytes that are missing to the sizes above, with the head of a binary.
FIND_NODE_PADDING: Final = binary(bytes(FIND_NODE_SIZE - 98))
FIND_NODE_PADDING_DUAL: Final = binary(bytes(FIND_NODE_SIZE_DUAL - 98))
FIND_VALUE_PADDING: Final = binary(bytes(FIND_VALUE_SIZE - 100))
GET_PADDING: Final = binary(bytes(GET_SIZE - 94))

# The heads of fields: of a transaction ID, with all that stands before it; of an ID; of an endpoint, by its size.
QUERY_HEAD: Final = b"%b\x95\x00\xc4%c" % (MAGIC, TID_SIZE)
REPLY_HEAD: Final = b"%b\x95\x01\xc4%c" % (MAGIC, TID_SIZE)
ID_HEAD: Final = b"\xc4%c" % ID_SIZE
ENDPOINT_HEADS: Final = {size: b"\xc4%c" % size for size in (IPV4_SIZE, IPV6_SIZE)}
FIND_NODE_HEAD: Final = b"\xa9find_node\x93" + ID_HEAD  # of the target, with the method
FIND_VALUE_HEAD: Final = b"\xaafind_value\x93" + ID_HEAD
GET_HEAD: Final = b"\xa3get\x94" + ID_HEAD
PUT_HEAD: Final = b"\xa3put\x94"
CHANGED_HEAD: Final = b"\xa7changed\x94" + ID_HEAD
# A changed with as many endpoints as it may name, all of IPv6: its fields, its version, two arrays, and these.
CHANGED_SIZE_MAX: Final = 50 + len(CHANGED_HEAD) + ID_SIZE + 9 + 2 + CHANGED_MAX * (2 + IPV6_SIZE)
# A put with all at its largest: its fields, a token, the value, a cas and the seconds.
_VALUE_MAX: Final = 1 + (2 + PUBLIC_KEY_SIZE) + (2 + SALT_MAX) + 9 + (3 + DATA_MAX) + (2 + SIGNATURE_SIZE)
PUT_SIZE_MAX: Final = 50 + len(PUT_HEAD) + (2 + TOKEN_MAX) + _VALUE_MAX + 9 + 5
