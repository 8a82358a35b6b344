"""Chord's wire: what is written is read back, and any bytes are a message or a `WireError`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.errors import WireError
from dhtd.sim.chord import messages as m
from dhtd.sim.chord.overlay import Chord
from dhtd.sim.chord.wire import MAGIC, ChordWire
from tests.sim.chord.truth import SMALL

HERE, THERE = Contact(Id(3), Endpoint.of("1.2.3.4", 5)), Contact(Id(100), Endpoint.of("2001:db8::1", 9))
BODIES: tuple[m.Request | m.Result, ...] = (
    *(m.Ping(), m.Neighbours(), m.Notify(), m.Yes(), m.Find(Id(7)), m.Get(Id(8)), m.Store(Id(9), 80, 60, 1)),
    *(m.Hold(True, (m.Copy(Id(1), HERE.endpoint, 30, 2**40, True),)), m.Leave(HERE, (THERE,)), m.Leave(None, ())),
    *(m.Route(False, (HERE, THERE), (HERE,)), m.Route(True, (THERE,)), m.Neighbourhood(THERE, (HERE, THERE))),
    *(m.Compare(Id(7), b"digested", None), m.Compare(Id(7), b"digested", m.Mark(Id(8), THERE.endpoint))),
    *(m.Copies((m.Copy(Id(1), HERE.endpoint, 30, 2**40, True),), True), m.Copies((), False)),
    *(m.Values((HERE.endpoint, THERE.endpoint), True), m.NotMine(HERE), m.NotMine(None)),
)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
@pytest.mark.parametrize("keyspace", [SMALL, NATIVE], ids=["7", "256"])
def test_a_message_is_read_as_it_was_written(body: m.Request | m.Result, keyspace: object) -> None:
    wire = ChordWire(SMALL if keyspace is SMALL else NATIVE)
    message = m.Message(b"1234", b"abcd", Id(5), body)
    data = wire.encode(message)
    read = wire.decode(data)
    assert read == message
    assert type(read.body) is type(body)
    assert Chord(wire.keyspace).told(data)
    for size in range(len(data)):
        with pytest.raises(WireError):
            wire.decode(data[:size])
    with pytest.raises(WireError):
        wire.decode(data + b"\0")


@given(kind=st.integers(0, 255), rest=st.binary(max_size=80))
def test_any_bytes_are_a_message_or_a_wire_error(kind: int, rest: bytes) -> None:
    wire = ChordWire(SMALL)
    data = MAGIC + bytes((kind,)) + b"1234abcd\x05" + rest
    try:
        message = wire.decode(data)
    except WireError:
        return
    assert wire.encode(message) == data
