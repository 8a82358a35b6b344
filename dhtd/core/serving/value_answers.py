"""Answers to get and put: values that this node holds, or is to hold.

To verify a signature takes as long as to answer five queries. So each is charged before: to the address that a token
has proved, and to all together.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from dhtd.core.codec import Codec, Room
from dhtd.core.counters import RATE_LIMIT, SIGNATURES, SIGNATURES_PER_SOURCE, Counters
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.messages import ERROR_PROTOCOL, ERROR_SERVER, ERROR_SIGNATURE, Get, Put, Query
from dhtd.core.policy import Policy
from dhtd.core.records import Immutable, Value
from dhtd.core.routing.overlays import Overlays
from dhtd.core.routing.packed_answers import PackedAnswers
from dhtd.core.serving.rate_limit import RateLimit
from dhtd.core.serving.rooms import Rooms
from dhtd.core.serving.tokens import Tokens
from dhtd.core.storage.outcomes import QuotaReached, Refused
from dhtd.core.values.known_values import KnownValues

if TYPE_CHECKING:
    from random import Random


class ValueAnswers:
    """Answers with values, and takes them."""

    __slots__ = (
        "_answers",
        "_codec",
        "_counters",
        "_limit",
        "_longest",
        "_overlays",
        "_rooms",
        "_tokens",
        "_values",
        "_width",
    )

    def __init__(
        self,
        codec: Codec,
        rng: Random,
        policy: Policy,
        overlays: Overlays,
        values: KnownValues,
        tokens: Tokens,
        rooms: Rooms,
        counters: Counters,
    ) -> None:
        self._codec = codec
        # By family: its contacts, those of the other one, and our ID.
        self._answers: dict[int, tuple[PackedAnswers, PackedAnswers | None, Id]] = {}
        self._counters = counters
        self._overlays = overlays
        self._rooms = rooms
        self._tokens = tokens
        self._values = values
        self._width = codec.traits.keyspace.width
        # For an answer to anybody where there is a budget, which pays: no second query would bring what is left out.
        self._longest = None if rooms.budget is None else Room(policy.datagram_value_max, proved=True)
        rate, total = policy.signatures_per_source, policy.signatures
        self._limit = RateLimit(policy, rng, overlays.answers_us, rate=rate, total=total)

    def renamed(self, overlays: Overlays) -> None:
        """Take note of our IDs. Where we have only one family, it serves all."""
        first, *rest = overlays
        own, other = first.state.answers, rest[0].state.answers if rest else None
        self._answers = dict.fromkeys(map(int, Family), (own, other, first.own_id))
        for overlay in rest:
            self._answers[int(overlay.family)] = overlay.state.answers, own, overlay.own_id

    def got(self, query: Query, request: Get, source: Endpoint, size: int, now: float) -> bytes:
        """Return the datagram with the value under a key, if it is wanted, and with the nearest contacts."""
        key, ip = request.key.to_bytes(self._width, "big"), source[:-2]
        proved = request.token is not None and self._tokens.is_valid(request.token, ip, key, now)
        rooms = self._rooms
        room = rooms.whole if proved else self._longest or rooms[size]
        answers, of_others, own_id = self._answers[len(source)]
        nearest = answers.at.get(ip) if answers.has_scopes else answers.nearest
        packed = (nearest or answers.nearest_for(source)).to(request.key)
        others = None if of_others is None else of_others.packed_for(source, request.key)
        values = self._values
        refuses = values.held.is_full and values.held.refuses_newcomer(request.key, ip)
        token = b"" if refuses else self._tokens.issue(ip, key, now)
        held, lasts = values.answer(request, now)
        answer = self._codec.encode_got(query, own_id, source, token, packed, room, held, lasts, others)
        if rooms.budget is not None and not rooms.pays(size, source, len(answer), now):
            encode = partial(self._codec.encode_got, query, own_id, source, token)
            return rooms.afford(
                size,
                source,
                request.key,
                packed,
                lambda fewer, room: encode(fewer, room, held, lasts),
                self._codec,
                now,
            )
        return answer

    def put(self, query: Query, request: Put, source: Endpoint, now: float) -> bytes:
        """Hold a value, if its sender has proved its address, or say why not."""
        own_id = self._overlays.own_id_towards(source)
        key = request.key.to_bytes(self._width, "big")
        if self._tokens.is_valid(request.token, source[:-2], key, now):
            refused = self._hold(request, source, now)
        else:
            refused = Refused(ERROR_PROTOCOL, "bad token")
        if refused is None:
            return self._codec.encode_acknowledged(query.tid, own_id, source)
        self._counters.bad_queries += 1
        return self._codec.encode_error(query.tid, own_id, refused.code, refused.text, source)

    def _hold(self, request: Put, source: Endpoint, now: float) -> Refused | None:
        outcome = self._values.put(request, source[:-2], now, partial(self._verify, source, now))
        if isinstance(outcome, Refused):
            return outcome
        if isinstance(outcome, QuotaReached):
            self._counters.caps_hit[outcome.cap] += 1
            return Refused(ERROR_SERVER, outcome.text)
        if outcome.evicted_by is not None:
            self._counters.caps_hit[outcome.evicted_by] += 1
        return None

    def _verify(self, source: Endpoint, now: float, value: Value) -> Refused | QuotaReached | None:
        if isinstance(value, Immutable):
            return None
        cap = self._limit.refusal(source, now)
        if cap is not None:
            cap = SIGNATURES_PER_SOURCE if cap == RATE_LIMIT else SIGNATURES
            return QuotaReached(cap, "busy: too many signatures to verify")
        return None if self._codec.is_genuine(value) else Refused(ERROR_SIGNATURE, "bad signature")
