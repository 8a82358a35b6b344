"""The reading half of the native wire: datagrams to messages.

There are three ways to read a datagram, the most common first:

1. A find as our own nodes send it has a known size, and fields at known places. Most queries are one.
2. A short datagram in the usual form is unpacked by msgpack. It costs little, whatever is in it.
3. Another one is read step by step, and nothing is built that this version does not know: see `reader`. Most of these
   are answers to our own finds, which have a shorter way again.

The decoder is strict: `True` is not an integer, text is not binary, and lengths are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import NamedTuple

import msgpack
from msgpack import unpackb

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import to_id
from dhtd.core.messages import Error, FindNode, FindValue, Get, Message, Query, Reply
from dhtd.errors import WireError
from dhtd.wire.native_fields import is_bytes, is_endpoint, read_args, to_query
from dhtd.wire.native_layout import (
    CHANGED_HEAD,
    CHANGED_SIZE_MAX,
    ENDPOINT_HEADS,
    ERROR,
    FIND_NODE_HEAD,
    FIND_NODE_PADDING,
    FIND_NODE_PADDING_DUAL,
    FIND_NODE_SIZE,
    FIND_NODE_SIZE_DUAL,
    FIND_VALUE_HEAD,
    FIND_VALUE_PADDING,
    FIND_VALUE_SIZE,
    GET_HEAD,
    GET_PADDING,
    GET_SIZE,
    ID_HEAD,
    ID_SIZE,
    MAGIC,
    NIL,
    PUT_HEAD,
    PUT_SIZE_MAX,
    QUERY,
    QUERY_HEAD,
    REPLY,
    REPLY_HEAD,
    TID_SIZE,
)
from dhtd.wire.native_results import READ_ERRORS, ResultDecoder, Unread
from dhtd.wire.reader import Reader

_SHORT = 128  # bytes of a datagram that `unpackb` may build; only finds, changes, puts and answers are longer
_FEW = 16  # elements of an array in so short a datagram: more are only claimed, and not built

_UNPACK_ERRORS = (ValueError, TypeError, OverflowError, msgpack.UnpackException)

_PLAIN = MAGIC + b"\x95"
_KIND_HEADS = [b"%c\xc4%c" % (kind, TID_SIZE) for kind in (QUERY, REPLY, ERROR)]
_OBSERVED_HEADS = frozenset(ENDPOINT_HEADS.values())


class _Padded(NamedTuple):
    """The layout of a find query without a token, as `encode_query` writes it: fields of known sizes.

    Reading it so costs half of what msgpack costs.
    """

    kind: type[FindNode | FindValue | Get]
    unpack: Callable[[bytes], tuple[bytes, ...]]
    method: bytes  # with what follows, up to the target
    tail: bytes  # all that follows the target


def _padded(kind: type[FindNode | FindValue | Get], method: bytes, tail: bytes) -> _Padded:
    sizes = (len(QUERY_HEAD), TID_SIZE, len(ID_HEAD), ID_SIZE, len(method), ID_SIZE, len(tail))
    return _Padded(kind, Struct("".join(f"{size}s" for size in sizes)).unpack, method, tail)


_PADDED = {
    FIND_NODE_SIZE: _padded(FindNode, FIND_NODE_HEAD, NIL + FIND_NODE_PADDING),
    FIND_NODE_SIZE_DUAL: _padded(FindNode, FIND_NODE_HEAD, NIL + FIND_NODE_PADDING_DUAL),
    FIND_VALUE_SIZE: _padded(FindValue, FIND_VALUE_HEAD, NIL + FIND_VALUE_PADDING),
    GET_SIZE: _padded(Get, GET_HEAD, 2 * NIL + GET_PADDING),
}


class NativeDecoder(ResultDecoder):
    """Reads datagrams."""

    def decode(self, data: bytes) -> Message:
        """Return the message in a datagram; raise `WireError` for anything else."""
        # 1. A find as our own nodes send it. A datagram of that size with other bytes goes the common way.
        padded = _PADDED.get(len(data))
        if padded is not None:
            kind, unpack, its_method, its_tail = padded
            head, tid, mark, sender, method, target, tail = unpack(data)
            if tail == its_tail and method == its_method and head == QUERY_HEAD and mark == ID_HEAD:
                return Query(tid, self._ids.get(sender) or self._new_id(sender), kind(to_id(target, "big")))
        return self._decode(data)

    def is_plain(self, data: bytes) -> bool:
        """Whether a datagram is cheap to decode, by its first bytes and its size. All of our own datagrams are."""
        if data[:5] != _PLAIN or data[5:8] not in _KIND_HEADS or data[16:18] != ID_HEAD:
            return False
        if len(data) <= _SHORT or data[5] != QUERY or len(data) in _PADDED:
            return True
        if data.startswith(PUT_HEAD, 50):
            return len(data) <= PUT_SIZE_MAX
        return data.startswith(CHANGED_HEAD, 50) and len(data) <= CHANGED_SIZE_MAX

    def _decode(self, data: bytes) -> Message:
        """Decode a datagram that is no find as our own nodes send it."""
        if data[:5] != _PLAIN or len(data) > _SHORT:
            return self._read(data)
        # 2. What msgpack unpacks, if it is short enough. It builds no more than a few elements, and no objects of ours.
        try:
            fields = unpackb(data[4:], max_array_len=_FEW, max_map_len=_FEW, timestamp=1, ext_hook=_refuse_extension)
        except _UNPACK_ERRORS:
            return self._read(data)  # msgpack may have refused an element that we ignore
        kind, tid, sender, fourth, fifth = fields
        if not (
            type(kind) is int
            and (type(tid) is bytes and len(tid) == TID_SIZE)
            and (type(sender) is bytes and len(sender) == ID_SIZE)
        ):
            raise WireError("the type, transaction ID or sender is malformed")
        sender_id = self._ids.get(sender) or self._new_id(sender)
        if kind == QUERY:
            if type(fourth) is not str:
                raise WireError("the method is not text")
            return to_query(tid, sender_id, fourth, fifth)
        if kind == REPLY:
            if not is_endpoint(fourth) or type(fifth) is not list:
                raise WireError("the observed address or the result is malformed")
            return Reply(tid, sender_id, Endpoint(fourth), fifth)
        if kind == ERROR:
            if type(fourth) is not int or type(fifth) is not str:
                raise WireError("the error is malformed")
            return Error(tid, sender_id, fourth, fifth)
        raise WireError("unknown message type")

    def _plain_reply(self, data: bytes, at: int) -> Reply | None:
        """Return a reply without endpoints as `encode_found` writes it, or None. Its result begins `at` this place.

        Most long datagrams except queries are replies of this kind. Reading them step by step takes twice as long.
        """
        try:
            head, first = data[at], at + 3
            if head & 0xFE != 0x94 or data[at + 1] != 0xC4:
                return None
            nodes4 = first + data[at + 2]
            begin4, nodes6 = _span(data, nodes4)
            begin6, last = _span(data, nodes6)
            result: list[object] = [data[first:nodes4], data[begin4:nodes6], data[begin6:last]]
            if head == 0x95:
                if data[last] != 0x90:
                    return None
                result.append([])
                last += 1
            if last != len(data) - 1 or data[last] & 0xFE != 0xC2:
                return None
        except IndexError:
            return None
        result.append(data[last] == 0xC3)
        sender = data[18:50]
        sender_id = self._ids.get(sender) or self._new_id(sender)
        return Reply(data[8:16], sender_id, Endpoint(data[52:at]), result)

    def _read(self, data: bytes) -> Message:
        """Decode a long datagram, or one in an unusual form."""
        if data[:4] != MAGIC:
            raise WireError("not a datagram of version 1")
        # 3a. A reply to one of our own finds, most likely.
        if data[:8] == REPLY_HEAD and data[16:18] == ID_HEAD and data[50:52] in _OBSERVED_HEADS:
            reply = self._plain_reply(data, 52 + data[51])
            if reply is not None:
                return reply
        # 3b. Anything else, step by step. Only fields that this version knows are built: see `reader`.
        try:
            return self._read_message(data)
        except READ_ERRORS as error:
            raise WireError(f"not one msgpack object: {error}") from None

    def _read_message(self, data: bytes) -> Message:
        if data[5:8] in _KIND_HEADS and data[16:18] == ID_HEAD and data[4] & 0xF0 == 0x90:  # in the usual form
            return self._read_fields(Reader(data, 50), data, data[4] & 0x0F, data[5], data[8:16], data[18:50])
        reader = Reader(data, len(MAGIC))
        return self._read_fields(reader, data, reader.array(), reader.integer(), reader.binary(), reader.binary())

    def _read_fields(
        self,
        reader: Reader,
        data: bytes,
        size: int | None,
        kind: int | None,
        tid: bytes | None,
        sender: bytes | None,
    ) -> Message:
        """Decode a message of `size` elements. `reader` stands before the fourth one."""
        if size is None or size < 5:
            raise WireError("not an array of five elements")
        if not is_bytes(tid, TID_SIZE) or not is_bytes(sender, ID_SIZE):
            raise WireError("the transaction ID or the sender is malformed")
        sender_id = self._ids.get(sender) or self._new_id(sender)
        if kind == QUERY:
            method = reader.text()
            if method is None:
                raise WireError("the method is not text")
            return to_query(tid, sender_id, method, read_args(reader, size - 4, method))
        if kind == REPLY:
            observed, begin = reader.binary(), reader.at
            if not is_endpoint(observed):
                raise WireError("the observed address is malformed")
            count = reader.array()
            if count is None:
                raise WireError("the result is not an array")
            reader.end(count + size - 5)
            return Reply(tid, sender_id, Endpoint(observed), Unread(data, begin, size - 5))
        if kind == ERROR:
            code, text = reader.integer(), reader.text()
            if code is None or text is None:
                raise WireError("the error is malformed")
            reader.end(size - 5)
            return Error(tid, sender_id, code, text)
        raise WireError("unknown message type")


def _span(data: bytes, at: int) -> tuple[int, int]:
    """Return where the bytes of a binary begin and end; (0, 0) for another object."""
    head = data[at]
    if head == 0xC4:
        return at + 2, at + 2 + data[at + 1]
    if head == 0xC5:
        return at + 3, at + 3 + (data[at + 1] << 8 | data[at + 2])
    return 0, 0


def _refuse_extension(code: int, _: bytes) -> object:
    """Build no object of an extension, which would take longer than all else: no message has one."""
    raise ValueError(f"an extension of type {code}")
