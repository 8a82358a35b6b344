"""What the steps of a diagnosis have found, and the verdict that follows. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dhtd.service.doctor import FAULTS, DoctorStep


class Finding(NamedTuple):
    """What one step has found. With a `fault`, `message` names the cause, and `command` mends it or leads on."""

    step: str
    message: str
    is_good: bool | None = True  # None: neither good nor bad
    fault: str | None = None
    command: str | None = None

    def told(self) -> DoctorStep:
        """Return the finding as clients see it."""
        return {"step": self.step, "good": self.is_good, "message": self.message, "fault": self.fault}


def good(step: str, message: str) -> Finding:
    return Finding(step, message)


def note(step: str, message: str) -> Finding:
    return Finding(step, message, None)


def bad(step: str, fault: str, message: str, command: str) -> Finding:
    assert fault in FAULTS
    return Finding(step, message, False, fault, command)


def worst(findings: Iterable[Finding]) -> Finding | None:
    """Return the finding of the most basic fault, from which others may follow; None without a fault."""
    faulty = [(FAULTS.index(each.fault), number, each) for number, each in enumerate(findings) if each.fault]
    return min(faulty)[2] if faulty else None
