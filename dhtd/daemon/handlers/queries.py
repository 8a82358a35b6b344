"""Serves the methods that ask one other node."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Answered, Handle, Unanswered
from dhtd.core.messages import ERROR_PROTOCOL, Found
from dhtd.daemon.discovery.resolver import resolve
from dhtd.daemon.handlers.calls import Call, Handlers, answer
from dhtd.daemon.report import milliseconds
from dhtd.errors import Busy, NoPong, PeerRefused
from dhtd.service.params import HostPort
from dhtd.service.queries import (
    FIND_NODE,
    FIND_VALUE,
    PING,
    STORE,
    FindNodeRequest,
    FindNodeResult,
    FindValueRequest,
    FindValueResult,
    PingRequest,
    PingResult,
    StoreRequest,
    StoreResult,
)

HEAD_START: Final = 1.0  # seconds that one address of a name has before the next one is asked

StartAt = Callable[[Endpoint, float], Handle]


class Queries(Handlers):
    """Sends one query, and waits for its answer."""

    def calls(self) -> tuple[Call, ...]:
        return (
            answer(PING, self._ping),
            answer(FIND_NODE, self._find_node),
            answer(FIND_VALUE, self._find_value),
            answer(STORE, self._store),
        )

    async def _ping(self, request: PingRequest) -> PingResult:
        answered = await self._ask(request.endpoint, self._node.commands.ping)
        return {
            "node_id": self.format(answered.contact.id),
            "endpoint": self.text(answered.contact.endpoint),
            "rtt_ms": milliseconds(answered.rtt),
        }

    async def _find_node(self, request: FindNodeRequest) -> FindNodeResult:
        return self._found(
            await self._ask(request.endpoint, lambda at, now: self._node.commands.find_node(at, request.id, now))
        )

    async def _find_value(self, request: FindValueRequest) -> FindValueResult:
        answered = await self._ask(
            request.endpoint, lambda at, now: self._node.commands.find_value(at, request.id, now)
        )
        assert isinstance(answered.result, Found)
        return {**self._found(answered), "peers": [self.text(peer) for peer in answered.result.endpoints]}

    async def _store(self, request: StoreRequest) -> StoreResult:
        id, port, token = request.id, request.port, request.token
        answered = await self._ask(
            request.endpoint, lambda at, now: self._node.commands.store_at(at, id, port, token, now), in_turn=True
        )
        return {"node_id": self.format(answered.contact.id)}

    async def _ask(self, host_port: HostPort, start: StartAt, *, in_turn: bool = False) -> Answered:
        """Send a single query to a host; return its answer, or raise why there is none.

        A name may have several addresses, and the first one that answers counts. The next one is asked after a head
        start. With `in_turn` it is asked only after a timeout: some queries must not be sent twice.
        """
        endpoints = await resolve(host_port, self._driver.udp)
        event = await self._first_answer(endpoints, start, in_turn=in_turn)
        if event is None:
            others = [endpoint for endpoint in endpoints if not self.is_ours(endpoint)]
            raise NoPong(f"no answer from {self.texts(others or endpoints)}: {self._why_silent(others)}")
        if isinstance(event, Answered):
            return event
        assert event.error is not None
        hint = ": its token is wrong or too old, get another with find-value" if _is_token_error(event) else ""
        raise PeerRefused(f"{self.text(event.endpoint)} refused: {event.error.code} {event.error.text!r:.80}{hint}")

    async def _first_answer(
        self, endpoints: list[Endpoint], start: StartAt, *, in_turn: bool
    ) -> Answered | Unanswered | None:
        """Return the first answer of these endpoints, which may be an error, or None; raise `Busy`."""
        answers: list[Answered | Unanswered] = []
        busy: list[Busy] = []

        async def ask(endpoint: Endpoint, is_over: trio.Event) -> None:
            try:
                event = await self.outcome(partial(start, endpoint))
            except Busy as error:
                busy.append(error)
                nursery.cancel_scope.cancel()
                return
            assert isinstance(event, Answered | Unanswered)
            is_over.set()
            if isinstance(event, Answered) or event.error is not None:
                answers.append(event)
                nursery.cancel_scope.cancel()

        # Each endpoint is asked when the one before is over, or after its head start. The first answer ends it all.
        async with trio.open_nursery() as nursery:
            for endpoint in endpoints:
                is_over = trio.Event()
                nursery.start_soon(ask, endpoint, is_over)
                with trio.move_on_after(math.inf if in_turn else HEAD_START):
                    await is_over.wait()
        if busy and not answers:
            raise busy[0]
        return answers[0] if answers else None

    def _why_silent(self, others: list[Endpoint]) -> str:
        """Return why nobody answers at `others`, the endpoints that are not ours; without any, at ours."""
        if not others:
            return "this node is there, and a node does not answer itself"
        families = {endpoint.family for endpoint in others}
        networks = [overlay for overlay in self._node.overlays if overlay.family in families]
        if all(len(overlay.state.table) and not overlay.is_connected for overlay in networks):
            by = "" if len(networks) == len(self._node.overlays.own_ids) else f" by {networks[0].family}"
            return f"nobody answers this node{by} at the moment, see dht status"
        if self._node.codec.traits.is_public:
            return "no node runs there, or a read-only one, or something between drops its datagrams"
        key = "with a network key" if self._driver.seal is None else "without our network key, or with another time"
        return f"no dhtd runs there, or one {key}, or something between drops its datagrams"

    def _found(self, answered: Answered) -> FindNodeResult:
        assert isinstance(answered.result, Found)
        nodes = answered.result.contacts
        return {
            "node_id": self.format(answered.contact.id),
            "token": (answered.result.token or b"").hex(),
            "nodes": [{"id": self.format(node.id), "endpoint": self.text(node.endpoint)} for node in nodes],
        }


def _is_token_error(event: Unanswered) -> bool:
    return event.error is not None and event.error.code == ERROR_PROTOCOL and "token" in event.error.text
