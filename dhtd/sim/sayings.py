"""What Kademlia's datagrams say, in words."""

from __future__ import annotations

from contextlib import suppress
from typing import assert_never

from dhtd.core.codec import Codec
from dhtd.core.ids import Id
from dhtd.core.messages import (
    Acknowledged,
    BadQuery,
    Changed,
    Error,
    FindNode,
    FindValue,
    Found,
    Get,
    Message,
    Ping,
    Put,
    Query,
    Renew,
    Renewed,
    Reply,
    Request,
    Result,
    Store,
    Watch,
    Watched,
    Withdraw,
)
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.errors import WireError

_DIGITS = 8  # of an ID, and of a transaction: enough to tell it from others nearby in a story


def told(codec: Codec, data: bytes) -> str:
    """Return what a datagram says."""
    try:
        message = codec.decode(data)
    except WireError as error:
        return f"{count(len(data), 'byte')} that {'is' if len(data) == 1 else 'are'} no message: {error}"
    sender = "-" if message.sender is None else _id(codec, message.sender)
    return f"{sender} {_said(codec, message)} [{message.tid.hex()[:_DIGITS]}]"


def _said(codec: Codec, message: Message) -> str:
    match message:
        case Query(request=request):
            return f"asks {_asked(codec, request)}"
        case BadQuery(text=text):
            return f"asks what cannot be asked: {text}"
        case Reply(body=body):
            return f"answers {_answered(codec, body)}"
        case Error(code=code, text=text):
            return f"refuses with {code}: {text!r}"


def _asked(codec: Codec, request: Request) -> str:
    match request:
        case Ping():
            return "ping"
        case FindNode(target=target, token=token):
            return f"find_node {_id(codec, target)}{_shown(token)}"
        case FindValue(key=key, token=token):
            return f"find_value {_id(codec, key)}{_shown(token)}"
        case Store(key=key, port=port):
            return f"store {_id(codec, key)} port {port}"
        case Withdraw(key=key, port=port):
            return f"withdraw {_id(codec, key)} port {port}"
        case Renew(lease=lease):
            return f"renew for {lease} s"
        case Watch(key=key):
            return f"watch {_id(codec, key)}"
        case Changed(key=key, added=added, removed=removed):
            return f"changed {_id(codec, key)}: {len(added)} more, {len(removed)} gone"
        case Get(key=key, token=token, seq=seq):
            newer = "" if seq is None else f", newer than {seq}"
            return f"get {_id(codec, key)}{newer}{_shown(token)}"
        case Put(key=key, value=value, cas=cas, lasts=lasts):
            replaced = "" if cas is None else f", in place of {cas}"
            return f"put {_id(codec, key)} for {lasts} s: {_worth(value)}{replaced}"


def _answered(codec: Codec, body: object) -> str:
    """Return what a reply says. Only its requester knows the request, so here it is read as the richest answer."""
    for request in (Get(Id(0)), FindValue(Id(0)), FindNode(Id(0)), Watch(Id(0), b"", 0, b""), Renew(b"", 0, b"")):
        with suppress(WireError):
            return _brought(request, codec.decode_result(request, body))
    return "yes"


def _brought(request: Request, result: Result) -> str:
    match result:
        case Found(contacts=contacts, endpoints=endpoints, more=more, held=held):
            brought = count(len(contacts), "contact")
            if isinstance(request, Get):
                brought += f" and {_worth(held)}"
            if isinstance(request, FindValue):
                brought += f" and {count(len(endpoints), 'endpoint')}"
        case Watched(version=version, endpoints=endpoints, more=more):
            brought = f"version {version} with {count(len(endpoints), 'endpoint')}"
        case Renewed(held=held):
            return "no, but here is a token" if held is None else f"{held} held"
        case Acknowledged():
            return "yes"
        case _:
            assert_never(result)
    return f"{brought}, and there are more" if more else brought


def _worth(held: Value | int | None) -> str:
    match held:
        case None:
            return "no value"
        case int():
            return f"no value after {held}"
        case Immutable():
            return f"a value of {count(len(held.data), 'byte')}"
        case Mutable():
            return f"value {held.seq} of {count(len(held.data), 'byte')}"
        case _:
            assert_never(held)


def _shown(token: bytes | None) -> str:
    return "" if token is None else ", showing a token"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _id(codec: Codec, id: Id) -> str:
    return codec.traits.keyspace.format(id)[:_DIGITS]
