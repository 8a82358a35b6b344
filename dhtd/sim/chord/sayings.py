"""What Chord's datagrams say, in words."""

from __future__ import annotations

from typing import assert_never

from dhtd.core.ids import Id, Keyspace
from dhtd.sim.chord.messages import (
    Compare,
    Copies,
    Find,
    Get,
    Hold,
    Leave,
    Message,
    Neighbourhood,
    Neighbours,
    Notify,
    NotMine,
    Ping,
    Request,
    Result,
    Route,
    Store,
    Values,
    Yes,
)

_DIGITS = 8  # of an ID, and of a transaction


def told(keyspace: Keyspace, message: Message) -> str:
    """Return a message in words."""
    body = message.body
    if isinstance(body, Yes | Route | Neighbourhood | Values | NotMine | Copies):
        said = f"answers {_answered(keyspace, body)}"
    else:
        said = f"asks {_asked(keyspace, body)}"
    return f"{_short(keyspace, message.sender)} {said} [{message.tid.hex()[:_DIGITS]}]"


def _asked(keyspace: Keyspace, request: Request) -> str:
    match request:
        case Ping() | Neighbours() | Notify() | Leave():
            return type(request).__name__.lower()
        case Find(key):
            return f"find {_short(keyspace, key)}"
        case Get(key):
            return f"get {_short(keyspace, key)}"
        case Store(key, port, lease, _, is_withdrawn):
            if is_withdrawn:
                return f"withdraw {_short(keyspace, key)} port {port}"
            return f"store {_short(keyspace, key)} port {port} for {lease} s"
        case Compare(start):
            return f"compare, from {_short(keyspace, start)}"
        case Hold(_, copies):
            return f"hold, records: {len(copies)}"
        case _:
            assert_never(request)


def _answered(keyspace: Keyspace, result: Result) -> str:
    match result:
        case Yes():
            return "yes"
        case Route(is_last, contacts, _):
            names = " ".join(_short(keyspace, contact.id) for contact in contacts) or "nobody"
            return f"{'it is at' if is_last else 'ask'} {names}"
        case Neighbourhood(predecessor, successors):
            before = "nobody" if predecessor is None else _short(keyspace, predecessor.id)
            return f"{before} is before it, successors: {len(successors)}"
        case Values(endpoints, more):
            return f"endpoints: {len(endpoints)}{', and there are more' if more else ''}"
        case Copies(copies, more):
            return f"records: {len(copies)}{', and there are more' if more else ''}"
        case NotMine(predecessor):
            return "not mine" if predecessor is None else f"not mine, ask {_short(keyspace, predecessor.id)}"
        case _:
            assert_never(result)


def _short(keyspace: Keyspace, id: Id) -> str:
    return keyspace.format(id)[:_DIGITS]
