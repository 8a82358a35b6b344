"""Whether the network sees this node: health."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.service.method import Method, Request
from dhtd.service.params import SECONDS

HEALTH_WITHIN: Final = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class HealthRequest(Request):
    """Do other nodes find what this node enters? The first time, this enters a canary, and waits `within_s` for it."""

    within_s: Annotated[float, SECONDS] = HEALTH_WITHIN


class HealthResult(TypedDict):
    """The node is `healthy` if another one has named its canary within the last minute.

    `message` says so in a sentence. In the latest look for the canary, so many nodes `answered`, and the `holders`
    among them named it. `found_s_ago` is null if none ever has, and `looked_s_ago` until the first look has ended.
    """

    healthy: bool
    message: str
    found_s_ago: float | None
    looked_s_ago: float | None
    holders: int
    answered: int


HEALTH: Final = Method("health", "Tells whether other nodes find what this node enters.", HealthRequest, HealthResult)

METHODS: Final = (HEALTH,)
