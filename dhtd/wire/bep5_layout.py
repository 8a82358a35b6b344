"""How datagrams of the Mainline network are laid out (BEP 5): canonical bencode, and the bytes before each field.

Keys of a dictionary are sorted, so each kind of datagram has its fields in one order. Datagrams are joined from these
heads, as those of the native wire are.
"""

from __future__ import annotations

from typing import Final

from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE
from dhtd.core.ids import MAINLINE

TID_SIZE: Final = 4  # of our own queries: some nodes echo no other size
TID_MAX: Final = 64  # of those of others
ID_SIZE: Final = MAINLINE.width
NODE4_SIZE: Final = ID_SIZE + IPV4_SIZE
NODE6_SIZE: Final = ID_SIZE + IPV6_SIZE
TOKEN_MAX: Final = 64
VERSION: Final = b"dt\x00\x01"  # of us, in each datagram

QUERY, REPLY, ERROR = b"q", b"r", b"e"


def string(data: bytes) -> bytes:
    """Return bytes as a bencoded string (BEP 3)."""
    return b"%d:%b" % (len(data), data)


# What stands before the arguments of a query, with its sender's ID behind it; and before a result.
QUERY_HEAD: Final = b"d1:ad2:id20:"
RESULT_HEAD: Final = b"1:rd"
SENDER_HEAD: Final = b"2:id20:"  # of us, first in a result
# Between the arguments or the result and the transaction ID, which has its length before it.
METHOD_HEADS: Final = {
    method: b"e1:q%b1:t" % string(method)
    for method in (b"ping", b"find_node", b"get_peers", b"announce_peer", b"get", b"put")
}
RESULT_END: Final = b"e1:t"
# Behind the transaction ID.
QUERY_TAIL: Final = b"1:v%b1:y1:qe" % string(VERSION)
REPLY_TAIL: Final = b"1:v%b1:y1:re" % string(VERSION)
ERROR_TAIL: Final = b"1:v%b1:y1:ee" % string(VERSION)
# The observed address of the requester, by its size.
IP_HEADS: Final = {size: b"d2:ip%d:" % size for size in (IPV4_SIZE, IPV6_SIZE)}
TID_HEADS: Final = [b"%d:" % size for size in range(TID_MAX + 1)]
