"""Decoding any datagram takes few steps and little memory, since its sender is not yet known.

The cost is counted, not timed: calls of functions, with those in C, and allocated bytes.
`python3 dev.py bench hostile` times the dearest datagrams.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import FrameType

import pytest

from dhtd.core.codec import Named, Room
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import (
    CHANGED_MAX,
    VALUE_LASTS,
    VERSION_MAX,
    Changed,
    Contact,
    FindNode,
    FindValue,
    Get,
    Ping,
    Put,
    Query,
    Renew,
    Reply,
    Request,
    Watch,
)
from dhtd.core.records import DATA_MAX, SALT_MAX, SEQ_MAX, Immutable, Mutable
from dhtd.errors import WireError
from dhtd.wire import native_decoder
from dhtd.wire.native import NativeCodec
from dhtd.wire.reader import Reader
from tests.records import SESSION
from tests.wire.bombs import LARGEST, bombs
from tests.wire.vectors import VECTORS

CALLS = 110  # of a datagram of any size
MEMORY = 65_536  # bytes at once: 32 times the largest datagram
PER_ENDPOINT = 6  # calls, of an answer that we have asked for
BOMBS = dict(bombs())


def calls(codec: NativeCodec, data: bytes, request: Request | None = None) -> int:
    """Count the calls of decoding a datagram; and of its result, if it answers a request."""
    count = 0

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        decode(codec, data, request)
    finally:
        sys.setprofile(None)
    return count


def memory(codec: NativeCodec, data: bytes, request: Request | None = None) -> int:
    """Return the peak of allocated bytes meanwhile."""
    decode(codec, data, request)  # fill the caches first
    tracemalloc.start()
    try:
        decode(codec, data, request)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def decode(codec: NativeCodec, data: bytes, request: Request | None) -> None:
    with suppress(WireError):
        message = codec.decode(data)
        if request is not None and isinstance(message, Reply):
            codec.decode_result(request, message.body)


def test_each_kind_of_bomb_is_in_each_place() -> None:
    assert len(BOMBS) > 150
    assert max(map(len, BOMBS.values())) == LARGEST


@pytest.mark.no_cover
def test_a_bomb_costs_no_more_than_any_datagram() -> None:
    for name, data in BOMBS.items():
        codec = NativeCodec()
        assert calls(codec, data) <= CALLS, name
        assert memory(codec, data) <= MEMORY, name


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "request_",
    [
        *(Ping(), FindNode(Id(1)), FindValue(Id(1)), Get(Id(1))),
        *(Renew(SESSION, 1, b""), Watch(Id(1), b"t", 1, SESSION), Put(Id(1), b"t", Immutable(b""), None, 1)),
    ],
    ids=lambda it: type(it).__name__,
)
def test_an_answer_bomb_costs_a_full_answer(request_: Request) -> None:
    codec = NativeCodec()
    for name, data in BOMBS.items():
        assert calls(codec, data, request_) <= CALLS + PER_ENDPOINT * LARGEST // 8, name
        assert memory(codec, data, request_) <= 2 * MEMORY, name


def test_what_is_usual_costs_less() -> None:
    dearer = ("changed", "put", "get-newer")
    others = [vector.data for name, vector in VECTORS.items() if not name.startswith(dearer)]
    assert max(calls(NativeCodec(), data) for data in others) <= CALLS // 2


def test_a_changed_costs_no_more_than_any_datagram() -> None:
    codec, at = NativeCodec(), Endpoint.of("2001:db8::1", 1)
    data = codec.encode_query(bytes(8), Id(1), Changed(Id(1), VERSION_MAX, CHANGED_MAX * (at,), ()))
    assert calls(NativeCodec(), data) <= CALLS


@pytest.mark.parametrize("token", [8, 64])
def test_a_put_costs_no_more_than_any_datagram(token: int) -> None:
    """It is hashed before its sender is known, so all bytes of a value are looked at: once."""
    codec = NativeCodec()
    for size in (0, 100, DATA_MAX):
        signed = Mutable(bytes(32), bytes(SALT_MAX), SEQ_MAX, bytes(size), bytes(64))
        for value in (Immutable(bytes(size)), signed):
            put = Put(codec.key_of(value), bytes(token), value, SEQ_MAX, VALUE_LASTS)
            data = codec.encode_query(bytes(8), Id(1), put)
            assert calls(NativeCodec(), data) <= CALLS
            assert memory(NativeCodec(), data) <= 4 * len(data) + 8_192  # the second is what coverage itself takes


def tails() -> Iterator[tuple[int, int]]:
    for size in range(0, 2_000, 97):
        yield size, calls(NativeCodec(), BOMBS["args array16"][: 70 + size])


def test_the_steps_do_not_grow_with_the_datagram() -> None:
    assert max(count for _, count in tails()) <= CALLS


class _NoReader:
    """Stands where a datagram would be read step by step."""

    def __init__(self, data: bytes, at: int) -> None:
        raise AssertionError("it is read step by step")


class _LateReader(Reader):
    """Reads from the fourth element on only."""

    def __init__(self, data: bytes, at: int) -> None:
        assert at >= 50, "it reads what is at known places"
        super().__init__(data, at)


def long_reply(endpoints: Sequence[Endpoint]) -> bytes:
    """Return an answer to find_value with eight contacts."""
    codec = NativeCodec()
    contacts = [Contact(Id(number), Endpoint.of("192.0.2.1", number)) for number in range(1, 9)]
    query = Query(bytes(8), Id(1), FindValue(Id(5)))
    packed, values = codec.pack_contacts(contacts), Named(endpoints)
    return codec.encode_found(query, Id(2), contacts[0].endpoint, b"12345678", packed, Room(1_200), values)


def test_a_reply_without_endpoints_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_decoder, "Reader", _NoReader)
    assert isinstance(NativeCodec().decode(long_reply([])), Reply)
    with pytest.raises(AssertionError, match="step by step"):
        NativeCodec().decode(long_reply([Endpoint.of("192.0.2.9", 80)]))


def test_fields_at_known_places_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_decoder, "Reader", _LateReader)
    assert isinstance(NativeCodec().decode(long_reply([Endpoint.of("192.0.2.9", 80)])), Reply)
