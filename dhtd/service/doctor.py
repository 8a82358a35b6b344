"""What is wrong with a node, or with what it serves: doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.core.ids import Id
from dhtd.errors import Busy
from dhtd.service.method import Request, Stream
from dhtd.service.params import ID, NAME

# The faults by their codes, the most basic first: the verdict is about the first one that was found.
FAULTS: Final = (
    "bound-to-loopback",  # the node listens on loopback only, and is to join through another machine
    "no-route",  # this machine reaches no other: its network is down
    "bootstrap-unresolvable",  # no name of a bootstrap host resolves
    "other-key",  # the nodes that this one tries have another network key, or none
    "clock",  # sealed queries of other nodes come with a time more than five minutes away from ours
    "bootstrap-silent",  # no bootstrap host answers
    "cut-off",  # the nodes that this one knows have stopped to answer
    "alone",  # it knows nobody, and is told nobody to join through
    "unanswered",  # the nodes near an ID do not answer
    "not-entered",  # nobody has entered the ID, and this machine has not either
    "check-fails",  # the check of an entry keeps it unpublished
    "not-listening",  # nothing listens on the port of an entry
    "bound-elsewhere",  # its service listens on other addresses than the one that other nodes see
    "refused",  # all nodes near the ID refuse the entry, or are full
    "old-address",  # they give it at another address than the one of this machine
    "unheld",  # no node holds it
    "behind-nat",  # it is held at the address of a router, which does not lead here
    "unseen",  # no other node gives what this one enters
    "state-damaged",  # the state file was damaged, and something was lost
)


@dataclass(frozen=True, slots=True)
class DoctorRequest(Request):
    """What is wrong with this node, and with the entries of `id`? Without one, with the entries of this machine.

    Events tell each step as it is done. The result repeats the name.
    """

    id: Annotated[Id | None, ID] = None
    name: Annotated[str | None, NAME] = None


class DoctorStep(TypedDict):
    """A step: what was looked at, and a sentence about it. `good` is null where it is neither good nor bad.

    A `fault` is one of `FAULTS`; a step that is bad has one.
    """

    step: str
    good: bool | None
    message: str
    fault: str | None


class DoctorResult(TypedDict):
    """All steps, and the verdict in one sentence about the most basic fault. Then `command` mends it, or leads on.

    `served` has the endpoints of the ID on other machines. The daemon does not try them: anybody can name any.
    `version` is that of the daemon, which never sends null.
    """

    id: str | None
    name: str | None
    healthy: bool
    fault: str | None
    verdict: str
    command: str | None
    steps: list[DoctorStep]
    served: list[str]
    version: str | None


DOCTOR: Final = Stream(
    "doctor",
    "Looks for what is wrong with this node, or with what it serves.",
    DoctorRequest,
    DoctorStep,
    DoctorResult,
    errors=(Busy,),
    runs_long=True,
)

METHODS: Final = (DOCTOR,)
