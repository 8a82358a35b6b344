"""The client's protocol without I/O: any bytes, in any pieces, are answers, an end, or not from dhtd."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.control.conversation import ENDED, Answer, Conversation, Event, Failure, NotAnAnswer, Result
from dhtd.errors import DhtdError, NoPong

FRAMES = (
    b'{"v":1,"id":null,"event":{"peers":[]}}\n'
    b'{"v":1,"id":null,"result":{"node_id":"n"}}\n'
    b'{"v":1,"id":null,"error":{"code":"no-pong","message":"no answer"}}\n'
)


def answers_in(conversation: Conversation) -> list[Answer]:
    found: list[Answer] = []
    while isinstance(answer := conversation.next_answer(), Event | Result | Failure):
        found.append(answer)
    return found


def plain(answers: list[Answer]) -> list[Any]:
    return [each.error.code if isinstance(each, Failure) else each.body for each in answers]


def test_a_request_leaves_out_what_is_not_given() -> None:
    line = Conversation().ask("enter", {"port": 80, "wait": False, "id": None})
    assert line.endswith(b"}\n")
    assert json.loads(line) == {"v": 1, "method": "enter", "params": {"port": 80, "wait": False}}


@pytest.mark.parametrize("size", [1, 2, 7, 50, len(FRAMES)])
def test_answers_come_in_pieces_of_any_size(size: int) -> None:
    conversation, found = Conversation(), []
    for at in range(0, len(FRAMES), size):
        conversation.receive(FRAMES[at : at + size])
        found += answers_in(conversation)
    assert [type(each) for each in found] == [Event, Result, Failure]
    assert plain(found) == [{"peers": []}, {"node_id": "n"}, "no-pong"]


@given(st.lists(st.binary(max_size=40) | st.sampled_from(FRAMES.splitlines(keepends=True)), max_size=8), st.data())
def test_pieces_make_no_difference(parts: list[bytes], data: st.DataObject) -> None:
    sent = b"".join(parts)
    assert told_by([sent] if sent else []) == told_by(data.draw(cuts(sent)))


@st.composite
def cuts(draw: st.DrawFn, sent: bytes) -> list[bytes]:
    places = [0, *sorted(draw(st.lists(st.integers(0, len(sent)), max_size=6))), len(sent)]
    return [sent[begin:end] for begin, end in itertools.pairwise(places) if begin < end]


def told_by(pieces: list[bytes]) -> list[Any]:
    """Return the results of bytes, up to their end or to a line that is no answer."""
    conversation, found = Conversation(), []
    for piece in [*pieces, b""]:
        conversation.receive(piece)
        try:
            while isinstance(answer := conversation.next_answer(), Event | Result | Failure):
                found += plain([answer])
        except NotAnAnswer:
            return [*found, NotAnAnswer]
    return found


def test_a_code_leads_to_the_class_of_the_error() -> None:
    conversation = Conversation()
    conversation.receive(b'{"error":{"code":"no-pong","message":"m"}}\n{"error":{"code":"of-a-newer-version"}}\n')
    known, unknown = answers_in(conversation)
    assert isinstance(known, Failure)
    assert (type(known.error), str(known.error)) == (NoPong, "m")
    assert isinstance(unknown, Failure)
    assert (type(unknown.error), str(unknown.error)) == (DhtdError, "the daemon does not say why")


def test_the_end_comes_behind_what_came_before_it() -> None:
    conversation = Conversation()
    assert conversation.next_answer() is None
    conversation.receive(b'{"result":{}}\n{"result"')
    conversation.receive(b"")
    assert conversation.next_answer() == Result({})
    assert conversation.next_answer() is ENDED
    assert conversation.next_answer() is ENDED


@pytest.mark.parametrize("line", [b"", b"x", b"[]", b"{}", b"7", b'{"result":7}', b'"result"', b"\xff", b"[" * 60_000])
def test_a_line_that_is_no_answer_is_refused(line: bytes) -> None:
    conversation = Conversation()
    conversation.receive(line + b"\n")
    with pytest.raises(NotAnAnswer):
        conversation.next_answer()
