"""Checks that a web server on this machine answers with success.

Redirects are not followed, since they may lead anywhere. Of an answer's body only the beginning is read.
"""

from __future__ import annotations

from typing import Final

import h11
import trio

from dhtd import __version__
from dhtd.daemon.guards.outcome import Outcome
from dhtd.daemon.guards.places import connect, hosts, is_here, reason
from dhtd.service.checks import HttpCheck

BODY_MAX: Final = 65_536  # bytes that are read of a body
HEAD_MAX: Final = 16_384  # bytes of status and headers
_PIECE: Final = 16_384


async def check(check: HttpCheck) -> Outcome:
    if not is_here(check.host):  # it may have been at the start
        return Outcome(False, f"{check.host} is no address of this machine any more")
    try:
        stream = await _connect(check)
    except OSError as error:
        return Outcome(False, f"{check.authority}: {reason(error)}")
    try:
        status = await _status(check, stream)
    except h11.RemoteProtocolError:
        return Outcome(False, f"{check.authority} gave no complete answer of HTTP")
    except (OSError, trio.BrokenResourceError):
        return Outcome(False, f"{check.authority} has hung up before its answer was complete")
    finally:
        await trio.aclose_forcefully(stream)
    if 300 <= status < 400:
        return Outcome(False, f"answered {status}, a redirect, which is not followed")
    return Outcome(200 <= status < 300, f"answered {status}")


async def _connect(check: HttpCheck) -> trio.SocketStream:
    *others, last = hosts(check.host)
    for host in others:
        try:
            return await connect(host, check.port)
        except OSError:
            continue
    return await connect(last, check.port)


async def _status(check: HttpCheck, stream: trio.SocketStream) -> int:
    """Return the status of the answer, once the answer is complete or longer than anybody wants to know."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
    headers = [("Host", check.authority), ("User-Agent", f"dhtd/{__version__}"), ("Connection", "close")]
    request = connection.send(h11.Request(method="GET", target=check.target, headers=headers))
    await stream.send_all((request or b"") + (connection.send(h11.EndOfMessage()) or b""))
    status, size = 0, 0
    while size <= BODY_MAX:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(_PIECE))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            size += len(event.data)
        elif not isinstance(event, h11.InformationalResponse):  # the end
            break
    return status
