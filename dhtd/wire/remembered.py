"""What a decoder remembers of what it has read, on any wire."""

from __future__ import annotations

from typing import cast

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.errors import WireError


class Remembered:
    """The latest contacts and IDs that a decoder has read, `most` of each at most.

    The same few are named again and again, and one object is faster to make and to compare than many equal ones.
    """

    def __init__(self, id_size: int, most: int) -> None:
        """`id_size`: bytes of an ID."""
        self._id_size = id_size
        self._most = most
        self._contacts: dict[bytes, Contact] = {}  # by their wire form
        self._ids: dict[bytes, Id] = {}

    def _decode_nodes(self, nodes: object, size: int) -> list[Contact]:
        """Return the contacts in a run of nodes of this `size`, each an ID and an endpoint; raise `WireError`."""
        if type(nodes) is not bytes or len(nodes) % size:
            raise WireError("the nodes are malformed")
        if not nodes:  # of one of the families, mostly
            return []
        known = self._contacts.get
        return [
            known(node := nodes[start : start + size]) or self._new_contact(node)
            for start in range(0, len(nodes), size)
        ]

    def _new_contact(self, node: bytes) -> Contact:
        if len(self._contacts) >= self._most:
            self._contacts.clear()
        id = node[: self._id_size]
        endpoint = Endpoint(node[self._id_size :])
        contact = self._contacts[node] = Contact(self._ids.get(id) or self._new_id(id), endpoint)
        return contact

    def _new_id(self, packed: bytes) -> Id:
        if len(self._ids) >= self._most:
            self._ids.clear()
        id = self._ids[packed] = cast("Id", int.from_bytes(packed, "big"))
        return id
