"""The gate: which datagrams are read, and which queries are answered, of sources that send too many."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from dhtd.core.address.reachability import Reachability
from dhtd.core.counters import RATE_LIMIT, RATE_LIMIT_TOTAL, Counters
from dhtd.core.endpoint import Endpoint
from dhtd.core.enums import plain
from dhtd.core.messages import BadQuery, Find, Ping, Query, Renew
from dhtd.core.policy import Policy
from dhtd.core.routing.overlays import Overlays
from dhtd.core.serving.malformed import Malformed
from dhtd.core.serving.rate_limit import RateLimit
from dhtd.core.serving.responder import Responder

if TYPE_CHECKING:
    from random import Random


@plain
class Serves(Enum):
    """Whose queries are answered. A node that does not serve all says so, and is nobody's contact (BEP 43)."""

    ALL = "all"
    CONTACTS = "contacts"  # that answer us
    NOBODY = "nobody"


class Gate:
    """The limits on sources: at first those of the policy, and all are served."""

    __slots__ = ("_counters", "_outside", "_overlays", "_responder", "limit", "malformed", "serves")

    def __init__(
        self,
        policy: Policy,
        rng: Random,
        overlays: Overlays,
        responder: Responder,
        counters: Counters,
        outside: Reachability,
    ) -> None:
        self._overlays = overlays
        self._outside = outside
        self.serves = Serves.ALL
        self._responder = responder
        self._counters = counters
        self.limit = RateLimit(policy, rng, overlays.answers_us)
        self.malformed = Malformed(policy, rng, overlays.answers_us, policy.rate_limit)

    def turns_away(self, source: Endpoint, now: float) -> bool:
        """Whether a query gets no answer, since not all are served. It shows all the same that others reach us."""
        self._outside.queried(source, now)
        return self.serves is Serves.NOBODY or not self._overlays.answers_us(source)

    def limit_rate(self, rate: float, total: float | None = None) -> None:
        """Answer at most `rate` queries a second from each source, and `total` from all, from now on; 0 is no limit.

        Without a `total`, it is that of the policy.
        """
        self.limit.begin(rate, total)
        self.malformed.begin(rate)

    def answer_above(self, query: Query | BadQuery, cap: str, source: Endpoint, size: int, now: float) -> bytes | None:
        """Answer a query above a limit with silence, unless a token proves its sender, or it may be a contact's.

        Somebody else may have used up the sender's limit, in its very name. Queries that are proved have a rate of
        their own. Silence could cost us a contact that answers us: its ping, and its find or renewal without a good
        token, get a brief answer. By that it can prove itself, and keeps us for alive.
        """
        counters = self._counters
        if cap == RATE_LIMIT and type(query) is Query:
            if self._responder.is_proved(query.request, source, now):
                if self.limit.allows_proved(source, now):
                    return self._responder.answer(query, source, size, now)
            elif isinstance(query.request, Ping | Find | Renew) and self._overlays.answers_us(source):
                if self.limit.allows_brief(now):
                    counters.cut_short += 1
                    counters.caps_hit[cap] += 1
                    return self._responder.brief_answer(query, source, now)
                cap = RATE_LIMIT_TOTAL
        counters.rate_limited += 1
        counters.caps_hit[cap] += 1
        return None
