"""What `dht info` and `dht status` tell of the network of each address family."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dhtd.core.endpoint import Scope, scope_of
from dhtd.core.messages import Contact
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.standing import Standing
from dhtd.daemon.driver import Driver
from dhtd.service.info import FamilyInfo

STATES: Final = ("joined", "doubtful", "joining", "silent", "alone")  # in a network, the best first


class FamiliesReport:
    """One node in the networks of its families, as plain values."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._node = driver.node
        self._started_at = driver.clock()

    def all(self, now: float) -> list[FamilyInfo]:
        return [self._family(overlay, now) for overlay in self._node.overlays]

    def standing(self, overlay: Overlay, contact: Contact, now: float) -> Standing:
        """Return the standing of a contact. While nobody answers, no contact is good, since it may be gone."""
        standing = overlay.state.standing(contact, now)
        is_silent = overlay.is_silent or self._node.memberships[overlay.family].is_in_doubt
        return Standing.QUESTIONABLE if standing is Standing.GOOD and is_silent else standing

    def _family(self, overlay: Overlay, now: float) -> FamilyInfo:
        contacts = {standing.value: 0 for standing in Standing}
        for contact in overlay.state.table:
            contacts[self.standing(overlay, contact, now).value] += 1
        return {
            "family": name_of(overlay),
            "node_id": self._node.codec.traits.keyspace.format(overlay.own_id),
            "id_suits": self._suits(overlay),
            "connected": overlay.is_connected,
            "contacts": contacts,
            "network_size": overlay.measured_size,
            "state": self._state(overlay),
            "since_s": round(now - self._driver.turned_at.get(overlay.family, self._started_at), 3),
        }

    def _suits(self, overlay: Overlay) -> bool | None:
        """Whether our ID is one for our public address; None without such an address, or without a rule for IDs."""
        rule = self._node.codec.traits.id_rule
        for endpoint in self._node.external.endpoints():
            if rule and endpoint.family is overlay.family and scope_of(endpoint) is Scope.PUBLIC:
                return rule.suits(overlay.own_id, endpoint.ip)
        return None

    def _state(self, overlay: Overlay) -> str:
        """Return the state of this node in the network of a family: one of `STATES`."""
        join = self._node.memberships[overlay.family].join
        if overlay.is_joined:
            return "doubtful" if self._node.memberships[overlay.family].is_in_doubt else "joined"
        if not (overlay.is_connected or len(overlay.state.table) or join.bootstrap or join.awaits_names):
            return "alone"
        return "silent" if overlay.is_silent else "joining"


def total(families: Iterable[FamilyInfo]) -> dict[str, int]:
    """Return the numbers of contacts in all families."""
    return {each.value: sum(family["contacts"][each.value] for family in families) for each in Standing}


def largest(families: Iterable[FamilyInfo]) -> int | None:
    """Return the size of the largest network; None while none is known."""
    return max((size for family in families if (size := family["network_size"]) is not None), default=None)


def name_of(overlay: Overlay) -> str:
    """Return the name of its family."""
    return str(overlay.family).lower()
