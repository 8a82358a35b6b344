"""Serves the method health: whether other nodes find what this one enters."""

from __future__ import annotations

from dhtd.daemon.canary import Canary
from dhtd.daemon.driver import Driver
from dhtd.daemon.handlers.calls import Call, Handlers, answer
from dhtd.service.health import HEALTH, HealthRequest, HealthResult
from dhtd.words import count


class Health(Handlers):
    """Tells what the canary has shown."""

    def __init__(self, driver: Driver, canary: Canary) -> None:
        super().__init__(driver)
        self._canary = canary

    def calls(self) -> tuple[Call, ...]:
        return (answer(HEALTH, self._health),)

    async def _health(self, request: HealthRequest) -> HealthResult:
        canary = self._canary
        await canary.look_within(request.within_s)
        look, now = canary.last, self._driver.clock()
        ago = None if canary.found_at is None else round(now - canary.found_at, 3)
        return {
            "healthy": canary.is_healthy,
            "message": self._sentence(ago),
            "found_s_ago": ago,
            "looked_s_ago": None if look is None else round(now - look.at, 3),
            "holders": 0 if look is None else look.holders,
            "answered": 0 if look is None else look.answered,
        }

    def _sentence(self, ago: float | None) -> str:
        look = self._canary.last
        if self._canary.is_busy and not self._canary.is_healthy:
            return "not known: the canary cannot be looked for, as many operations are under way as are taken at once"
        if look is None or not self._canary.is_fresh:
            return f"not known yet: {'the first' if look is None else 'a'} look for the canary is under way"
        found = "" if ago is None else f"; they found the canary {ago:.0f} s ago"
        if self._canary.is_healthy and look.holders:
            return f"healthy: {count(look.holders, 'other node')} gave what this node has entered{found}"
        if self._canary.is_healthy:
            return f"healthy, but the latest look failed: {self._why(look.answered)}{found}"
        return f"not healthy: {self._why(look.answered)}{found}"

    def _why(self, answered: int) -> str:
        """Return why no other node has given the canary."""
        if answered:
            return f"{count(answered, 'other node')} answered, and none gave what this node has entered"
        return self.why_nobody()
