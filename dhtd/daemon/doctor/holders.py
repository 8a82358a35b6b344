"""Asks the nodes near an ID who serves it: by a lookup of which each answer is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import trio

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import LookupDone, LookupProgress, LookupStep
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.traces import QueryAnswered
from dhtd.daemon.driver import Driver

LOOK_WITHIN: Final = 5.0  # seconds: it may be done twice, and a client waits for 15 s for the next step


@dataclass
class Heard:
    """What other nodes have said."""

    answered: set[bytes] = field(default_factory=set)  # endpoints of the nodes that answered
    named: dict[Endpoint, set[Contact]] = field(default_factory=dict)  # the endpoints, each with the nodes that gave it
    is_complete: bool = True

    def holders(self, endpoints: set[Endpoint]) -> int:
        """Return how many nodes gave one of these. One that was reached by both address families is one."""
        return len({holder.id for endpoint in endpoints for holder in self.named[endpoint]})


async def ask_holders(driver: Driver, key: Id) -> Heard:
    """Look a key up; raise `Busy`. What this node knows itself is left out."""
    heard = Heard()
    begin = driver.begin(lambda now: driver.node.commands.lookup(key, now, traced=True))
    with begin as lookup, trio.move_on_after(LOOK_WITHIN) as scope:
        while isinstance(event := await lookup.event(), LookupProgress | LookupStep):
            if isinstance(event, LookupStep) and isinstance(event.step, QueryAnswered):
                step = event.step
                heard.answered.add(step.contact.endpoint)
                for endpoint in step.endpoints:
                    heard.named.setdefault(endpoint, set()).add(step.contact)
    heard.is_complete = not scope.cancelled_caught and isinstance(event, LookupDone) and event.complete
    return heard
