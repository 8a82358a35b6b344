"""The answering side of a node: one query in, one datagram out, at once.

A query with a valid token comes from the address that the token was sent to. There is no other proof: an attacker can
forge the address of a node that has just answered us. So without a token, no answer is longer than `amplification`
times its query, and forged queries cannot make this node a weapon. Our own find queries are padded, so their answers
are whole.

If a store would be refused, the answer has no token, and the requester stores on the next nearest node instead. Without
a token it cannot prove itself in a second query, so its answer stays as short as its query demands. It can pad that.

A brief answer goes to a contact that may not be the sender. It says that we are there, and has a token with which the
contact can prove itself. It has the token in any case: the answer to the proved query tells if a store is refused. On a
wire on which an answer cannot say that it is cut, an empty one would seem whole, so a find gets an error instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, assert_never

from dhtd.core.codec import NOTHING, Codec, Named
from dhtd.core.counters import CHANGES, CHANGES_PER_SOURCE, Counters
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import (
    ERROR_PROTOCOL,
    ERROR_SERVER,
    METHODS,
    NO_OPTIONS,
    Changed,
    Contact,
    Find,
    FindNode,
    FindValue,
    Get,
    Ping,
    Put,
    Query,
    Renew,
    Request,
    Store,
    Watch,
    Withdraw,
)
from dhtd.core.policy import Policy
from dhtd.core.routing.overlays import Overlays
from dhtd.core.serving.asides import Asides
from dhtd.core.serving.byte_budget import ByteBudget
from dhtd.core.serving.endpoint_sample import EndpointSample
from dhtd.core.serving.replay_guard import Repeat, ReplayGuard
from dhtd.core.serving.rooms import Rooms
from dhtd.core.serving.tokens import Tokens
from dhtd.core.serving.value_answers import ValueAnswers
from dhtd.core.storage.outcomes import QuotaReached
from dhtd.core.storage.store import HeldRecords
from dhtd.core.values.known_values import KnownValues
from dhtd.core.watching.watching import Watching

if TYPE_CHECKING:
    from random import Random


_TOKEN_LASTS: Final = 60  # seconds that a token for renewals is good, at least


class Responder:
    """Answers queries from what the node knows."""

    __slots__ = (
        "_answers",
        "_answers_by_family",
        "_asides",
        "_choice",
        "_codec",
        "_counters",
        "_counts",
        "_own_id",
        "_own_id_towards",
        "_replays",
        "_rng",
        "_tokens",
        "_values",
        "_watching",
        "_width",
        "_without_token",
        "known",
        "rooms",
        "store",
    )

    def __init__(
        self,
        codec: Codec,
        rng: Random,
        policy: Policy,
        overlays: Overlays,
        store: HeldRecords,
        watching: Watching,
        values: KnownValues,
        counters: Counters,
        now: float,
    ) -> None:
        self._own_id_towards = overlays.own_id_towards
        self._codec = codec
        self._rng = rng
        self._width = codec.traits.keyspace.width
        self._without_token = FindNode not in codec.traits.token_from  # find_node is answered so
        ping = codec.encode_query(bytes(codec.traits.tid_size), overlays.own_id, Ping())
        budget = ByteBudget(policy, rng, now) if policy.spare_bytes else None
        self.rooms = rooms = Rooms(policy, len(ping), budget)
        self._asides = Asides(store, policy, rng)
        self._counters, self._counts = counters, counters.queries_received
        self._tokens = Tokens(rng, policy, now)
        self._replays = ReplayGuard(policy, self._tokens.generation)
        self.store, self._watching = store, watching
        self.known = watching.known
        self._values = ValueAnswers(codec, rng, policy, overlays, values, self._tokens, rooms, counters)
        self._choice = EndpointSample()
        self.renamed(overlays)

    def renamed(self, overlays: Overlays) -> None:
        """Take note of our IDs: at first, and when one of them is another."""
        self._own_id = overlays.own_id
        answers = [overlay.state.answers for overlay in overlays]
        # A node of one family does not look up at each find what belongs to which family:
        self._answers = answers[0] if len(answers) == 1 else None
        self._answers_by_family = {  # by family: its own, that of the other, and our ID
            int(overlay.family): (own, other, overlay.own_id)
            for overlay, own, other in zip(overlays, answers, answers[::-1], strict=True)
        }
        self._values.renamed(overlays)

    def answer(self, query: Query, source: Endpoint, size: int, now: float) -> bytes:
        """Return the datagram that answers `query`, which came as `size` bytes."""
        request = query.request
        self._counts[METHODS[type(request)]] += 1
        if type(request) is FindNode:  # so are most, and a class is compared in half the time of a pattern
            return self._found(query, request.target, request.token, (), source, size, now)
        if type(request) is FindValue:
            key = request.key
            return self._found(query, key, request.token, self.known.for_node_at(source, key, now), source, size, now)
        if type(request) is Get:
            return self._values.got(query, request, source, size, now)
        match request:
            case Ping():
                return self._codec.encode_acknowledged(query.tid, self._own_id_towards(source), source)
            case Store() | Withdraw():
                return self._changed(query, request, source, now)
            case Renew():
                return self._renewed(query, request, source, now)
            case Watch():
                return self._watched(query, request, source, now)
            case Changed():
                return self._told(query, request, source, now)
            case Put():
                return self._values.put(query, request, source, now)
            case _:
                assert_never(request)

    def live_in(self, networks: tuple[bytes, ...]) -> None:
        """This machine is in other networks of its own now."""
        self.known.own_networks = networks
        self._watching.keys.note_all()

    def slept(self, seconds: float) -> None:
        """Take the tokens that were given as so much older."""
        self._tokens.slept(seconds)
        self._asides.slept(seconds)

    def is_proved(self, request: Request, source: Endpoint, now: float) -> bool:
        """Whether `request` shows a token for its key that was sent to this address."""
        if isinstance(request, Renew):
            return self._tokens.is_valid_for(request.token, request.session, source[:-2], now)
        if isinstance(request, Watch):
            return self._may_watch(request, source, now)
        if isinstance(request, Ping | Changed) or request.token is None:
            return False
        return self._tokens.is_valid(request.token, source[:-2], self._key(request), now)

    def brief_answer(self, query: Query, source: Endpoint, now: float) -> bytes:
        """Return the datagram that answers a ping as ever, and a find with a token alone, or with an error.

        A renewal that is not proved gets a token as ever.
        """
        request = query.request
        assert isinstance(request, Ping | Find | Renew)
        self._counters.queries_received[METHODS[type(request)]] += 1
        if isinstance(request, Ping):
            return self._codec.encode_acknowledged(query.tid, self._own_id_towards(source), source)
        if isinstance(request, Renew):
            return self._renewed(query, request, source, now)
        if not self._codec.traits.tells_more:
            return self._codec.encode_error(query.tid, self._own_id_towards(source), ERROR_SERVER, "busy", source)
        token = self._tokens.issue(source[:-2], self._key(request), now)
        return self._codec.encode_cut(query, self._own_id_towards(source), source, token)

    def _key(self, request: Find | Store | Withdraw | Watch | Put) -> bytes:
        """Return what a token for this request is bound to, beside the address."""
        key = request.target if isinstance(request, FindNode) else request.key
        return key.to_bytes(self._width, "big")

    def _found(
        self,
        query: Query,
        target: Id,
        token: bytes | None,
        endpoints: Sequence[Endpoint],
        source: Endpoint,
        size: int,
        now: float,
    ) -> bytes:
        # 1. Has the sender received a token at its address?
        key, ip = target.to_bytes(self._width, "big"), source[:-2]
        proved = token is not None and self._tokens.is_valid(token, ip, key, now)
        # 2. The nearest contacts that mean the same machines to it as to us; of both families, if we are in both.
        answers, others, own_id = self._answers, None, self._own_id
        if answers is None:
            answers, of_others, own_id = self._answers_by_family[len(source)]
            others = of_others.packed_for(source, target)
        nearest = answers.at.get(ip) if answers.has_scopes else answers.nearest
        packed = (nearest or answers.nearest_for(source)).to(target)
        # 3. A whole datagram, if it is proved. Else the answer is as long as its query allows.
        rooms = self.rooms
        if proved:
            room = rooms.whole
        elif endpoints or query.options is not NO_OPTIONS:
            room = rooms.longest or rooms.most(size)
        else:
            room = rooms[size]
        # 4. A token, so that it may store here; none, if its store would be refused.
        refuses = self.store.is_crowded and self.store.refuses_newcomer(target, ip, now)
        if refuses or (self._without_token and type(query.request) is FindNode):
            issued = b""
        else:
            issued = self._tokens.issue(ip, key, now)
        # 5. The endpoints under the key: the codec takes as many as there is room for.
        named = Named(endpoints, self._choose) if endpoints else NOTHING
        if query.options is not NO_OPTIONS:
            named = self._asides.named(query, named, now)
        answer = self._codec.encode_found(query, own_id, source, issued, packed, room, named, others)
        # 6. What is longer than its query allows is paid for, or left out.
        if rooms.budget is not None and not rooms.pays(size, source, len(answer), now):
            encode = partial(self._codec.encode_found, query, own_id, source, issued)
            return rooms.afford(
                size, source, target, packed, lambda fewer, room: encode(fewer, room, named), self._codec, now
            )
        return answer

    def _choose(self, key: Id, endpoints: Sequence[Endpoint], most: int) -> Sequence[Endpoint]:
        """Return so many of the endpoints under a key, others each time: there is no room for all."""
        return self._choice.of(key.to_bytes(self._width, "big"), endpoints, most, self._rng.random())

    def _changed(self, query: Query, request: Store | Withdraw, source: Endpoint, now: float) -> bytes:
        """Do what a store or a withdrawal says, once: a repetition is an attack, or its answer was lost."""
        # 1. Only the owner of an address changes its entries.
        key, ip, tokens = request.key, source[:-2], self._tokens
        if not tokens.is_valid(request.token, ip, key.to_bytes(self._width, "big"), now):
            return self._refuse(query, source, ERROR_PROTOCOL, "bad token")
        # 2. Was this very datagram taken before? The port of a source can be forged.
        endpoint = source.with_port(request.port) if request.port else source
        if not endpoint.port:
            return self._refuse(query, source, ERROR_PROTOCOL, "bad port")
        verdict = self._replays.take(query.tid, request, ip, tokens.generation)
        match verdict:
            # 3. No: do it. The quotas of the store may refuse it.
            case Repeat.NEW:
                if type(request) is Withdraw:
                    self.store.remove(key, endpoint, request.session)
                else:
                    outcome = self.store.put(
                        key, endpoint, request.session, request.lease, now, is_seed=request.is_seed
                    )
                    if isinstance(outcome, QuotaReached):
                        self._counters.caps_hit[outcome.cap] += 1
                        return self._refuse(query, source, ERROR_SERVER, outcome.text)
                    if outcome.evicted_by is not None:
                        self._counters.caps_hit[outcome.evicted_by] += 1
            # 4. Yes: say so if it was taken, and its answer perhaps lost.
            case Repeat.AGAIN:
                self._counters.repeated += 1
                if type(request) is Store and endpoint not in self.store.get(key, now):
                    return self._refuse(query, source, ERROR_SERVER, "not stored again")
            # 5. It cannot be remembered, so it is not taken.
            case Repeat.BUSY | Repeat.GREEDY:
                self._counters.changes_refused += 1
                self._counters.caps_hit[CHANGES if verdict is Repeat.BUSY else CHANGES_PER_SOURCE] += 1
                return self._refuse(query, source, ERROR_SERVER, "busy: too many stores in a minute")
            case _:
                assert_never(verdict)
        return self._codec.encode_acknowledged(query.tid, self._own_id_towards(source), source)

    def _renewed(self, query: Query, request: Renew, source: Endpoint, now: float) -> bytes:
        """Renew the lease of a session at this address, if it shows a token for that; issue the next one."""
        session, ip, seconds = request.session, source[:-2], request.lease
        held = None
        if self._tokens.is_valid_for(request.token, session, ip, now):
            held = self.store.renew(ip, session, seconds, now) + self._watching.held.renew(ip, session, seconds, now)
        token = self._tokens.issue_for(session, ip, max(seconds, _TOKEN_LASTS), now)
        return self._codec.encode_renewed(query.tid, self._own_id_towards(source), source, token, held)

    def _watched(self, query: Query, request: Watch, source: Endpoint, now: float) -> bytes:
        """Hold a watch, and answer with what there is; or end it."""
        key, ip, session = request.key, source[:-2], request.session
        # 1. Only the owner of an address is told there.
        if not self._may_watch(request, source, now):
            return self._refuse(query, source, ERROR_PROTOCOL, "bad token")
        token = self._tokens.issue_for(session, ip, max(request.lease, _TOKEN_LASTS), now)
        own_id, notices = self._own_id_towards(source), self._watching.notices
        # 2. It watches no longer.
        if not request.lease:
            self._watching.held.leave(key, ip, session)
            return self._codec.encode_watched(query, own_id, source, token, 0, self.rooms.whole, ())[0]
        # 3. Hold the watch, if the quotas allow that.
        watch = notices.begin(request, Contact(query.sender, source), now)
        if isinstance(watch, QuotaReached):
            self._counters.caps_hit[watch.cap] += 1
            return self._refuse(query, source, ERROR_SERVER, watch.text)
        # 4. Say what there is; the rest follows in notices.
        there = notices.there(watch, now)
        answer, told = self._codec.encode_watched(query, own_id, source, token, watch.version, self.rooms.whole, there)
        notices.told(watch, there[:told])
        return answer

    def _may_watch(self, request: Watch, source: Endpoint, now: float) -> bool:
        """Whether a watch shows a token for its key, or for its session, that was sent to this address."""
        token, ip = request.token, source[:-2]
        return self._tokens.is_valid(token, ip, self._key(request), now) or self._tokens.is_valid_for(
            token, request.session, ip, now
        )

    def _told(self, query: Query, request: Changed, source: Endpoint, now: float) -> bytes:
        """Take what a node says of a key that we watch there."""
        if not self._watching.own.changed(request, Contact(query.sender, source), now):
            return self._refuse(query, source, ERROR_PROTOCOL, "not watched")
        return self._codec.encode_acknowledged(query.tid, self._own_id_towards(source), source)

    def _refuse(self, query: Query, source: Endpoint, code: int, text: str) -> bytes:
        self._counters.bad_queries += 1
        return self._codec.encode_error(query.tid, self._own_id_towards(source), code, text, source)
